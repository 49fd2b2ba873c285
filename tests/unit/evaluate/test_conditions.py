"""Conditions, one reading at a time."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import pytest

from hsm_agent.evaluate.conditions import Evaluation, evaluate
from hsm_agent.evaluate.rules import (
    DAY,
    HOUR,
    Above,
    Below,
    Changes,
    Condition,
    Grows,
    NotFalling,
    RateChanges,
    Reaches,
    Rule,
)
from hsm_agent.evaluate.state import NO_MEMORY, ConditionMemory
from hsm_agent.evaluate.trends import Points, Windows
from hsm_agent.model import Labels, Severity
from tests.unit.evaluate.judging import MEMORY, START, reading

CLEARED, WARNING, CRITICAL = Severity.CLEARED, Severity.WARNING, Severity.CRITICAL
UNDECIDED = Severity.INDETERMINATE
RISING = Windows(number=9, low=70, lows=(10, 20, 30, 40, 50, 60))
FLAT = Windows(number=9, low=70, lows=(10, 10, 10, 10, 10, 10))
SHORT = Windows(number=9, low=70, lows=(10,))


@dataclass
class Histories:
    of_length: dict[float, Windows] = field(default_factory=dict)
    of_spacing: dict[float, Points] = field(default_factory=dict)

    def windows(self, length: float) -> Windows | None:
        return self.of_length.get(length)

    def points(self, spacing: float) -> Points | None:
        return self.of_spacing.get(spacing)


def evaluation(
    condition: Condition,
    value: float,
    metric: str = MEMORY,
    *,
    current: Severity = CLEARED,
    histories: Histories | None = None,
    limit: float | None = None,
    at: float = 0.0,
) -> Evaluation:
    rule = Rule(name="r", metrics=(metric,), condition=condition)
    found, memory = evaluate(
        rule, reading(at, value, metric, limit=limit), current, NO_MEMORY, histories or Histories()
    )
    assert memory == NO_MEMORY
    return found


@pytest.mark.parametrize(
    ("condition", "value", "limit", "expected"),
    [
        pytest.param(Above(warning=75), 75, None, WARNING, id="above"),
        pytest.param(Above(warning=30), -40, None, CLEARED, id="a negative value is below"),
        pytest.param(Above(warning=30, absolute=True), -40, None, WARNING, id="its amount is above"),
        pytest.param(Below(warning=75), 75, None, WARNING, id="below"),
        pytest.param(Above(critical="own"), 180, 180.0, CRITICAL, id="the reading's own limit"),
        pytest.param(Above(critical="own"), 180, None, UNDECIDED, id="no limit of its own"),
        pytest.param(Above(warning=90, critical="own"), 95, None, WARNING, id="only the level it has"),
    ],
)
def test_levels(condition: Condition, value: float, limit: float | None, expected: Severity) -> None:
    assert evaluation(condition, value, "token_clock_offset_seconds", limit=limit).severity is expected


@pytest.mark.parametrize(
    ("short", "long", "current", "expected"),
    [
        pytest.param(RISING, SHORT, CLEARED, WARNING, id="the short windows rise"),
        pytest.param(RISING, RISING, CLEARED, CRITICAL, id="both rise"),
        pytest.param(FLAT, RISING, CLEARED, CRITICAL, id="the long ones rise"),
        pytest.param(FLAT, SHORT, CLEARED, CLEARED, id="the short ones say that all is well"),
        pytest.param(SHORT, SHORT, CLEARED, UNDECIDED, id="too short is unknown"),
        pytest.param(None, None, CLEARED, UNDECIDED, id="no history is unknown"),
        pytest.param(SHORT, SHORT, WARNING, WARNING, id="torn leaves a warning as it was"),
        pytest.param(FLAT, SHORT, CRITICAL, CRITICAL, id="torn leaves critical as it was"),
        pytest.param(SHORT, Windows(number=9, low=5, lows=(9,) * 6), CRITICAL, WARNING, id="critical is over"),
    ],
)
def test_growth(short: Windows | None, long: Windows | None, current: Severity, expected: Severity) -> None:
    found = {length: windows for length, windows in ((1800.0, short), (7200.0, long)) if windows}

    result = evaluation(
        Grows(warning=1800, critical=7200, at_least=5),
        70,
        "token_sessions",
        current=current,
        histories=Histories(found),
    )

    assert result.severity is expected


def test_growth_with_one_level_only() -> None:
    assert evaluation(Grows(critical=60), 70, histories=Histories({60: SHORT})).severity is UNDECIDED
    assert evaluation(Grows(critical=60), 70, histories=Histories({60: FLAT})).severity is CLEARED
    assert evaluation(Grows(warning=60), 70, histories=Histories({60: RISING})).severity is WARNING


def test_growth_says_from_where_to_where() -> None:
    assert evaluation(Grows(warning=60), 70, "token_sessions", histories=Histories({60: RISING})).note == (
        "from 10 sessions to 70 sessions in 6m"
    )
    assert (
        evaluation(Grows(warning=60), 70, current=WARNING, histories=Histories()).note == "from no value to 70 % in 6m"
    )


def counted(rate_before: float, rate_now: float) -> Points:
    times = [i * 300.0 + START for i in range(25)]
    values = [0.0]
    for time in times[1:]:
        values.append(values[-1] + 300 * (rate_before if time - START <= 3600 else rate_now))
    return Points(array("d", times), array("d", values))


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(100, 20, WARNING, id="a fall"),
        pytest.param(20, 100, WARNING, id="a rise"),
        pytest.param(100, 51, CLEARED, id="not by half"),
        pytest.param(12, 3, CLEARED, id="by too little in all"),
        pytest.param(0, 0, CLEARED, id="nothing"),
        pytest.param(0, 10, WARNING, id="from nothing"),
    ],
)
def test_a_rate_that_changes(before: float, now: float, expected: Severity) -> None:
    points = counted(before, now)

    result = evaluation(
        RateChanges(against=HOUR, percent=50, at_least=10),
        points.values[-1] + 60 * now,
        "hsm_commands_total",
        histories=Histories({}, {300.0: points}),
        at=7260,
    )

    assert result.severity is expected
    assert result.value == pytest.approx(now)
    assert result.unit == "per second"


def test_a_gauge_is_compared_with_itself() -> None:
    points = Points(array("d", [START]), array("d", [80.0]))

    result = evaluation(RateChanges(against=HOUR), 20, histories=Histories({}, {300.0: points}), at=3600)

    assert (result.severity, result.value, result.note) == (WARNING, 20, "80 % 1h ago")


def test_no_rate_is_unknown() -> None:
    result = evaluation(RateChanges(against=HOUR), 20, "hsm_commands_total", at=3600)

    assert (result.severity, result.value) == (UNDECIDED, None)


def test_a_gauge_that_stays_is_well_whatever_the_levels() -> None:
    points = Points(array("d", [START]), array("d", [0.0]))

    result = evaluation(RateChanges(against=HOUR, percent=0), 0, histories=Histories({}, {300.0: points}), at=3600)

    assert result.severity is CLEARED


def filling(start: float, a_day: float, days: int = 30) -> Histories:
    times = [START + i * HOUR for i in range(days * 24 + 1)]
    values = [start + a_day * i / 24 for i in range(days * 24 + 1)]
    return Histories({}, {HOUR: Points(array("d", times), array("d", values))})


@pytest.mark.parametrize(
    ("start", "a_day", "current", "expected", "note"),
    [
        pytest.param(50, 0.2, CLEARED, CLEARED, "in 195d", id="far away"),
        pytest.param(48.2, 0.4, CLEARED, WARNING, "in 87d", id="within the warning"),
        pytest.param(53, 1.0, CLEARED, CRITICAL, "in 12d", id="within critical"),
        pytest.param(96, 0.0, CLEARED, CRITICAL, "now", id="there already"),
        pytest.param(95, 0.0, CLEARED, CRITICAL, "now", id="just there"),
        pytest.param(99, -0.1, CLEARED, CRITICAL, "now", id="there, and falling"),
        pytest.param(50, 0.0, CLEARED, CLEARED, "never at its present pace", id="level"),
        pytest.param(44.5, 0.4, CLEARED, CLEARED, "in 96d 6h", id="just outside"),
        pytest.param(44.5, 0.4, WARNING, WARNING, "in 96d 6h", id="within the hysteresis"),
    ],
)
def test_a_forecast(start: float, a_day: float, current: Severity, expected: Severity, note: str) -> None:
    result = evaluation(
        Reaches(level=95, over=30 * DAY, warning=90 * DAY, critical=14 * DAY),
        start + 30 * a_day,
        current=current,
        histories=filling(start, a_day),
        at=30 * DAY,
    )

    assert (result.severity, result.note) == (expected, note)


def test_a_forecast_needs_a_quarter_of_its_history() -> None:
    condition = Reaches(level=95, over=30 * DAY, warning=90 * DAY)

    assert evaluation(condition, 50, histories=filling(50, 9, days=7), at=7 * DAY).severity is UNDECIDED
    assert evaluation(condition, 50, histories=filling(50, 9, days=8), at=8 * DAY).severity is WARNING
    assert evaluation(condition, 50).severity is UNDECIDED


def changes(values: list[tuple[float, Labels]], metric: str) -> list[Evaluation]:
    rule = Rule(name="r", metrics=(metric,), condition=Changes(severity=WARNING))
    memory, found = NO_MEMORY, []
    for at, (value, labels) in enumerate(values):
        result, memory = evaluate(rule, reading(at, value, metric, labels=labels), CLEARED, memory, Histories())
        found.append(result)
    return found


def test_a_change_of_value_is_seen_and_stays() -> None:
    found = changes([(4, ()), (4, ()), (6, ()), (6, ())], "token_objects")

    assert [result.severity for result in found] == [CLEARED, CLEARED, WARNING, WARNING]
    assert (found[2].before, found[2].note) == ("4", "4 -> 6")


def test_a_change_of_labels_is_told_again() -> None:
    old, new = (("version", "7.4"),), (("version", "7.7"),)

    found = changes([(1, old), (1, new), (1, old), (2, old)], "hsm_firmware_info")

    assert [result.again for result in found] == [False, True, True, False]
    assert found[1].note == "version=7.4 -> version=7.7"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([5, 6], WARNING, id="counted up"),
        pytest.param([5, 0], CLEARED, id="reset"),
        pytest.param([5, 3], WARNING, id="reset, and counted since"),
        pytest.param([5, 0, 1], WARNING, id="counted after a reset"),
    ],
)
def test_of_a_counter_only_an_increase_is_a_change(values: list[float], expected: Severity) -> None:
    assert changes([(value, ()) for value in values], "spool_dropped_total")[-1].severity is expected


def stuck(
    values: list[tuple[float, float]], condition: NotFalling, memory: ConditionMemory = NO_MEMORY
) -> list[Severity]:
    rule = Rule(name="r", metrics=("audit_records",), condition=condition)
    found = []
    for at, value in values:
        result, memory = evaluate(rule, reading(at, value, "audit_records"), CLEARED, memory, Histories())
        found.append(result.severity)
    return found


def test_what_does_not_fall_for_long_enough() -> None:
    condition = NotFalling(above=0, warning=900, critical=1800)

    found = stuck([(0, 0), (60, 5), (900, 5), (960, 9), (1859, 9), (1860, 9), (1900, 8), (2800, 8)], condition)

    assert found == [CLEARED, CLEARED, CLEARED, WARNING, WARNING, CRITICAL, CLEARED, WARNING]


def test_a_clock_from_the_future_or_of_another_condition_starts_anew() -> None:
    condition = NotFalling(warning=900)

    assert stuck([(10000, 5)], condition, ConditionMemory(clock=START + 50000, last=5)) == [CLEARED]
    assert stuck([(10000, 5)], condition, ConditionMemory(clock=START)) == [CLEARED]
    assert stuck([(10000, 5)], condition, ConditionMemory(clock=START, last=5)) == [WARNING]
