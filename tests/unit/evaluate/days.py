"""Days made up at random: rules of every kind, and what is read while they are in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from hsm_agent.evaluate.rules import (
    Above,
    Below,
    Changes,
    Falls,
    GivesWay,
    Grows,
    NotFalling,
    RateChanges,
    Reaches,
    Rule,
)
from tests.unit.evaluate.judging import MEMORY, reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.model import Reading

STORAGE = "token_storage_used_percent"
LEVEL = Rule(name="level", metrics=(MEMORY,), condition=Above(warning=75, critical=90))
YIELDING = Rule(
    name="memory",
    metrics=(MEMORY, STORAGE),
    condition=Above(warning=75),
    gives_way=GivesWay(metric=MEMORY, rule="memory", to=STORAGE),
    hysteresis=5,
)
MINUTE = 60.0
RULES = (
    LEVEL,
    Rule(
        name="held",
        metrics=(MEMORY,),
        condition=Above(warning=60, critical=80),
        for_seconds=150,
        hysteresis=3,
        repeat_seconds=400,
    ),
    Rule(name="below", metrics=(MEMORY,), condition=Below(warning=20, critical=5), inhibited_by=("down",)),
    Rule(name="grows", metrics=(MEMORY,), condition=Grows(warning=120, critical=300, at_least=3)),
    Rule(name="rate", metrics=(MEMORY,), condition=RateChanges(against=600, percent=30), for_seconds=60),
    Rule(name="count", metrics=("hsm_commands_total",), condition=RateChanges(against=600, percent=30)),
    Rule(name="line", metrics=(MEMORY,), condition=Reaches(level=95, over=1200, warning=3000, critical=600)),
    Rule(name="changes", metrics=("hsm_commands_total",), condition=Changes(), clear_after_seconds=300),
    Rule(name="falls", metrics=(MEMORY,), condition=Falls(), clear_after_seconds=300),
    Rule(name="stuck", metrics=(MEMORY,), condition=NotFalling(above=50, warning=180, critical=360)),
    Rule(name="down", metrics=("source_age_seconds",), condition=Above(critical=180)),
    YIELDING,
)


@dataclass(frozen=True, slots=True)
class Move:
    """One step of a made-up day: how much time passes, what is read, whether the source is up, who hushes it."""

    wait: float
    memory: float | None
    storage: float | None
    commands: float | None
    age: float
    up: bool
    tick: bool
    hush: bool

    def readings(self, at: float) -> Iterable[Reading]:
        yield reading(at, self.age, "source_age_seconds", resource="")
        # What is not read for ten minutes after a restart becomes unknown: that is meant, so no tick is that long.
        if not self.tick or self.wait > MINUTE:
            yield reading(at, self.memory, reason="gone")
            yield reading(at, self.commands, "hsm_commands_total")
        if self.storage is not None:
            yield reading(at, self.storage, STORAGE)


levels = st.none() | st.sampled_from((3.0, 18.0, 50.0, 71.0, 74.0, 76.0, 81.0, 86.0, 92.0, 99.0))
moves = st.lists(
    st.builds(
        Move,
        wait=st.sampled_from((15.0, 60.0, 60.0, 130.0, 400.0)),
        memory=levels,
        storage=st.sampled_from((None, None, None, 40.0)),
        commands=st.none() | st.integers(0, 9).map(lambda n: n * 1000.0),
        age=st.sampled_from((0.0, 0.0, 0.0, 300.0)),
        up=st.sampled_from((True, True, True, False)),
        tick=st.sampled_from((False, False, True)),
        hush=st.sampled_from((False,) * 9 + (True,)),
    ),
    min_size=5,
    max_size=40,
)
