"""What an agent tells a fleet of itself: one short JSON document under its name. Made and read here. Pure.

Whoever may write to the key may write anything: a document is read with bounds on its size and on each of its members,
and its texts are made fit to be shown. Members that are not known are passed over, so that a later version may add
some; `format` counts up when one changes its meaning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.model import Severity
from hsm_agent.text import one_line
from hsm_agent.wire.event_json import json_octets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT = 1
PREFIX = "/hsm-agent-fleet/"
"""Before the agent's name, the key that its report is kept under."""
MOST_REPORT_BYTES = 16 * 1024
"""Of a document that is read; one that is made has 6 KiB at most."""
MOST_NAME_CHARACTERS = 255
MOST_WORST = 3
MOST_DOWN = 5
SEVERITIES = (Severity.CRITICAL, Severity.MAJOR, Severity.MINOR, Severity.WARNING, Severity.INDETERMINATE)
_TEXT, _PLACE, _WORD = 200, 120, 64
_MOST_COUNT = 10**6
_MOST_NUMBER = 1e15
_LATEST = 253402300799.0
"""The end of the year 9999, in UTC seconds."""
_DAY = 86400.0


class NoReportError(Exception):
    """What stands under the key is no report of an agent. The text says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstAlarm:
    """One of the worst alarms of an agent. `place` is source/resource; `since` is UTC seconds."""

    severity: Severity
    rule: str
    place: str
    text: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """The state of an agent when it published it.

    `time` and `started` are UTC seconds by the agent's own clock; `run` is chosen at random at its start, so that two
    agents of one name are told apart. `alarms` counts those that no silence holds back, by severity. `down` names
    some of the `sources_down`. `problem` is why it is not ready, empty while it is.
    """

    site: str
    version: str
    run: str
    time: float
    started: float
    every_seconds: float
    alarms: Mapping[Severity, int]
    worst: Sequence[WorstAlarm]
    sources: int
    sources_down: int
    down: Sequence[str]
    problem: str = ""


def key_of(agent: str) -> str:
    """The key of an agent's report."""
    return PREFIX + agent


def name_of(key: bytes) -> str:
    """The name of the agent that a key is of. Raises NoReportError where nobody can be called that."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        raise NoReportError("a key that is no UTF-8") from None
    name = text.removeprefix(PREFIX)
    if name == text or not name or len(name) > MOST_NAME_CHARACTERS or one_line(name) != name:
        raise NoReportError("a key that names no agent")
    return name


def encode(report: AgentReport) -> bytes:
    """The document, as it is put under the key. Texts that are too long are cut."""
    return json_octets(
        {
            "format": FORMAT,
            "site": _cut(report.site, _WORD),
            "version": report.version,
            "run": report.run,
            "time": round(report.time, 3),
            "started": round(report.started, 3),
            "every": report.every_seconds,
            "alarms": {severity.value: count for severity, count in report.alarms.items() if count},
            "worst": [
                {
                    "severity": alarm.severity.value,
                    "rule": _cut(alarm.rule, _WORD),
                    "place": _cut(alarm.place, _PLACE),
                    "text": _cut(alarm.text, _TEXT),
                    "since": round(alarm.since, 3),
                }
                for alarm in report.worst[:MOST_WORST]
            ],
            "sources": report.sources,
            "sources_down": report.sources_down,
            "down": [_cut(name, _WORD) for name in report.down[:MOST_DOWN]],
            "problem": _cut(report.problem, _TEXT),
        }
    )


def decode(octets: bytes) -> AgentReport:
    """The report in a document. Raises NoReportError."""
    found = _Members(_document(octets))
    if found.number("format", least=1) > FORMAT:
        raise NoReportError("of a newer format: bring this agent to its version")
    counts = found.members("alarms")
    return AgentReport(
        site=found.text("site", _WORD),
        version=found.text("version", _WORD),
        run=found.text("run", _WORD),
        time=found.number("time", most=_LATEST),
        started=found.number("started", most=_LATEST),
        every_seconds=found.number("every", least=1.0, most=_DAY),
        alarms={severity: counts.count(severity.value) for severity in SEVERITIES},
        worst=tuple(_worst(_Members(each)) for each in found.items("worst", MOST_WORST)),
        sources=found.count("sources"),
        sources_down=found.count("sources_down"),
        down=tuple(_Members({"down": each}).text("down", _WORD) for each in found.items("down", MOST_DOWN)),
        problem=found.text("problem", _TEXT),
    )


def _cut(text: str, most: int) -> str:
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _document(octets: bytes) -> object:
    if len(octets) > MOST_REPORT_BYTES:
        raise NoReportError(f"longer than {MOST_REPORT_BYTES} octets")
    try:
        return json.loads(octets.decode())
    except (ValueError, RecursionError):  # ValueError: no UTF-8, no JSON, or a number of more than 4300 digits
        raise NoReportError("not a JSON document") from None


def _worst(found: _Members) -> WorstAlarm:
    severity = found.text("severity", _WORD)
    known = {each.value: each for each in SEVERITIES}
    return WorstAlarm(
        severity=known.get(severity, Severity.INDETERMINATE),
        rule=found.text("rule", _WORD),
        place=found.text("place", _PLACE),
        text=found.text("text", _TEXT),
        since=found.number("since", most=_LATEST),
    )


class _Members:
    """An object of JSON whose members are taken out by type, within bounds. A member that is missing is empty or 0."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise NoReportError("not an object of JSON where one belongs")
        self._value: dict[str, Any] = value

    def number(self, name: str, *, least: float = 0.0, most: float = _MOST_NUMBER) -> float:
        value = self._value.get(name, least)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise NoReportError(f"'{name}' is no such number")
        return float(value)

    def count(self, name: str) -> int:
        return int(self.number(name, most=_MOST_COUNT))

    def text(self, name: str, most: int) -> str:
        value = self._value.get(name, "")
        if not isinstance(value, str):
            raise NoReportError(f"'{name}' is no text")
        return _cut(value, most)

    def members(self, name: str) -> _Members:
        return _Members(self._value.get(name, {}))

    def items(self, name: str, most: int) -> list[object]:
        value = self._value.get(name, [])
        if not isinstance(value, list):
            raise NoReportError(f"'{name}' is no list")
        return value[:most]
