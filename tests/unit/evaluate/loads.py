"""Made-up loads of a token's sessions, and leaks on top of them, to learn what growth is taken for a leak.

`poisson` counts wander as calls that come and go do: their variance is their mean, and they remember ten minutes.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from hsm_agent.evaluate.conditions import evaluate
from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.rules import DAY, HOUR, Grows, Ruleset, floor_spacing, steady_length
from hsm_agent.evaluate.state import NO_MEMORY
from hsm_agent.evaluate.trends import Points, Windows, newest_low, observe
from hsm_agent.model import Severity
from tests.unit.evaluate.judging import START, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Load = Callable[[float], int]
    """Sessions at so many seconds since midnight of the first day; asked in the order of time."""

REMEMBERED = 0.9
RULE = next(rule for rule in DEFAULT_RULES if rule.name == "session-leak")


def _ramp(hour: float, start: float, end: float) -> float:
    return min(1.0, max(0.0, (hour - start) / (end - start)))


def _days(generator: random.Random, late: float, size: float) -> Callable[[float], tuple[float, float, float]]:
    """Hour of the day, by how much the day is late, and how busy it is; different every day."""
    drawn: dict[int, tuple[float, float]] = {}

    def day(at: float) -> tuple[float, float, float]:
        number = int(at // DAY)
        if number not in drawn:
            drawn[number] = (generator.gauss(0, late), generator.uniform(1 - size, 1 + size))
        return (at % DAY / HOUR, *drawn[number])

    return day


def _poisson(generator: random.Random) -> Callable[[float], int]:
    state = 0.0

    def count(mean: float) -> int:
        nonlocal state
        state = REMEMBERED * state + math.sqrt(1 - REMEMBERED**2) * generator.gauss(0, 1)
        return max(0, round(mean + math.sqrt(mean) * state))

    return count


def pools(seed: int) -> Load:
    """Application servers open their pools between half past seven and nine; nights are quiet."""
    generator = random.Random(seed)
    day = _days(generator, 0.2, 0.1)

    def load(at: float) -> int:
        hour, late, size = day(at)
        share = _ramp(hour, 7.5 + late, 9 + late) - _ramp(hour, 17 + late, 20 + late)
        return round(14 + generator.uniform(-2, 2) + share * (386 * size + generator.uniform(-20, 20)))

    return load


def working_week(seed: int) -> Load:
    """The same, and nothing on two days of seven."""
    busy = pools(seed)
    return lambda at: busy(at) if int(at // DAY) % 7 < 5 else 14 + int(at) % 3


def diurnal(seed: int) -> Load:
    """Callers come and go: a hump from six to twenty, Poisson on top."""
    generator = random.Random(seed)
    day, count = _days(generator, 0.3, 0.15), _poisson(generator)

    def load(at: float) -> int:
        hour, late, size = day(at)
        return count(50 + 200 * size * max(0.0, math.sin(math.pi * _ramp(hour, 6 + late, 20 + late))))

    return load


def long_morning(seed: int) -> Load:
    """It rises in a straight line from six to ten, Poisson on top."""
    generator = random.Random(seed)
    day, count = _days(generator, 0.3, 0.1), _poisson(generator)

    def load(at: float) -> int:
        hour, late, size = day(at)
        return count(100 + 200 * size * (_ramp(hour, 6 + late, 10 + late) - _ramp(hour, 16 + late, 20 + late)))

    return load


def steps(seed: int) -> Load:
    """Five servers are started one after the other at eight and stopped at six."""
    generator = random.Random(seed)
    day = _days(generator, 0.25, 0.0)

    def load(at: float) -> int:
        hour, late, _ = day(at)
        return 40 + 50 * sum(8 + late + n * 0.15 < hour < 18 + late for n in range(5)) + generator.randint(-4, 4)

    return load


def batch(seed: int) -> Load:
    """A batch at two at night for an hour and a half, a small one at every full hour, Poisson on top."""
    generator = random.Random(seed)
    day, count = _days(generator, 0.1, 0.0), _poisson(generator)

    def load(at: float) -> int:
        hour, late, _ = day(at)
        return count(60 + 100 * (2 + late < hour < 3.5 + late) + 30 * (hour % 1 < 0.2))

    return load


def steady_load(seed: int) -> Load:
    """The same mean day and night, Poisson."""
    count = _poisson(random.Random(seed))
    return lambda at: count(120)


LOADS = (pools, working_week, diurnal, long_morning, steps, batch, steady_load)


class _SeriesHistories:
    def __init__(self) -> None:
        self.kept: dict[float, Windows] = {}
        self.floors = Points()

    def windows(self, length: float) -> Windows | None:
        return self.kept.get(length)

    def points(self, spacing: float) -> Points | None:
        return self.floors if spacing else None


def judged(load: Load, until: float, *, every: float = 60.0) -> Iterator[tuple[float, Severity]]:
    """Seconds, and what session-leak says of each reading, were nothing ever raised."""
    condition = RULE.condition
    assert isinstance(condition, Grows)
    assert condition.sooner is not None
    plan = Ruleset([RULE]).plan(("luna", "keys", "token_sessions", ()), ())
    ((spacing, (keep, length)),) = plan.floors.items()
    assert (spacing, length) == (floor_spacing(condition.sooner), steady_length(condition.sooner.warning or 0.0))
    histories = _SeriesHistories()
    for number in range(int(until / every)):
        at = number * every
        found = reading(at, load(at), "token_sessions")
        assert found.value is not None
        for size, count in plan.windows.items():
            histories.kept[size] = observe(
                histories.kept.get(size), found.value, time=found.time, length=size, keep=count
            )
        floor = newest_low(histories.kept[length], length)
        if floor is not None:
            histories.floors = histories.floors.add(
                floor[0], time=floor[1], spacing=spacing, keep=keep, phase=plan.phase
            )
        evaluation, _ = evaluate(RULE, found, Severity.CLEARED, NO_MEMORY, histories)
        yield at, evaluation.severity


def leaking(load: Load, an_hour: float, since: float) -> Load:
    """The load, and a leak of so many sessions an hour on top of it."""
    return lambda at: load(at) + int(max(0.0, at - since) / HOUR * an_hour)


__all__ = ["LOADS", "START", "judged", "leaking"]
