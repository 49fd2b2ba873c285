"""The template's scripts in Zabbix's own engine: everything that net-snmp shows is read, with the MIB loaded or not."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from hsm_agent.templates.zabbix import scripts
from hsm_agent.wire.snmp import mib
from tests.peers.require import environment_for, require

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = "iso.3.6.1.4.1.8072.9999.9999.4801"
NAMES = {f"{NUMBERS}.1.8.{each.number}.0": f"HSM-AGENT-MIB::{each.name}.0" for each in mib.ALARM} | {
    "iso.3.6.1.6.3.1.1.4.1.0": "SNMPv2-MIB::snmpTrapOID.0",
    "iso.3.6.1.2.1.1.3.0": "DISMAN-EVENT-MIB::sysUpTimeInstance",
    f"{NUMBERS}.0.1": "HSM-AGENT-MIB::hsmAlarmRaised",
}
TRAP = f"""\
PDU INFO:
  notificationtype               TRAP
  receivedfrom                   UDP: [127.0.0.2]:45697->[127.0.0.1]:162
VARBINDS:
  iso.3.6.1.2.1.1.3.0            type=67 value=Timeticks: (9) 0:00:00.09
  iso.3.6.1.6.3.1.1.4.1.0        type=6  value=OID: {NUMBERS}.0.1
  {NUMBERS}.1.8.1.0 type=4  value=STRING: "7e6f3f4d-1d7b-4a3e-8c5a-3f0e6d5c4b3a"
  {NUMBERS}.1.8.2.0 type=2  value=INTEGER: 3
  {NUMBERS}.1.8.3.0 type=4  value=STRING: "luna"
  {NUMBERS}.1.8.4.0 type=4  value=Hex-STRING: E4 BB 98 E6 AC BE
  {NUMBERS}.1.8.6.0 type=4  value=STRING: "95.2"
  {NUMBERS}.1.8.7.0 type=4  value=""
  {NUMBERS}.1.8.8.0 type=4  value=STRING: "token-memory"
  {NUMBERS}.1.8.9.0 type=4  value=Hex-STRING: E4 BB 98 E6 AC BE 3A 20 22 61 22 20 5C 20 69 73
20 66 75 6C 6C
  {NUMBERS}.1.8.10.0 type=4  value=STRING: "f547cb5c-5337-4d80-badd-bf2354d5a3ca"
  {NUMBERS}.1.8.12.0 type=4  value=STRING: "percent"
  {NUMBERS}.1.8.13.0 type=4  value=STRING: "a \\"quoted\\" \\\\ name"
  {NUMBERS}.1.8.14.0 type=4  value=""
