"""What LunaSH prints for `status sysstat show`: the appliance's state of service and its codes. Pure."""

from __future__ import annotations

import re

from hsm_agent.collect.command.parsers.facts import Sheet, missing
from hsm_agent.collect.command.parsers.text import (
    Malformed,
    Parsed,
    check_result,
    fields_of,
    instead,
    one_line,
    whole_lines,
)

_STATES = {"ISO": (1, 0), "IST": (1, 1), "OOS": (0, 1), "OFL": (0, 1)}
"""State: whether the HSM can be used, and whether something is amiss."""
_STATE = "system status"
_CODES = "system status code"
_CODE_LIST = re.compile(r"[0-9]{1,4}(?:\s*,\s*[0-9]{1,4})*")

_MEANINGS = {
    "0": "well",
    "15": "cluster",
    "20": "NTLS down",
    "25": "NTLS not bound",
    "30": "HSM errors",
    "40": "database",
    "50": "no network",
    "60": "eth0",
    "61": "eth1",
    "62": "eth2",
    "63": "eth3",
    "70": "logging",
    "80": "STC",
    "90": "SSH",
    "95": "web server",
    "100": "SNMP",
    "110": "disk nearly full",
}


def parse(text: str) -> Parsed:
    """Readings of `status sysstat show`. Raises Malformed where the state is not there, or the command failed."""
    lines = whole_lines(text)
    check_result(lines)
    sheet = Sheet(fields_of(lines))
    found = sheet.fields.find(_STATE)
    if found is None:
        raise Malformed(f"{missing('System Status')}; {instead(lines)}")
    word = found[0].split(None, 1)[0].rstrip(",;.") if found[0] else ""
    if word not in _STATES:
        raise Malformed(f"no known state of service: {one_line(found[1])}")
    operational, trouble = _STATES[word]
    sheet.add("hsm_operational", operational)
    sheet.add("hsm_trouble", trouble)
    codes = sheet.fields.find(_CODES)
    if codes is not None and _CODE_LIST.fullmatch(codes[0]):
        listed = [code.strip() for code in codes[0].split(",")]
        meaning = ", ".join(_MEANINGS.get(code, f"code {code}") for code in listed)
        sheet.add("hsm_status_info", 1, labels=[("state", word), ("codes", ",".join(listed)), ("meaning", meaning)])
    else:
        reason = missing("System Status Code") if codes is None else f"no list of codes: {one_line(codes[1])}"
        sheet.add("hsm_status_info", None, reason)
    return Parsed(facts=tuple(sheet.facts))
