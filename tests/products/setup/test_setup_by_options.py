"""`hsm-agent setup` on real tokens with real receivers, by options: what a script is told, and what it is left with."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hsm_agent.config.tree import Config, load
from tests.peers.opencryptoki import OpenCryptoki
from tests.peers.require import ROOT, require
from tests.peers.rsyslog import Rsyslog
from tests.peers.snmptrapd import Snmptrapd
from tests.peers.softhsm import SoftHsm
from tests.peers.testmodule import FakeHsm
from tests.peers.trusted import trusting

COMMAND = [sys.executable, "-m", "hsm_agent", "setup"]
AUTH, PRIVACY = "authentication phrase", "privacy phrase"
KNOWN = [f'createUser noc SHA-256 "{AUTH}" AES "{PRIVACY}"', "authUser log noc priv"]


def environment(hsm: SoftHsm | FakeHsm) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "TMPDIR", "COVERAGE"))}
    return {**kept, **trusting(), **hsm.environment, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}


async def loaded(folder: Path) -> Config:
    return (await asyncio.to_thread(load, folder / "agent.yaml", trusting())).config


async def run(hsm: SoftHsm | FakeHsm, *words: str) -> tuple[int, str, str]:
    """Exit code, what it printed, and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, env=environment(hsm), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


@pytest.fixture
def softhsm(tmp_path: Path) -> SoftHsm:
    made = SoftHsm(tmp_path / "hsm")
    made.create_token("payments")
    return made