"""
READ = """\
raised critical
alarmid: f547cb5c-5337-4d80-badd-bf2354d5a3ca
rule: token-memory
source: luna
resource: 付款
place: luna/付款
value: 95.2 percent
threshold:
agent: a "quoted" \\ name
runbook:
text: 付款: "a" \\ is full"""

HANDED_OVER = """\
UDP: [127.0.0.2]:45697->[127.0.0.1]:162
DISMAN-EVENT-MIB::sysUpTimeInstance 0:0:00:00.09
SNMPv2-MIB::snmpTrapOID.0 HSM-AGENT-MIB::hsmAlarmChanged
HSM-AGENT-MIB::hsmAlarmSeverity.0 warning
HSM-AGENT-MIB::hsmAlarmResource.0 "E4 BB 98 E6 AC BE "
HSM-AGENT-MIB::hsmAlarmAlarmId.0 "f547cb5c-5337-4d80-badd-bf2354d5a3ca"
"""
"""As snmptrapd gives it to a traphandle: a name and a value a line."""


def with_names(text: str) -> str:
    """As snmptrapd shows it with our MIB loaded."""
    for number, name in sorted(NAMES.items(), reverse=True):
        text = text.replace(number, name)
    return text.replace("INTEGER: 3", "INTEGER: critical(3)")


def run(tmp_path: Path, script: str, value: str) -> str:
    program = require("zabbix_js")
    (tmp_path / "script.js").write_text(script, encoding="utf-8")
    (tmp_path / "value").write_text(value, encoding="utf-8")
    done = subprocess.run(
        [str(program), "-s", str(tmp_path / "script.js"), "-i", str(tmp_path / "value")],
        capture_output=True, text=True, timeout=20, check=False, env={**os.environ, **environment_for(program)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.removeprefix("\n").removesuffix("\n")


@pytest.mark.parametrize(
    "text", [pytest.param(TRAP, id="numbers"), pytest.param(with_names(TRAP), id="names of the MIB")]
)
def test_a_notification_becomes_lines(tmp_path: Path, text: str) -> None:
    said = run(tmp_path, scripts.notification(mib.BASE, alarm=True), text)

    assert [line.rstrip() for line in said.splitlines()] == READ.splitlines()


def test_what_a_traphandle_is_given_is_read_too(tmp_path: Path) -> None:
    said = run(tmp_path, scripts.notification(mib.BASE, alarm=True), HANDED_OVER)

    assert said.splitlines()[0] == "changed warning"
    assert "alarmid: f547cb5c-5337-4d80-badd-bf2354d5a3ca" in said
    assert "resource: 付款" in said
    assert "place: /付款" in said


def test_what_has_no_resource_is_told_of_its_source_alone(tmp_path: Path) -> None:
    of_source = "\n".join(line for line in TRAP.splitlines() if ".1.8.4.0" not in line)

    said = run(tmp_path, scripts.notification(mib.BASE, alarm=True), of_source)

    assert "place: luna" in said.splitlines()


def test_a_row_is_of_a_place(tmp_path: Path) -> None:
    rows = [
        {"{#SOURCE}": "luna", "{#RESOURCE}": "E4 BB 98"},
        {"{#SOURCE}": "luna", "{#RESOURCE}": ""},
        {"{#SOURCE}": "a"},
    ]

    said = run(tmp_path, scripts.discovery(("SOURCE", "RESOURCE")), json.dumps(rows))

    assert [row["{#PLACE}"] for row in json.loads(said)] == ["luna/付", "luna", "a"]


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        pytest.param("payments", "payments", id="plain"),
        pytest.param("E4 BB 98 E6 AC BE ", "付款", id="beyond ASCII"),
        pytest.param("E4 BB 98 \nE6 AC BE", "付款", id="in two lines"),
        pytest.param("AB CD", "AB CD", id="looks like hexadecimal and is no UTF-8"),
        pytest.param("41 42", "41 42", id="looks like hexadecimal and is ASCII"),
    ],
)
def test_text_is_decoded_where_net_snmp_has_shown_octets(tmp_path: Path, shown: str, text: str) -> None:
    assert run(tmp_path, scripts.TEXT, shown) == text


@pytest.mark.parametrize("shown", ["07 EA 0B 1D 07 13 13 07 2B 00 00 ", "2026-11-29,7:19:19.7,+0:0"])
def test_a_date_is_seconds_since_the_epoch(tmp_path: Path, shown: str) -> None:
    assert run(tmp_path, scripts.DATE, shown) == "1795936759"


def test_rows_have_every_macro_and_uninitialized_slots_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"{#SNMPINDEX}": "1", "{#LABEL}": "E4 BB 98", "{#STATUS}": "2"},
        {"{#SNMPINDEX}": "2", "{#LABEL}": "slot 3", "{#STATUS}": "4"},
    ]

    said = run(tmp_path, scripts.discovery(("LABEL", "UNIT"), keeps="row['{#STATUS}'] !== '4'"), json.dumps(rows))

    assert json.loads(said) == [{"{#SNMPINDEX}": "1", "{#LABEL}": "付", "{#STATUS}": "2", "{#UNIT}": ""}]
