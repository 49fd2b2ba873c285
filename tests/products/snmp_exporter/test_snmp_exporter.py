"""Debian's snmp_exporter scrapes the agent over SNMPv3 with our file, and its generator makes that file from ours."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.peers.crossing import Crossing
from tests.peers.daemon import Daemon
from tests.peers.mibs import OURS, base_mibs
from tests.peers.ports import free_port
from tests.peers.require import ROOT, require

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "integrations" / "snmp-exporter"
MODULE = "hsm_agent"
AUTH, PRIVACY = "an-authentication-secret", "a-privacy-secret"
NEEDED = ("SNMPv2-SMI.mib", "SNMPv2-TC.mib", "SNMPv2-CONF.mib", "NET-SNMP-MIB.txt", "HSM-AGENT-MIB.txt")


def is_old() -> bool:
    """Whether it is from before 0.23, which moved credentials out of the modules."""
    program = str(require("prometheus-snmp-exporter"))
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=20)
    version = re.search(r"version (\d+)\.(\d+)", done.stdout + done.stderr)
    assert version is not None
    return (int(version[1]), int(version[2])) < (0, 23)


def our_file() -> Path:
    return FOLDER / ("snmp-0.22.yml" if is_old() else "snmp.yml")


def module(tree: dict[str, Any]) -> dict[str, Any]:
    """What is walked and what becomes of it, but for the help texts."""
    found = tree[MODULE] if is_old() else tree["modules"][MODULE]
    metrics = [{key: value for key, value in metric.items() if key != "help"} for metric in found["metrics"]]
    return {"walk": found["walk"], "metrics": metrics}


def test_the_generator_makes_our_file_of_our_generator_file(tmp_path: Path) -> None:
    mibs = tmp_path / "mibs"
    mibs.mkdir()
    for name in NEEDED:
        shutil.copy(next(path for folder in (*base_mibs().folders, OURS) if (path := folder / name).exists()), mibs)
    shutil.copy(FOLDER / "generator.yml", tmp_path)
    command = [str(require("prometheus-snmp-generator")), "generate", *([] if is_old() else ["-m", str(mibs)])]
    environment = {**os.environ, "MIBDIRS": str(mibs), "MIBS": ""}
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=30)

    made = yaml.safe_load((tmp_path / "snmp.yml").read_text(encoding="utf-8"))
    assert module(made) == module(yaml.safe_load(our_file().read_text(encoding="utf-8")))


class SnmpExporter(Daemon):
    """snmp_exporter with our file, pass-phrases filled in."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = free_port()

    @property
    def log(self) -> Path:
        return self._directory / "snmp-exporter.log"

    async def start(self) -> None:
        text = our_file().read_text(encoding="utf-8")
        text = text.replace("AUTHENTICATION PASS-PHRASE", AUTH).replace("PRIVACY PASS-PHRASE", PRIVACY)
        (self._directory / "snmp.yml").write_text(text, encoding="utf-8")
        arguments = [f"--config.file={self._directory}/snmp.yml", f"--web.listen-address=127.0.0.1:{self.port}"]
        await self._run(require("prometheus-snmp-exporter"), arguments, tcp=[self.port])

    def scrape(self, port: int) -> str:
        query = f"target=127.0.0.1:{port}&module={MODULE}" + ("" if is_old() else f"&auth={MODULE}")
        with urlopen(f"http://127.0.0.1:{self.port}/snmp?{query}", timeout=20) as answer:
            return str(answer.read().decode())


def secret(folder: Path, name: str, text: str) -> dict[str, str]:
    path = folder / name
    path.write_text(text, encoding="ascii")
    path.chmod(0o600)
    return {"file": str(path)}


@pytest.mark.filterwarnings("default::ResourceWarning")
async def test_the_agent_is_scraped_over_v3(tmp_path: Path) -> None:
    crossing = Crossing(tmp_path)
    crossing.agent.settings["serve"]["snmp"]["users"] = [
        {
            "name": "nms",
            "auth": {"protocol": "SHA-256", "secret": secret(tmp_path, "auth", AUTH)},
            "privacy": {"protocol": "AES-128", "secret": secret(tmp_path, "privacy", PRIVACY)},
        }
    ]
    crossing.agent.configure()
    async with crossing.agent as agent, SnmpExporter(tmp_path) as exporter:
        await crossing.fill(50_000, "critical")
        text = await asyncio.to_thread(exporter.scrape, agent.snmp_port)

    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        sample.name: sample
        for family in families.values()
        for sample in family.samples
        if sample.labels.get("hsmTokenName") in {None, "payments"}
    }
    token = {"hsmTokenSource": "fake", "hsmTokenResource": "payments", "hsmTokenName": "payments"}
    memory = samples["hsmTokenPrivateMemoryUsedPercent"]
    assert memory.labels.items() >= token.items()
    assert memory.value == 9500
    assert samples["hsmTokenStatus"].value == 2
    assert families["hsmTokenPrivateMemoryTotal"].type == "gauge"
    assert samples["hsmTokenPrivateMemoryTotal"].value == 1_000_000
    assert families["hsmAgentPolls"].type == "counter"
    assert samples["hsmAgentWorstSeverity"].value == 3
    alarm = {"hsmActiveRule": "token-memory", "hsmActiveSource": "fake", "hsmActiveResource": "payments"}
    assert samples["hsmActiveSeverity"].labels.items() >= alarm.items()
    assert "hsmTokenLabel" not in samples
