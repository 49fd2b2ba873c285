"""The demonstration: three tokens, an appliance and an audit trail set off alarms and end them, as receivers saw it.

`scripts/demo` runs it. It ends by itself; the exit status is 0 only if everything arrived.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.demo.appliance import made
from tests.demo.tokens import Watched, tokens
from tests.demo.trail import Trail
from tests.peers.agent import COMMUNITY, AgentProcess
from tests.peers.mibs import OURS, base_mibs
from tests.peers.require import MissingPeerError, require
from tests.peers.rsyslog import Rsyslog
from tests.peers.snmptrapd import Notification, Snmptrapd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.peers.syslog_receiver import Received

BASE = ".1.3.6.1.4.1.8072.9999.9999.4801"
KINDS = {f"{BASE}.0.1": "raised", f"{BASE}.0.2": "changed", f"{BASE}.0.3": "cleared"}
SEVERITIES = {1: "cleared", 2: "indeterminate", 3: "critical", 6: "warning"}
SECONDS = 30.0
RULES = [{"name": "token-storage", "for": "0s"}, {"name": "token-sessions", "for": "0s"}]
"""The default rules wait five and ten minutes here, so that a busy moment is no alarm: too long for a demonstration."""


def say(text: str = "") -> None:
    """One line, at once."""
    print(text, flush=True)


def heading(text: str) -> None:
    """A line that stands out."""
    say()
    say(text)
    say("-" * len(text))


async def demonstrate(folder: Path) -> bool:
    """The whole demonstration; whether everything arrived."""
    auth, privacy = _secret(folder, "auth"), _secret(folder, "privacy")
    user = f"createUser agent SHA-256 {auth.read_text()} AES {privacy.read_text()}"
    with tokens(folder) as (local, prefix):
        appliance = made(folder / "appliance")
        trail = Trail(folder / "trail", folder / "control")
        watched = [*local, appliance, trail]
        async with (
            appliance.peer,
            Snmptrapd(folder / "trapd", [user, "authUser log agent priv"]) as trapd,
            Rsyslog(program=require("rsyslogd"), folder=folder) as rsyslog,
        ):
            inform = {
                "name": "noc",
                "kind": "snmp",
                "to": trapd.address,
                "version": "v3",
                "type": "inform",
                "user": {
                    "name": "agent",
                    "auth": {"protocol": "SHA-256", "secret": {"file": str(auth)}},
                    "privacy": {"protocol": "AES-128", "secret": {"file": str(privacy)}},
                },
            }
            siem = {"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"}
            async with AgentProcess(
                folder,
                sources=[source for each in watched for source in each.sources],
                rules=RULES,
                deliver=[inform, siem],
                agent={"name": "hsm-monitor-1"},
                command=prefix,
            ) as agent:
                await _introduce(agent, watched)
                is_caught = await _verified(agent, trail)
                return await _drive(agent, watched, trapd, rsyslog) and is_caught


async def _introduce(agent: AgentProcess, watched: Sequence[Watched]) -> None:
    names = {source["name"] for each in watched for source in each.sources}
    await agent.until(lambda status: names <= {s["name"] for s in status["sources"] if s["status"] == "up"})
    heading("The agent watches three tokens, an appliance and an audit trail")
    for token in watched:
        say(f"  {token.label:<10} {'real     ' if token.real else 'simulated'}  {token.what}")
    say("and tells an SNMP manager (net-snmp's snmptrapd, SNMPv3 informs) and a syslog server (rsyslog, RELP).")


async def _verified(agent: AgentProcess, trail: Trail) -> bool:
    """Show `audit verify` of the trail and of a forged copy; whether it knew one from the other."""
    heading("The trail is verified by hand, and then a copy in which the third line is forged (hsm-agent audit verify)")
    copy = trail.folder / "forged.log"
    lines = trail.files[0].read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join((*lines[:2], lines[2].replace(b"Login", b"Logon"), *lines[3:])))
    statuses = []
    for files in (trail.files, (copy,)):
        status, out, _ = await agent.run("audit", "verify", *map(str, files))
        for line in out.splitlines():
            say(f"  {line.replace(f'{trail.folder}/', '')}")
        say(f"  exit status {status}")
        statuses.append(status)
    return statuses == [0, 1]


async def _drive(agent: AgentProcess, watched: Sequence[Watched], trapd: Snmptrapd, rsyslog: Rsyslog) -> bool:
    heading("Each is driven over its threshold")
    for token in watched:
        say(f"  {token.label:<10} {await asyncio.to_thread(token.rise)}")
    wanted = {subject for each in watched for subject in each.subjects}
    await agent.until(
        lambda status: wanted <= {(alarm["resource"], alarm["rule"]) for alarm in status["alarms"]}, seconds=SECONDS
    )
    await _until(lambda: wanted <= {_subject(n) for n in trapd.notifications if n.oid in KINDS})
    heading("An SNMP walk of the agent's MIB meanwhile (tokens, audit stores, active alarms; without empty columns)")
    say(await asyncio.to_thread(_walk, agent.snmp_port))
    heading("And back")
    for token in watched:
        say(f"  {token.label:<10} {await asyncio.to_thread(token.fall)}")
    await agent.until(lambda status: not status["alarms"], seconds=SECONDS)
    await agent.until(lambda status: status["spool"]["entries"] == 0, seconds=SECONDS)
    notifications = [n for n in trapd.notifications if n.oid in KINDS]
    records = [r for r in await rsyslog.until(len(notifications)) if r.message_id.startswith("ALARM_")]
    heading("What the SNMP manager received")
    real = {resource: each.real for each in watched for resource, _ in each.subjects}
    for notification in notifications:
        say(_shown(notification, real))
    heading("What the syslog server received")
    for record in records:
        say(f"  {_cut(record)}")
    return _judge(notifications, records, wanted)


def _subject(notification: Notification) -> tuple[str, str]:
    """The token and the rule."""
    return notification.text(f"{BASE}.1.8.4.0"), notification.text(f"{BASE}.1.8.8.0")


def _shown(notification: Notification, real: dict[str, bool]) -> str:
    fields = [notification.text(f"{BASE}.1.8.{arc}.0") for arc in (4, 8, 6, 12)]
    severity = SEVERITIES.get(int(notification.varbinds[f"{BASE}.1.8.2.0"]), "?")
    origin = "real" if real.get(fields[0]) else "simulated"
    reading = f"{fields[2]} {fields[3]}"
    return f"  {KINDS[notification.oid]:<8} {severity:<13} {fields[0]:<10} {fields[1]:<19} {reading:<18} ({origin})"


def _cut(record: Received) -> str:
    line = record.raw.replace("\ufeff", "")
    return line if len(line) <= 340 else f"{line[:337]}…"


def _judge(notifications: Sequence[Notification], records: Sequence[Received], subjects: set[tuple[str, str]]) -> bool:
    told = {(KINDS[n.oid], *_subject(n)) for n in notifications}
    logged = {
        (r.message_id.removeprefix("ALARM_").lower(), r.data["hsm@32473"]["resource"], r.data["hsm@32473"]["rule"])
        for r in records
    }
    wanted = {(kind, *subject) for kind in ("raised", "cleared") for subject in subjects}
    complete = wanted <= told and wanted <= logged
    heading("Result")
    say(f"  {len(notifications)} informs and {len(records)} syslog records, each acknowledged by its receiver")
    say("  every alarm was raised and cleared at both receivers" if complete else "  NOT everything arrived")
    return complete


def _walk(port: int) -> str:
    mibs = base_mibs()
    tool = [str(require("snmpbulkwalk")), "-v2c", "-c", COMMUNITY, "-M", f"{mibs.path}:{OURS}", "-m", "HSM-AGENT-MIB"]
    lines = []
    for table in ("hsmTokenTable", "hsmAuditTable", "hsmActiveTable"):
        done = subprocess.run(
            [*tool, "-OQs", f"127.0.0.1:{port}", f"HSM-AGENT-MIB::{table}"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        lines += [line for line in done.stdout.splitlines() if not line.endswith(("= ", '= ""'))]
    return "\n".join(f"  {line[:150]}" for line in lines)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.02)


def _secret(folder: Path, name: str) -> Path:
    file = folder / name
    file.touch(mode=0o600)
    file.write_text(secrets.token_hex(12))
    return file


def main() -> None:
    """Run in a folder of its own below var/, and clean up."""
    began = time.monotonic()
    place = Path("var")
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="demo-", dir=place, ignore_cleanup_errors=True) as folder:
        try:
            complete = asyncio.run(demonstrate(Path(folder).absolute()))
        except (MissingPeerError, TimeoutError, RuntimeError, subprocess.CalledProcessError) as error:
            sys.exit(f"demo: {error}")
    say(f"  done in {time.monotonic() - began:.0f} s")
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
