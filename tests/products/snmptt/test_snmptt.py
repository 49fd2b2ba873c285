"""Notifications through snmptrapd into Debian's SNMPTT with our configuration: what it logs."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING

from tests.peers.crossing import Crossing, trap_sink
from tests.peers.require import PEERS, ROOT, require
from tests.peers.traphandle import COMMUNITY, HandingTrapd

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = ROOT / "integrations" / "snmptt" / "snmptt.hsm-agent.conf"
SETTINGS = {
    "mode": "standalone",
    "ipv6_enable": "0",
    "log_enable": "1",
    "syslog_enable": "0",
    "syslog_system_enable": "0",
    "unknown_trap_log_enable": "1",
}
_LINE = re.compile(r"(\.[0-9.]+) (\w+) \"(\w+)\" \S+ - (.*)")


def handler(folder: Path) -> str:
    """A program that runs SNMPTT once for each notification, with Debian's settings but for where it logs."""
    program = require("snmptt")
    text = (PEERS / "snmptt" / "etc" / "snmp" / "snmptt.ini").read_text(encoding="utf-8")
    files = {"log_file": folder / "snmptt.log", "unknown_trap_log_file": folder / "unknown.log"}
    for key, value in {**SETTINGS, **files}.items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert count == 1, key
    text, count = re.subn(r"(?<=^snmptt_conf_files = <<END\n)[^\n]+", str(CONFIGURATION), text, flags=re.MULTILINE)
    assert count == 1
    (folder / "snmptt.ini").write_text(text, encoding="utf-8")
    script = folder / "handler"
    library = PEERS / "snmptt" / "usr" / "share" / "perl5"
    script.write_text(f"#!/bin/sh\nexec perl -I{library} {program} --ini={folder}/snmptt.ini 2>>{folder}/errors\n")
    script.chmod(0o755)
    return str(script)


def lines(folder: Path) -> list[tuple[str, ...]]:
    log = folder / "snmptt.log"
    return _LINE.findall(log.read_text(encoding="utf-8")) if log.exists() else []


async def test_each_notification_has_the_severity_it_carries(tmp_path: Path) -> None:
    async with HandingTrapd(tmp_path, handler(tmp_path), ["-On", "-m", ""]) as trapd:
        crossing = Crossing(tmp_path, [trap_sink(tmp_path, trapd.address, COMMUNITY)])
        async with crossing.agent as agent:
            await crossing.cross()
            code, _out, errors = await agent.run("test-notification", "--config", str(agent.file))
            assert code == 0, errors
            async with asyncio.timeout(20):
                while len(lines(tmp_path)) < 4:
                    await asyncio.sleep(0.1)

    errors = (tmp_path / "errors").read_text(encoding="utf-8")
    assert [line for line in errors.splitlines() if "Use of uninitialized" not in line] == [], sys.version
    told = lines(tmp_path)
    base = ".1.3.6.1.4.1.8072.9999.9999.4801.0"
    assert sorted((oid, severity, category) for oid, severity, category, _text in told) == [
        (f"{base}.1", "WARNING", "HSM"),
        (f"{base}.2", "CRITICAL", "HSM"),
        (f"{base}.3", "NORMAL", "HSM"),
        (f"{base}.4", "NORMAL", "HSM"),
    ]
    alarms = [text for oid, _severity, _category, text in told if not oid.endswith(".4")]
    assert all("fake/payments" in text and "[rule token-memory]" in text for text in alarms)
    assert len({re.findall(r"\[alarm ([0-9a-f-]{36})\]", text)[0] for text in alarms}) == 1
    unknown = tmp_path / "unknown.log"  # coldStart, which SNMPTT's own files know
    assert not unknown.exists() or "8072.9999" not in unknown.read_text(encoding="utf-8")
