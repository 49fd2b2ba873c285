"""Notifications through snmptrapd, as LibreNMS starts it, into our trap handler in Debian's PHP."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from tests.peers.crossing import Crossing, trap_sink
from tests.peers.mibs import OURS, base_mibs
from tests.peers.require import PEERS, ROOT, environment_for
from tests.peers.traphandle import COMMUNITY, HandingTrapd

HANDLER = ROOT / "integrations" / "librenms" / "LibreNMS" / "Snmptrap" / "Handlers" / "HsmAgentNotification.php"
HARNESS = Path(__file__).parent / "handle.php"


def php() -> Path:
    (found,) = (
        path for path in (PEERS / "php" / "usr" / "bin").glob("php*") if path.name[3:].replace(".", "").isdigit()
    )
    return found


def handle(notification: str) -> list[dict[str, Any]]:
    """What the handler logs of a notification; none for those that are not ours."""
    program = php()
    done = subprocess.run(
        [str(program), "-n", str(HARNESS), str(HANDLER)],
        input=notification, capture_output=True, text=True, check=False, timeout=20, env=environment_for(program),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done
    return [json.loads(line) for line in done.stdout.splitlines()]


def script(folder: Path) -> str:
    """A program that keeps each notification in a file of its own."""
    path = folder / "keep"
    path.write_text(
        f'#!/bin/sh\nfile=$(mktemp {folder}/XXXXXX.part)\ncat >"$file"\nmv "$file" "${{file%.part}}.trap"\n'
    )
    path.chmod(0o755)
    return str(path)


def kept(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in folder.glob("*.trap")]


async def test_a_crossing_is_logged_with_its_severity_and_the_alarm_as_reference(tmp_path: Path) -> None:
    mibs = ["-M", f"{base_mibs().path}:{OURS}", "-m", "HSM-AGENT-MIB:SNMPv2-MIB"]
    async with HandingTrapd(tmp_path, script(tmp_path), mibs) as trapd:
        crossing = Crossing(tmp_path, [trap_sink(tmp_path, trapd.address, COMMUNITY)])
        async with crossing.agent as agent:
            await crossing.cross()
            code, _out, errors = await agent.run("test-notification", "--config", str(agent.file))
            assert code == 0, errors
            async with asyncio.timeout(20):
                while sum("HSM-AGENT-MIB::" in text for text in kept(tmp_path)) < 4:
                    await asyncio.sleep(0.1)

    logged = {each["trap"]: each for text in kept(tmp_path) for each in await asyncio.to_thread(handle, text)}
    assert {trap.removeprefix("HSM-AGENT-MIB::"): each["severity"] for trap, each in logged.items()} == {
        "hsmAlarmRaised": "Warning",
        "hsmAlarmChanged": "Error",
        "hsmAlarmCleared": "Ok",
        "hsmTestNotification": "Info",
    }
    test = logged.pop("HSM-AGENT-MIB::hsmTestNotification")
    assert test["message"].startswith("HSM test: ")
    assert test["reference"] is None
    assert len({each["reference"] for each in logged.values()}) == 1
    raised = logged["HSM-AGENT-MIB::hsmAlarmRaised"]
    assert len(raised["reference"]) == 36
    assert raised["message"].startswith("HSM raised: token-memory: ")
    assert "payments" in raised["message"]


def test_numbers_and_letters_beyond_ascii_are_taken_too() -> None:
    text = (
        "agent\nUDP: [192.0.2.5]:1->[192.0.2.6]:162\nSNMPv2-MIB::snmpTrapOID.0 HSM-AGENT-MIB::hsmAlarmRaised\n"
        'HSM-AGENT-MIB::hsmAlarmSeverity.0 3\nHSM-AGENT-MIB::hsmAlarmRule.0 "pin"\n'
        "HSM-AGENT-MIB::hsmAlarmText.0 token 付款: locked\nHSM-AGENT-MIB::hsmAlarmAlarmId.0 \n"
        "HSM-AGENT-MIB::hsmAlarmKind.0 raised\n"
    )

    (logged,) = handle(text)

    assert (logged["severity"], logged["message"], logged["reference"]) == (
        "Error",
        "HSM raised: pin: token 付款: locked",
        None,
    )
