"""Two members with spools on disk, any day long: what receivers hear of both is what one agent would have told."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_agent.evaluate.rules import Ruleset
from hsm_agent.evaluate.state import AlarmState
from hsm_agent.model import EventKind, Severity, SourceState, SourceStatus
from hsm_agent.replica import CORRECTS_AFTER_SECONDS, GroupPipeline
from hsm_agent.spool import Spool
from hsm_agent.spool.shared import SharedChange
from hsm_agent.store import Store
from tests.fakes.examples import examples
from tests.unit.evaluate import days
from tests.unit.evaluate.judging import MEMORY, START, reading
from tests.unit.membering import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.model import Event, Reading
    from hsm_agent.spool.shared import Left
    from tests.unit.evaluate.days import Move

SINKS = {"noc": None, "siem": Severity.CRITICAL}
RULES = Ruleset([rule for rule in days.RULES if rule.name in {"level", "held", "below", "falls", "memory", "down"}], {})


@dataclass
class Receivers:
    """What each sink's receiver heard, of whichever member."""

    open: dict[str, dict[str, Event]] = field(default_factory=lambda: {name: {} for name in SINKS})
    ids: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in SINKS})

    def hear(self, sink: str, event: Event) -> None:
        self.ids[sink].append(event.event_id)
        if event.kind is EventKind.CLEARED:
            self.open[sink].pop(event.alarm_id, None)
        elif event.alarm_id:
            self.open[sink][event.alarm_id] = event


class PairMember:
    """An agent whose journal is in the same process as the other's."""

    def __init__(self, name: str, spool: Spool, kept: Mapping[str, str], state: AlarmState) -> None:
        self.journal = Record()
        self.journal.leader = ""
        self.spool = spool
        self.now = START
        self.ticks = 0.0
        spool.may_tell = lambda: self.journal.judges
        spool.on_left = self._left
        self.store = Store(agent_name=name, started=START, labels={})
        self.name = name
        self.pipeline = GroupPipeline(
            journal=self.journal,
            kept=kept,
            alarm_state=state,
            rules=RULES,
            store=self.store,
            spool=spool,
            wall=lambda: self.now,
            monotonic=lambda: self.ticks,
        )

    def _left(self, left: Left) -> None:
        if self.journal.judges and self.journal.shares:
            gone = ((left.sink, left.event_id),) if left.event_id else ()
            ended = ((left.sink, left.ended_alarm_id),) if left.ended_alarm_id else ()
            self.journal.changes.append(SharedChange(left=gone, ended=ended))

    async def poll(self, *readings: Reading, up: bool = True) -> None:
        state = SourceState.UP if up else SourceState.DOWN
        await self.pipeline.take(SourceStatus(name="luna", kind="pkcs11", every_seconds=60.0, state=state), readings)
        await self.pipeline.tick_shared()

    async def tell(self, receivers: Receivers) -> None:
        for sink in SINKS:
            while found := await self.spool.pending(sink, 3):
                for each in found:
                    receivers.hear(sink, each.event)
                await self.spool.accepted(sink, [each.seq for each in found])


async def member(name: str, folder: Path, stack: AsyncExitStack) -> PairMember:
    (folder / name).mkdir(mode=0o700)
    spool = await Spool.open(folder / name, entries=1000, size_bytes=10**7)
    stack.push_async_callback(spool.close)
    await spool.register(SINKS, [])
    return PairMember(name, spool, {"group/progress": "{}"}, AlarmState())


async def follow(leader: PairMember, other: PairMember) -> None:
    for change in leader.journal.changes:
        await other.pipeline.take_in(change, {})
    leader.journal.changes.clear()


class Pair:
    """Two members: one leads, or both are alone."""

    def __init__(self, members: list[PairMember]) -> None:
        self.members = members
        self.leading = 0
        self.receivers = Receivers()
        self.is_cut = self.was_cut = False

    async def lead(self, leading: int) -> None:
        """The other one takes over, once it is caught up."""
        if self.leading == leading or self.is_cut:
            return
        self.members[self.leading].journal.judges = False
        await follow(self.members[self.leading], self.members[leading])
        self.leading = leading
        self.members[leading].journal.judges = True
        await self.members[leading].pipeline.judge_present()

    async def cut(self) -> None:
        """etcd is gone: both judge and tell for themselves."""
        self.is_cut = self.was_cut = True
        for each in self.members:
            each.journal.judges, each.journal.shares = True, False
            each.journal.labels = (("coordination", "alone"),)
            await each.pipeline.judge_present()

    async def join(self) -> None:
        """etcd is back, empty: who led last puts there what it holds, the other one gives way."""
        self.is_cut = False
        leader, other = self.members[self.leading], self.members[1 - self.leading]
        other.journal.judges = False
        for each in self.members:
            each.journal.shares, each.journal.labels = True, ()
            each.journal.changes.clear()
        await leader.pipeline.share()
        await other.pipeline.replace(await leader.pipeline.content(), {}, merged_by=leader.name)
        leader.journal.changes.clear()
        await leader.pipeline.judge_present()

    async def pass_on(self) -> None:
        """Everything that may be told is told, and each follows."""
        for each in self.members:
            if self.is_cut:
                each.journal.changes.clear()
            await each.tell(self.receivers)
        if not self.is_cut:
            await follow(self.members[self.leading], self.members[1 - self.leading])


def open_alarms(member: PairMember, sink: str) -> set[str]:
    """What the receiver of a sink has to have as raised: what was told, if it is severe enough."""
    notified = (alarm for alarm in member.store.alarms.values() if not alarm.silenced)
    return {alarm.alarm_id for alarm in notified if sink == "noc" or alarm.alarm_id in member.spool.notified(sink)}


@settings(max_examples=examples(30, 4), deadline=None)
@given(days.moves, st.data())
async def test_receivers_hear_each_event_once_and_end_with_what_is_raised(
    found: list[Move], data: st.DataObject
) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pair = Pair([await member(name, folder, stack) for name in ("one", "two")])
        pair.members[1].journal.judges = False
        at = 0.0
        for move in found:
            at += move.wait
            for each in pair.members:
                each.now = START + at
            match data.draw(st.sampled_from(("", "", "", "lead", "cut", "join"))):
                case "lead":
                    await pair.lead(1 - pair.leading)
                case "cut" if not pair.is_cut:
                    await pair.cut()
                case "join" if pair.is_cut:
                    await pair.join()
                case _:
                    pass
            polling = data.draw(st.sampled_from(((0, 1), (0, 1), (0,), (1,))))
            for number in polling:
                await pair.members[number].poll(*move.readings(at), up=move.up)
            if data.draw(st.booleans()):
                await pair.pass_on()
        if pair.is_cut:
            await pair.join()
        for _ in range(2):
            at += CORRECTS_AFTER_SECONDS
            for number in (pair.leading, 1 - pair.leading):
                each = pair.members[number]
                each.now, each.ticks = START + at, at
                await each.poll(reading(at, 50.0, MEMORY), reading(at, 0.0, "source_age_seconds", resource=""))
                await pair.pass_on()
            await pair.pass_on()

        leader, other = pair.members[pair.leading], pair.members[1 - pair.leading]
        for sink in SINKS:
            # While both are alone, both tell what waits, under one event id.
            assert pair.was_cut or len(pair.receivers.ids[sink]) == len(set(pair.receivers.ids[sink]))
            assert pair.receivers.open[sink].keys() == open_alarms(leader, sink)
        assert leader.store.alarms == other.store.alarms
        assert await other.spool.shared_content() == await leader.spool.shared_content()
        assert other.spool.untold() == 0
