"""Growth that is steady and unusual: leaks in time, busy mornings not at all, and the figures of docs/alarms.md."""

from __future__ import annotations

from array import array
from math import exp
from typing import TYPE_CHECKING

import pytest

from hsm_agent.evaluate.rules import DAY, HOUR, Grows, Rule, Sooner
from hsm_agent.evaluate.trends import Points, SteadyGrowth, Windows, is_beyond, is_unusual, steady
from hsm_agent.model import Severity
from tests.fakes.examples import examples
from tests.unit.evaluate import loads
from tests.unit.evaluate.judging import Judge, told

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE = 60.0


def windows(*lows: float | None) -> Windows:
    return Windows(number=100, low=1e9, lows=lows)


LINE = tuple(float(10 + n) for n in range(12))


@pytest.mark.parametrize(
    ("lows", "rise"),
    [
        pytest.param(LINE, 11.0, id="a line"),
        pytest.param((99.0, *LINE), 11.0, id="only the last twelve count"),
        pytest.param((*LINE[:5], None, None, None, *LINE[8:]), 11.0, id="three windows without a value"),
        pytest.param((*LINE[:3], None, None, None, *LINE[6:]), None, id="a quarter without a value"),
        pytest.param(tuple(low / 4 for low in LINE), None, id="not by enough"),
        pytest.param((10.0,) * 6 + (21.0,) * 6, None, id="a step"),
        pytest.param((*LINE[:6], *(16.0,) * 6), None, id="come to rest"),
        pytest.param((10.0, 16, 9, 18, 11, 15, 12, 19, 13, 20, 15, 22), None, id="unclear"),
        pytest.param(LINE[::-1], None, id="falling"),
    ],
)
def test_growth_is_steady_along_a_line(lows: tuple[float | None, ...], rise: float | None) -> None:
    found = steady(windows(*lows), at_least=5)

    assert (found and pytest.approx(found.rise)) == rise


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(None, id="no history"),
        pytest.param(windows(*LINE[:8]), id="too short"),
        pytest.param(windows(*LINE[:4], None, None, None, None, *LINE[8:]), id="torn"),
        pytest.param(windows(*LINE[:9]), id="many but of too short a time"),
    ],
)
def test_too_few_windows_decide_nothing(found: Windows | None) -> None:
    with pytest.raises(LookupError):
        steady(found, at_least=5)


def history(value: Callable[[float], float], days: float, *, spacing: float = 720.0) -> Points:
    times = [number * spacing for number in range(int(days * DAY / spacing))]
    return Points(array("d", times), array("d", [value(at) for at in times]))


def morning(at: float) -> float:
    """From 100 to 200 between six and eight o'clock, until ten."""
    hour = at % DAY / HOUR
    return 100 + 50 * min(2.0, max(0.0, hour - 6)) if hour < 10 else 100.0


def asked(growth: SteadyGrowth, points: Points | None, at: float) -> bool:
    return is_unusual(growth, points, time=at, span=HOUR, against=7 * DAY)


@pytest.mark.parametrize(
    ("rise", "hour", "unusual"),
    [
        pytest.param(60, 7.5, False, id="a morning like others"),
        pytest.param(60, 8.9, False, id="an hour late"),
        pytest.param(120, 7.5, True, id="twice as steep"),
        pytest.param(10, 15, True, id="in the quiet afternoon"),
    ],
)
def test_what_is_usual_is_learnt_from_the_days_before(rise: float, hour: float, unusual: bool) -> None:
    assert asked(SteadyGrowth(start=100, rise=rise), history(morning, 3), 3 * DAY + hour * HOUR) is unusual


def test_days_that_are_too_long_ago_do_not_count() -> None:
    points = history(lambda at: morning(at) if at < DAY else 100.0, 9)

    assert asked(SteadyGrowth(start=100, rise=60), points, 9 * DAY + 7.5 * HOUR)


@pytest.mark.parametrize(
    ("growth", "points", "unusual"),
    [
        pytest.param(SteadyGrowth(start=100, rise=16), None, True, id="slow, no history at all"),
        pytest.param(
            SteadyGrowth(start=100, rise=16), history(lambda _: 100.0, 0.2), True, id="slow, after a quiet night"
        ),
        pytest.param(SteadyGrowth(start=14, rise=200), None, False, id="as steep as a morning"),
        pytest.param(SteadyGrowth(start=200, rise=16), history(morning, 0.34), False, id="the tail of a morning"),
        pytest.param(SteadyGrowth(start=0, rise=0.1), None, True, id="from nothing"),
    ],
)
def test_on_the_first_day_only_slow_growth_counts(growth: SteadyGrowth, points: Points | None, unusual: bool) -> None:
    assert asked(growth, points, 0.34 * DAY) is unusual


def test_a_level_is_beyond_what_was_seen_by_a_quarter() -> None:
    points = history(morning, 1)

    assert not is_beyond(points, 240, before=2 * DAY)
    assert is_beyond(points, 250, before=2 * DAY)
    assert is_beyond(points, 130, before=5 * HOUR)
    assert is_beyond(None, 1, before=0)


RULE = Rule(
    name="leak",
    metrics=("token_sessions",),
    condition=Grows(critical=2 * HOUR, at_least=5, sooner=Sooner(warning=48 * MINUTE, critical=144 * MINUTE)),
)
EVERY = 4 * MINUTE


