"""Our example for Nagios as Nagios reads it, and its commands run against an agent."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from hsm_agent.model import Severity
from tests.fakes.snmp_present import AUTH_SECRET, PRIVACY_SECRET, Clock, alarm, raise_alarms, responder, store
from tests.peers.require import PEERS, ROOT, environment_for, missing, require

EXAMPLE = ROOT / "integrations" / "nagios" / "hsm-agent.cfg"
TEXT = EXAMPLE.read_text(encoding="utf-8")
COMMANDS = dict(re.findall(r"command_name +(\S+)\n +command_line +(.*)", TEXT))
CHECKS = re.findall(r"service_description +(.*)\n +check_command +(.*)", TEXT)
HOST = dict(re.findall(r"^ +(_\w+|address) +(\S+)$", TEXT, re.MULTILINE))


OF_NAGIOS = """
define timeperiod {
 timeperiod_name 24x7
 alias always
 monday 00:00-24:00
}
define command {
 command_name notify
 command_line /bin/true
}
define contact {
 contact_name root
 host_notification_period 24x7
 service_notification_period 24x7
 host_notification_commands notify
 service_notification_commands notify
}
define contactgroup {
 contactgroup_name admins
 members root
}
"""
"""What every installation of Nagios has."""


def test_nagios_accepts_the_example(tmp_path: Path) -> None:
    program = require("nagios4")
    (tmp_path / "objects.cfg").write_text(OF_NAGIOS)
    (tmp_path / "nagios.cfg").write_text(
        f"cfg_file={EXAMPLE}\ncfg_file={tmp_path}/objects.cfg\nlog_file={tmp_path}/log\ncheck_result_path={tmp_path}\nlock_file={tmp_path}/lock\n"
        f"illegal_macro_output_chars=`~$&|<>\ntemp_path={tmp_path}\ntemp_file={tmp_path}/temp\nquery_socket={tmp_path}/socket\ndate_format=iso8601\n"
        f"nagios_user={os.getuid()}\nnagios_group={os.getgid()}\n"
    )
    environment = {**os.environ, **environment_for(program)}
    command = [str(program), "-v", str(tmp_path / "nagios.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, env=environment)

    assert done.returncode == 0, done.stdout
    assert "Total Errors:   0" in done.stdout
    assert "Total Warnings: 0" in done.stdout
    assert f"Checked {len(CHECKS)} services." in done.stdout
    assert "Checked 1 hosts." in done.stdout


def expanded(check: str, *, address: str, port: int, base: str) -> str:
    """A service's command line with its macros filled in, as Nagios would hand it to the shell."""
    name, *arguments = check.split("!")
    macros = {
        **{f"ARG{number}": text for number, text in enumerate(arguments, 1)},
        "HOSTADDRESS": address,
        "_HOSTSNMP_PORT": str(port),
        "_HOSTSNMP_USER": HOST["_SNMP_USER"],
        "_HOSTHSM_BASE": base,
        "USER3": AUTH_SECRET,
        "USER4": PRIVACY_SECRET,
    }
    return re.sub(r"\$(\w+)\$", lambda match: macros[match[1]], COMMANDS[name])


def check_snmp() -> Path:
    found = [*PEERS.glob("*/usr/lib/nagios/plugins/check_snmp"), Path("/usr/lib/nagios/plugins/check_snmp")]
    return next((path for path in found if path.is_file()), None) or missing("check_snmp")


@pytest.mark.parametrize(
    ("severity", "code"),
    [
        pytest.param(None, 0, id="nothing is raised"),
        (Severity.WARNING, 1),
        (Severity.MINOR, 1),
        (Severity.INDETERMINATE, 1),
        (Severity.MAJOR, 2),
        (Severity.CRITICAL, 2),
    ],
)
async def test_the_worst_alarm_decides_the_state(severity: Severity | None, code: int, tmp_path: Path) -> None:
    present = store()
    raise_alarms(present, [] if severity is None else [alarm(severity=severity)])
    agent = await responder(tmp_path, present, Clock())
    await agent.start()
    line = expanded(dict(CHECKS)["HSM alarms"], address="127.0.0.1", port=agent.addresses[0][1], base=HOST["_HSM_BASE"])
    program, rest = line.split(" ", 1)
    assert program == "/usr/lib/nagios/plugins/check_snmp"

    process = await asyncio.create_subprocess_shell(f"{check_snmp()} {rest}", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    await agent.close()

    assert process.returncode == code, out