def _file(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


async def test_a_script_gets_a_configuration_and_every_receiver_proved(tmp_path: Path, softhsm: SoftHsm) -> None:
    folder = tmp_path / "etc"
    rsyslog = Rsyslog(program=require("rsyslogd"), folder=tmp_path)
    async with Snmptrapd(tmp_path / "traps", KNOWN) as trapd, rsyslog:
        code, out, errors = await run(
            softhsm, "--to", str(folder), "--yes", "--name", "hsm-1", "--module", str(softhsm.module),
            "--snmp-sink", trapd.address, "--snmp-user", "noc",
            "--snmp-auth-file", _file(tmp_path / "auth", AUTH), "--snmp-privacy-file", _file(tmp_path / "priv", PRIVACY),
            "--syslog-sink", f"relp:127.0.0.1:{rsyslog.ports['relp']}",
        )  # fmt: skip
        [inform] = await trapd.wait_for(1)
        [record] = await rsyslog.until(1)

    assert (code, errors) == (0, "")
    assert "payments  serial" in out
    assert f"test noc: snmp inform {trapd.address}: accepted, the receiver acknowledged it\n" in out
    assert f"relp:127.0.0.1:{rsyslog.ports['relp']}: accepted, the receiver acknowledged it\n" in out
    assert inform.inform
    assert "TEST" in record.raw
    assert (AUTH in out, PRIVACY in out) == (False, False)
    config = await loaded(folder)
    assert [source.name for source in config.sources] == ["softhsm"]
    assert config.agent.state_directory == folder / "var"


async def test_modules_that_hang_or_crash_are_named_and_left_out(tmp_path: Path, softhsm: SoftHsm) -> None:
    hsm = FakeHsm(tmp_path / "fake", "one")
    hsm.fault("C_Initialize", hang_ms=60_000)
    variables = [word for name, value in hsm.environment.items() for word in ("--environment", f"{name}={value}")]
    words = ["--yes", "--timeout", "2s", "--module", str(hsm.module), *variables]
    hangs = await run(hsm, "--to", str(tmp_path / "a"), *words, "--module", str(softhsm.module))
    hsm.mend()
    hsm.fault("C_GetInfo", segv=1)
    crashes = await run(hsm, "--to", str(tmp_path / "b"), *words)

    assert (hangs[0], hangs[2]) == (0, "")
    assert "skipped: C_Initialize" in hangs[1]
    assert [source.name for source in (await loaded(tmp_path / "a")).sources] == ["softhsm"]
    assert crashes[0] == 1
    assert "skipped: " in crashes[1]
    assert "SIGSEGV" in crashes[1]
    assert "no token was found to watch" in crashes[2]
    assert not (tmp_path / "b").exists()


async def test_nothing_is_replaced_unless_it_is_forced(tmp_path: Path, softhsm: SoftHsm) -> None:
    words = ["--to", str(tmp_path / "etc"), "--yes", "--module", str(softhsm.module), "--no-prove"]
    words += ["--snmp-sink", "udp:127.0.0.1:9"]
    first = await run(softhsm, *words)
    secret = (tmp_path / "etc" / "secrets" / "noc.auth").read_text()
    second = await run(softhsm, *words)
    kept = (tmp_path / "etc" / "secrets" / "noc.auth").read_text()
    third = await run(softhsm, *words, "--force", "--syslog-sink", "ftp:x:1")
    fourth = await run(softhsm, *words, "--force")

    assert (first[0], first[2]) == (0, "")
    assert (second[0], second[2]) == (1, f"hsm-agent: {tmp_path}/etc/agent.yaml: there already; --force replaces\n")
    assert kept == secret
    assert third[0] == 2
    assert "hsm-agent: agent.yaml: deliver.1.to: not an address: 'ftp:x:1'" in third[2]
    assert third[2].endswith("hsm-agent: nothing was written\n")
    assert fourth[0] == 0
    assert (tmp_path / "etc" / "agent.yaml.old").exists()
    assert (tmp_path / "etc" / "secrets" / "noc.auth").read_text() != secret


async def test_receivers_that_are_not_there_and_that_say_nothing_are_told_apart(
    tmp_path: Path, softhsm: SoftHsm
) -> None:
    rsyslog = Rsyslog(program=require("rsyslogd"), folder=tmp_path)
    async with rsyslog:
        code, out, errors = await run(
            softhsm, "--to", str(tmp_path / "etc"), "--yes", "--module", str(softhsm.module),
            "--syslog-sink", f"udp:127.0.0.1:{rsyslog.ports['udp']}", "--alertmanager-sink", "http://127.0.0.1:9",
        )  # fmt: skip
        [record] = await rsyslog.until(1)

    assert code == 1
    assert "sent; receivers of this kind acknowledge nothing: look there for TEST " in out
    assert "test alertmanager: alertmanager http://127.0.0.1:9: not accepted: " in out
    assert errors == "hsm-agent: not every receiver could be proved; the configuration stays as it was written\n"
    assert "TEST" in record.raw


async def test_a_running_agent_is_reloaded_and_proves_its_new_sink(tmp_path: Path, softhsm: SoftHsm) -> None:
    words = ["--to", str(tmp_path / "etc"), "--yes", "--module", str(softhsm.module), "--http-listen", "127.0.0.1:0"]
    words += ["--snmp-listen", "udp:127.0.0.1:0"]
    await run(softhsm, *words)
    rsyslog = Rsyslog(program=require("rsyslogd"), folder=tmp_path)
    agent = await asyncio.create_subprocess_exec(
        *COMMAND[:-1], "run", "--config", str(tmp_path / "etc" / "agent.yaml"), env=environment(softhsm)
    )
    try:
        async with rsyslog:
            while not await asyncio.to_thread((tmp_path / "etc" / "var" / "control").exists):
                await asyncio.sleep(0.1)
            to = f"relp:127.0.0.1:{rsyslog.ports['relp']}"
            code, out, errors = await run(softhsm, *words, "--force", "--syslog-sink", to)
            records = await rsyslog.until(2)  # beside the TEST a notice that the configuration was loaded
    finally:
        agent.terminate()
        await asyncio.wait_for(agent.wait(), 20)

    assert (code, errors) == (0, "")
    assert "test siem: accepted, the receiver acknowledged it\n" in out
    assert any("TEST" in record.raw for record in records)


async def test_the_services_files_are_the_services(softhsm: SoftHsm) -> None:
    """As root for another account: who may read what, and everything looked at and proved in its name."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        hsm = SoftHsm(folder / "hsm")
        hsm.create_token("payments")
        for path in [hsm.tokens.parent, *hsm.tokens.parent.rglob("*")]:
            await asyncio.to_thread(os.chown, path, pwd.getpwnam("nobody").pw_uid, -1)
        rsyslog = Rsyslog(program=require("rsyslogd"), folder=folder)
        async with rsyslog:
            code, out, errors = await run(
                hsm, "--to", str(folder / "etc"), "--user", "nobody", "--yes", "--module", str(hsm.module),
                "--syslog-sink", f"relp:127.0.0.1:{rsyslog.ports['relp']}", "--snmp-reader", "nms",
            )  # fmt: skip
        modes = {
            path.relative_to(folder / "etc").as_posix(): oct(path.stat().st_mode & 0o777)
            for path in (folder / "etc").rglob("*")
        }
        owners = {path.name: path.owner() for path in (folder / "etc").rglob("*")}

    assert (code, errors) == (0, "")
    assert "looked at as user nobody" in out
    assert "acknowledged it" in out
    assert modes["agent.yaml"] == "0o640"
    assert (modes["secrets"], modes["secrets/nms.auth"], modes["var"]) == ("0o500", "0o400", "0o700")
    assert (owners["agent.yaml"], owners["nms.auth"], owners["snmp-engine.json"]) == ("root", "nobody", "nobody")


async def test_what_is_installed_is_found(tmp_path: Path, softhsm: SoftHsm) -> None:
    """opencryptoki and SoftHSM where Debian has them, in namespaces of opencryptoki's own."""
    with OpenCryptoki(tmp_path / "ock") as opencryptoki:
        command = [*opencryptoki.enter, *COMMAND, "--to", str(tmp_path / "etc"), "--yes"]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment(softhsm), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, errors = await asyncio.wait_for(process.communicate(), 60)

    assert (process.returncode, errors.decode()) == (0, "")
    assert "SoftHSM  /usr/lib" in out.decode()
    assert "opencryptoki  /usr/lib" in out.decode()
    assert {source.name for source in (await loaded(tmp_path / "etc")).sources} == {"softhsm", "opencryptoki"}