def read(judge: Judge, number: int, value: float) -> list[tuple[str, str]]:
    return told(judge.read(number * EVERY, value, "token_sessions"))


def grown() -> Judge:
    """A judge who was just told of a leak that began at 100."""
    judge = Judge(RULE)
    events = [event for number in range(13) for event in read(judge, number, 100 + number)]
    assert events == [("RAISED", "warning")]
    return judge


def test_a_growth_told_sooner_lasts_until_it_is_back_where_it_began() -> None:
    judge = grown()

    assert [event for number in range(13, 26) for event in read(judge, number, 112)] == []
    judge.restart()
    assert read(judge, 26, 101) == []
    assert read(judge, 27, 100) == [("CLEARED", "cleared")]


def test_a_growth_told_sooner_ends_when_the_longest_windows_have_come_to_rest() -> None:
    judge = grown()
    found = [(number * EVERY, event) for number in range(13, 400) for event in read(judge, number, 112)]

    assert [event for _, event in found] == [("CLEARED", "cleared")]
    assert found[0][0] == 14 * HOUR  # six windows of two hours, the first of which begins after the growth


def test_a_growth_that_goes_on_becomes_critical_and_says_from_where_to_where() -> None:
    judge = Judge(RULE)
    found = [e for n in range(60) for e in judge.read(n * EVERY, 100 + n, "token_sessions")]

    assert told(found) == [("RAISED", "warning"), ("CHANGED", "critical")]
    assert found[1].threshold == "5 in 6 x 2h or 2h 24m if unusual"


def test_the_long_windows_still_speak_for_a_leak_that_the_line_is_too_unclear_for() -> None:
    judge = Judge(RULE)
    found = []
    for number in range(240):
        noise = 40 if number % 2 else 0
        found += read(judge, number, 100 + number // 30 * 12 + noise)

    assert found == [("RAISED", "critical")]


def test_windows_without_a_value_leave_what_was_told_sooner_as_it_was() -> None:
    judge = grown()

    assert read(judge, 100, 150) == []
    assert read(judge, 101, 90) == [("CLEARED", "cleared")]


def days_with(load: loads.Load, days: int) -> dict[int, set[Severity]]:
    found: dict[int, set[Severity]] = {}
    for at, severity in loads.judged(load, days * DAY, every=2 * MINUTE):
        if severity in (Severity.WARNING, Severity.CRITICAL):
            found.setdefault(int(at // DAY), set()).add(severity)
    return found


def test_busy_loads_are_taken_for_a_leak_on_few_days_once_there_are_some_to_compare_with() -> None:
    days = [days_with(load(1), examples(6, 3)) for load in loads.LOADS]
    second = [found[1] for found in days if 1 in found]
    later = [severities for found in days for day, severities in found.items() if day > 1]

    # Over four weeks it is one day in fifty, and no grave one: the table in docs/alarms.md.
    assert len(second) <= 3
    assert len(later) <= 1
    assert not any(Severity.CRITICAL in severities for severities in later)


@pytest.mark.parametrize("every", [600.0, 900.0])
def test_mornings_are_learnt_from_sources_that_are_read_seldom_too(every: float) -> None:
    made = (loads.pools(1), loads.diurnal(1), loads.long_morning(1), _sigmoid)
    days = [
        at // DAY
        for load in made
        for at, level in loads.judged(load, 7 * DAY, every=every)
        if level is Severity.CRITICAL
    ]

    assert [day for day in days if day > 1] == []


def _sigmoid(at: float) -> int:
    """Applications that come one after the other from seven to ten."""
    hour = at % DAY / HOUR
    return round(20 + 180 / (1 + exp(-3 * (hour - 8.5))) / (1 + exp(2 * (hour - 18))))


@pytest.mark.parametrize("load", [loads.pools, loads.working_week, loads.steps], ids=lambda load: load.__name__)
def test_mornings_of_pools_are_no_leak_from_the_first_day_on(load: Callable[[int], loads.Load]) -> None:
    assert days_with(load(2), 2) == {}


@pytest.mark.parametrize(
    ("load", "an_hour", "hour", "warning", "critical"),
    [
        pytest.param(loads.pools, 32, 2, 60, 180, id="slow, at night"),
        pytest.param(loads.pools, 128, 12, 60, 180, id="fast, in the afternoon"),
        pytest.param(loads.diurnal, 256, 7, 60, 180, id="fast, on top of a morning"),
        pytest.param(loads.batch, 256, 15, 60, 180, id="fast, among batches"),
        pytest.param(loads.steady_load, 128, 9, 60, 180, id="as fast as the load wanders in an hour"),
    ],
)
def test_a_leak_is_told_within_the_hour_and_grave_within_three(
    load: Callable[[int], loads.Load], an_hour: float, hour: float, warning: float, critical: float
) -> None:
    since = 3 * DAY + hour * HOUR
    first: dict[Severity, float] = {}
    for at, severity in loads.judged(loads.leaking(load(1), an_hour, since), since + 3.2 * HOUR, every=2 * MINUTE):
        if at >= since:
            first.setdefault(severity, (at - since) / MINUTE)

    assert min(first.get(Severity.WARNING, 999.0), first.get(Severity.CRITICAL, 999.0)) <= warning
    assert first.get(Severity.CRITICAL, 999.0) <= critical
