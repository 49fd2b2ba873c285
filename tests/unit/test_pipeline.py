"""The way of a reading: nothing is seen or sent before it is on disk, and nothing is half done."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.evaluate.hsms import Hsms
from hsm_agent.evaluate.rules import Above, Rule, Ruleset
from hsm_agent.evaluate.state import AlarmState, Silence
from hsm_agent.model import Event, EventKind, Guarantee, Reading, SourceState, SourceStatus
from hsm_agent.pipeline import Pipeline
from hsm_agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

RULES = Ruleset([Rule(name="full", metrics=("token_objects",), condition=Above(warning=10))], {})
STATUS = SourceStatus(name="a", kind="pkcs11", every_seconds=60.0, state=SourceState.UP)
WALL = 1_700_000_000.0


class Disk:
    """A spool that writes down what is committed, and can be made to wait."""

    def __init__(self) -> None:
        self.commits: list[tuple[tuple[Event, ...], dict[str, str | None]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.passes_aside = False

    async def commit(
        self, events: Sequence[Event], states: Mapping[str, str | None], *, only_sink: str | None = None
    ) -> None:
        if not self.passes_aside:
            await self.gate.wait()
        self.commits.append((tuple(events), dict(states)))


class House:
    """A pipeline with a store and a disk."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.store = Store(agent_name="agent", started=WALL, labels={})
        self.shown: list[tuple[set[str], bool]] = []
        self.now = WALL
        self.ticks = 0.0
        self.pipeline = Pipeline(
            alarm_state=AlarmState(),
            rules=RULES,
            store=self.store,
            spool=self.disk,  # type: ignore[arg-type]  # a fake at the border, with the methods that are called
            refresh=self.refresh,
            wall=lambda: self.now,
            monotonic=lambda: self.ticks,
        )

    def refresh(self, sources: Collection[str], *, alarms: bool) -> None:
        self.shown.append((set(sources), alarms))

    def reading(self, value: float, resource: str = "pay") -> Reading:
        return Reading(source="a", resource=resource, metric="token_objects", value=value, time=self.now)

    @property
    def events(self) -> list[Event]:
        return [event for events, _ in self.disk.commits for event in events]


async def test_an_event_and_the_state_that_caused_it_are_one_commit() -> None:
    house = House()

    await house.pipeline.take(STATUS, [house.reading(12)])

    ((events, states),) = [commit for commit in house.disk.commits if commit[0]]
    assert [event.kind for event in events] == [EventKind.RAISED]
    assert any("full" in key for key in states)
    assert len(house.store.alarms) == 1
    assert house.shown == [({"a"}, True)]


