"""What LunaSH prints for `status sensors` (a table with a row for each sensor) and `status sysstat show`. Pure.

Columns are known by their headings only: order and number vary, and a threshold of unknown meaning is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hsm_agent.collect.command.parsers.text import (
    FactBuilder,
    Fields,
    Malformed,
    ParsedOutput,
    as_number,
    check_result,
    fields_of,
    instead,
    missing,
    name_in,
    one_line,
    unlike,
    whole_lines,
)
from hsm_agent.collect.series import Fact, unavailable

_GAP = re.compile(r"\s{2,}")
_RULE = re.compile(r"[\s|+=_-]*")
_NUMBER = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?")
_UNITS = (
    (re.compile(r"(?:deg(?:rees?|\.)?\s*)?(?:c|celsius)\.?", re.IGNORECASE), "sensor_celsius"),
    (re.compile(r"v(?:olts?)?", re.IGNORECASE), "sensor_volts"),
    (re.compile(r"rpm", re.IGNORECASE), "sensor_fan_rpm"),
)
_WELL = {"ok": 1, "nc": 0, "cr": 0, "nr": 0}
_NO_STATE = {"", "na", "n/a", "ns"}
_NOT_READ = "NR"
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")
_LOWER = re.compile(r"(?:lower|low|l)(?=[ c]|$)")
_UPPER = re.compile(r"(?:upper|high|u)(?=[ c]|$)")
_CRITICAL = re.compile(r"(?<!non )(?<!non)c(?:r|rit|ritical)?$")
_FEWEST_CELLS = 3


@dataclass(frozen=True, slots=True)
class _Head:
    """Where each column is; the thresholds that matter by their meaning."""

    cells: int
    sensor: int
    reading: int
    unit: int
    status: int | None
    upper_critical: int | None
    lower_critical: int | None


def parse_sensors(text: str) -> ParsedOutput:
    """Readings of every sensor. Raises Malformed where there is no table, or the command failed."""
    lines = whole_lines(text)
    check_result(lines)
    for number, line in enumerate(lines):
        head = _head(_cells(line))
        if head is not None:
            rows = _rows(lines[number + 1 :], head.cells)
            break
    else:
        raise unlike("status sensors", lines)
    facts: dict[str, list[Fact]] = {}
    for line, cells in rows:
        name = name_in(cells[0] if len(cells) != head.cells else cells[head.sensor])
        if name in facts:
            facts[name] = [unavailable(fact, f"two rows are called '{name}'") for fact in facts[name]]
        else:
            facts[name] = _row(head, name, cells, line)
    if not facts:
        raise Malformed(f"the table of sensors has no rows; {instead(lines)}")
    return ParsedOutput(facts=tuple(fact for each in facts.values() for fact in each))


def _cells(line: str) -> list[str]:
    if "|" in line:
        return [cell.strip() for cell in line.strip().strip("|").split("|")]
    return _GAP.split(line.strip())


def _rows(lines: list[str], most: int) -> list[tuple[str, list[str]]]:
    """The lines of the table; ruled lines are left out. Behind an empty line only what has as many cells is a row."""
    rows: list[tuple[str, list[str]]] = []
    ended = False
    for line in lines:
        cells = _cells(line)
        if _RULE.fullmatch(line):
            ended = ended or bool(rows and not line.strip())
        elif ended and (len(cells) != most or _head(cells) is not None):
            continue  # a legend, or the head once more
        elif ":" not in line or len(cells) >= _FEWEST_CELLS:  # else the shell's own last line, or a legend
            rows.append((line, cells))
    return rows


def _head(cells: list[str]) -> _Head | None:
    names = [" ".join(_NOT_A_WORD.split(cell.casefold())).strip() for cell in cells]
    if not {"sensor", "reading", "unit"} <= {name.removesuffix("s") for name in names}:
        return None
    places = {name.removesuffix("s"): place for place, name in enumerate(names)}
    return _Head(
        cells=len(cells),
        sensor=places["sensor"],
        reading=places["reading"],
        unit=places["unit"],
        status=next((place for place, name in enumerate(names) if name.removesuffix("s") in {"statu", "state"}), None),
        upper_critical=_critical(names, _UPPER),
        lower_critical=_critical(names, _LOWER),
    )


def _critical(names: list[str], side: re.Pattern[str]) -> int | None:
    """The one column that is the critical threshold of a side."""
    places = [place for place, name in enumerate(names) if side.match(name) and _CRITICAL.search(name)]
    return places[0] if len(places) == 1 else None


def _row(head: _Head, name: str, cells: list[str], line: str) -> list[Fact]:
    builder = FactBuilder(Fields(), name)
    if len(cells) != head.cells:
        builder.add("sensor_well", None, f"a row unlike the table's head: {one_line(line)}")
        return builder.facts
    metric = next((metric for unit, metric in _UNITS if unit.fullmatch(cells[head.unit])), None)
    status = cells[head.status] if head.status is not None else ""
    if metric is not None:
        value, reason = _level(cells[head.reading], status, line)
        builder.add(metric, value, reason, limit=_limit(metric, head, cells))
    well = _WELL.get(status.casefold())
    if well is not None:
        builder.add("sensor_well", well)
    elif status.casefold() not in _NO_STATE:
        builder.add("sensor_well", None, f"no known status: {one_line(line)}")
    elif metric is None:
        builder.add("sensor_well", None, f"neither a known unit nor a status: {one_line(line)}")
    return builder.facts


def _level(cell: str, status: str, line: str) -> tuple[float | int | None, str]:
    if _NUMBER.fullmatch(cell):
        return as_number(cell), ""
    if status.upper() == _NOT_READ:
        return None, f"the appliance cannot read this sensor: {one_line(line)}"
    return None, f"no number as expected: {one_line(line)}"


def _limit(metric: str, head: _Head, cells: list[str]) -> float | None:
    """What the appliance calls critical: a temperature's maximum, a fan's minimum. A voltage has two sides, so none."""
    place = {"sensor_celsius": head.upper_critical, "sensor_fan_rpm": head.lower_critical}.get(metric)
    cell = "" if place is None else cells[place]
    return float(cell) if _NUMBER.fullmatch(cell) else None


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


def parse_sysstat(text: str) -> ParsedOutput:
    """Readings of `status sysstat show`. Raises Malformed where the state is not there, or the command failed."""
    lines = whole_lines(text)
    check_result(lines)
    builder = FactBuilder(fields_of(lines))
    found = builder.fields.find(_STATE)
    if found is None:
        raise Malformed(f"{missing('System Status')}; {instead(lines)}")
    word = found[0].split(None, 1)[0].rstrip(",;.") if found[0] else ""
    if word not in _STATES:
        raise Malformed(f"no known state of service: {one_line(found[1])}")
    operational, trouble = _STATES[word]
    builder.add("hsm_operational", operational)
    builder.add("hsm_trouble", trouble)
    codes = builder.fields.find(_CODES)
    if codes is not None and _CODE_LIST.fullmatch(codes[0]):
        listed = [code.strip() for code in codes[0].split(",")]
        meaning = ", ".join(_MEANINGS.get(code, f"code {code}") for code in listed)
        builder.add("hsm_status_info", 1, labels=[("state", word), ("codes", ",".join(listed)), ("meaning", meaning)])
    else:
        reason = missing("System Status Code") if codes is None else f"no list of codes: {one_line(codes[1])}"
        builder.add("hsm_status_info", None, reason)
    return ParsedOutput(facts=tuple(builder.facts))