async def test_nothing_is_seen_before_it_is_on_disk() -> None:
    house = House()
    house.disk.gate.clear()
    task = asyncio.ensure_future(house.pipeline.take(STATUS, [house.reading(12)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert not house.store.alarms
    house.disk.gate.set()
    await task
    assert len(house.store.alarms) == 1


async def test_who_is_cancelled_in_the_middle_leaves_disk_and_memory_alike() -> None:
    house = House()
    house.disk.gate.clear()
    task = asyncio.ensure_future(house.pipeline.take(STATUS, [house.reading(12)]))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    house.disk.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(house.events) == 1
    assert len(house.store.alarms) == 1
    await house.pipeline.take(STATUS, [house.reading(13)])
    assert len(house.events) == 1  # no second raise


async def test_readings_without_consequences_are_not_written() -> None:
    house = House()
    await house.pipeline.take(STATUS, [house.reading(1)])
    before = len(house.disk.commits)
    await house.pipeline.take(STATUS, [house.reading(2)])

    assert len(house.disk.commits) == before
    assert house.store.reading("a", "pay", "token_objects") == house.reading(2)


async def test_what_left_the_configuration_is_withdrawn_at_the_first_complete_poll_only() -> None:
    house = House()
    await house.pipeline.take(STATUS, [house.reading(12), house.reading(12, "old")])
    await house.pipeline.take(STATUS, [house.reading(12)], complete=True)

    assert [(event.kind, event.resource) for event in house.events][-1] == (EventKind.CLEARED, "old")
    assert "withdrawn" in house.events[-1].text
    await house.pipeline.take(STATUS, [house.reading(12), house.reading(12, "new")])
    await house.pipeline.take(STATUS, [house.reading(12)], complete=True)
    assert house.events[-1].kind is EventKind.RAISED  # a later gap is the collector's to explain


async def test_a_series_read_under_other_labels_is_another_and_the_old_one_is_withdrawn() -> None:
    house = House()
    old, new = (
        Reading(source="a", resource="pay", metric="token_objects", value=12, labels=(("expected", text),), time=WALL)
        for text in ("false", "true")
    )
    await house.pipeline.take(STATUS, [old])
    await house.pipeline.take(STATUS, [new], complete=True)

    assert [event.kind for event in house.events] == [EventKind.RAISED, EventKind.RAISED, EventKind.CLEARED]
    assert [alarm.series[3] for alarm in house.store.alarms.values()] == [(("expected", "true"),)]


async def test_many_readings_are_judged_in_portions_that_tear_no_token_apart() -> None:
    house = House()
    readings = [house.reading(12, f"token-{number:04}") for number in range(600) for _ in range(2)]
    own = Reading(source="a", resource="", metric="source_up", value=1, time=WALL)
    await house.pipeline.take(STATUS, [*readings, own])

    assert len(house.store.alarms) == 600
    assert len(house.disk.commits) == 4


async def test_acts_pass_the_same_way() -> None:
    house = House()
    silence = Silence(silence_id="s1", until=WALL + 60, reason="work", by_uid=0, created=WALL)
    await house.pipeline.silence(silence)
    await house.pipeline.take(STATUS, [house.reading(12)])
    assert [event.kind for event in house.events] == [EventKind.NOTICE]
    assert [alarm.silenced for alarm in house.store.alarms.values()] == [True]

    await house.pipeline.end_silence("s1", 0)
    assert [event.kind for event in house.events][1:] == [EventKind.NOTICE, EventKind.RAISED]
    (alarm,) = house.store.alarms.values()
    assert await house.pipeline.forget(alarm.alarm_id, 0) == alarm.series
    assert not house.store.alarms
    with pytest.raises(LookupError):
        await house.pipeline.forget("nonsense", 0)
    with pytest.raises(LookupError):
        await house.pipeline.end_silence("nonsense", 0)


async def test_of_a_name_that_is_no_longer_read_nothing_stays() -> None:
    house = House()
    await house.pipeline.take(STATUS, [house.reading(12), house.reading(13, "other")])
    house.shown.clear()
    await house.pipeline.take(STATUS, [house.reading(13, "other")], gone=["pay"])

    cleared = house.events[-1]
    assert (cleared.kind, cleared.resource) == (EventKind.CLEARED, "pay")
    assert cleared.text.endswith(": no longer read under this name")
    assert [alarm.series[1] for alarm in house.store.alarms.values()] == ["other"]
    assert {reading.resource for reading in house.store.readings()} == {"other"}
    assert ({"a"}, False) in house.shown


async def test_many_names_that_are_no_longer_read_go_in_one_act() -> None:
    house = House()
    names = [f"pay {number}" for number in range(50)]
    await house.pipeline.take(STATUS, [house.reading(12, name) for name in (*names, "other")])
    before = len(house.disk.commits)
    await house.pipeline.take(STATUS, [], gone=names)

    assert len(house.disk.commits) == before + 1
    assert [alarm.series[1] for alarm in house.store.alarms.values()] == ["other"]
    assert {series[1] for series in house.pipeline.alarm_state.series_states} == {"other"}


async def test_new_rules_withdraw_the_alarms_of_the_old() -> None:
    house = House()
    await house.pipeline.take(STATUS, [house.reading(12)])
    await house.pipeline.reconfigure(lambda _: True, Ruleset([], {}))

    assert house.events[-1].kind is EventKind.CLEARED
    assert not house.store.alarms
    await house.pipeline.tick()
    await house.pipeline.notify([house.events[-1]])
    assert len(house.events) == 3


def test_guarantees_have_one_wording() -> None:
    assert [guarantee.value for guarantee in Guarantee] == ["best effort", "at least once"]


AGE = "pipeline_age_seconds"
STALLED = Ruleset(
    [
        Rule(name="full", metrics=("token_objects",), condition=Above(warning=10)),
        Rule(name="pipeline-stalled", metrics=(AGE,), condition=Above(critical=60.0)),
    ],
    {},
)


def _age(house: House, seconds: float) -> Reading:
    return Reading(source="agent", resource="", metric=AGE, value=seconds, time=house.now)


async def test_an_agent_that_judges_no_more_is_known_and_told_past_what_holds_it_up() -> None:
    house = House()
    house.pipeline.rules = STALLED
    await house.pipeline.tick()
    house.ticks = 100.0
    assert house.pipeline.age_seconds == 100.0
    house.disk.gate.clear()
    held_up = asyncio.create_task(house.pipeline.take(STATUS, [house.reading(12)]))
    await asyncio.sleep(0)
    house.disk.passes_aside = True

    await house.pipeline.evaluate_aside(_age(house, 100.0))

    (event,) = house.events
    assert (event.rule, event.kind) == ("pipeline-stalled", EventKind.RAISED)
    assert {rule for rule, _ in house.store.alarms} == {"pipeline-stalled"}
    assert not held_up.done()
    house.disk.gate.set()
    await held_up
    assert {rule for rule, _ in house.store.alarms} == {"pipeline-stalled", "full"}
    assert house.pipeline.age_seconds == 0.0
    await house.pipeline.take(replace(STATUS, name="agent"), [_age(house, 0.0)])
    assert [event.kind for event in house.events] == [EventKind.RAISED, EventKind.RAISED, EventKind.CLEARED]


async def test_what_is_judged_aside_leaves_everything_else_to_its_turn() -> None:
    house = House()
    house.pipeline.rules = STALLED
    await house.pipeline.take(STATUS, [house.reading(12)])
    await house.pipeline.silence(
        Silence(silence_id="s1", until=house.now + 10, reason="r", by_uid=0, created=house.now, source="a")
    )
    told = len(house.events)
    house.now += 20.0

    await house.pipeline.evaluate_aside(_age(house, 70.0))

    assert [event.rule for event in house.events[told:]] == ["pipeline-stalled"]
    await house.pipeline.tick()
    assert any("Silence" in event.text for event in house.events[told + 1 :])


async def test_where_the_disk_takes_nothing_at_all_the_alarm_is_at_least_seen() -> None:
    house = House()
    house.pipeline.rules = STALLED
    house.disk.gate.clear()

    task = asyncio.create_task(house.pipeline.evaluate_aside(_age(house, 61.0)))
    await asyncio.sleep(0)

    assert not task.done()
    assert {rule for rule, _ in house.store.alarms} == {"pipeline-stalled"}
    assert house.shown == [({"agent"}, True)]
    task.cancel()


async def test_alarms_under_partitions_names_move_to_their_hsm() -> None:
    house = House()
    house.pipeline.rules = Ruleset(
        [Rule(name="fill", metrics=("audit_used_percent",), condition=Above(warning=50))], {}
    )
    fill = Reading(source="a", resource="p1", metric="audit_used_percent", value=60.0, time=WALL)
    await house.pipeline.take(STATUS, [fill, replace(fill, resource="p2")])
    before = house.events
    house.disk.commits.clear()

    await house.pipeline.take(STATUS, [replace(fill, resource=name, hsm="66331") for name in ("p1", "p2")])

    after = house.events
    assert [(event.kind.name, event.resource) for event in before] == [("RAISED", "p1"), ("RAISED", "p2")]
    assert [(event.kind.name, event.resource) for event in after] == [
        ("RAISED", "66331"),
        ("CLEARED", "p1"),
        ("CLEARED", "p2"),
    ]
    assert after[1].text == "Cleared: fill on a/p1: told of the whole HSM now, as 66331"
    assert [reading.resource for reading in house.store.readings()] == ["66331"]


async def test_a_complete_poll_without_readings_of_the_hsm_leaves_its_alarms() -> None:
    house = House()
    house.pipeline.rules = Ruleset(
        [Rule(name="fill", metrics=("audit_used_percent",), condition=Above(warning=50))], {}
    )
    fill = Reading(source="a", resource="p1", metric="audit_used_percent", value=60.0, time=WALL, hsm="66331")
    present = Reading(source="a", resource="p1", metric="token_present", value=1, time=WALL, hsm="66331")
    await house.pipeline.take(STATUS, [fill])

    await house.pipeline.take(STATUS, [present], complete=True)
    assert [series[1] for _, series in house.store.alarms] == ["66331"]

    await house.pipeline.drop("a", "p1", "no longer read under this name")
    assert house.store.alarms == {}


async def test_a_new_mapping_forgets_what_stood_under_the_old_names() -> None:
    house = House()
    fill = Reading(source="a", resource="p1", metric="audit_used_percent", value=60.0, time=WALL)
    await house.pipeline.take(
        STATUS, [fill, Reading(source="a", resource="p1", metric="token_objects", value=1, time=WALL)]
    )

    await house.pipeline.reconfigure(lambda series: True, RULES, Hsms({"vault": ["a/*"]}))
    assert [reading.metric for reading in house.store.readings()] == ["token_objects"]

    await house.pipeline.take(STATUS, [fill])
    assert [reading.resource for reading in house.store.readings()] == ["p1", "vault"]
