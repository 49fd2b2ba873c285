"""What is a group's is sent by whoever may tell it: looked at before each write, and before each repetition."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hsm_agent.deliver.base import ToldAlarm, Withheld
from hsm_agent.deliver.pump import Pump
from hsm_agent.deliver.snmp import InformSink, TrapSink
from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.spool.shared import Left, SharedChange
from tests.fakes.events import cleared, plain, raised
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.memory_link import MemoryLink
from tests.fakes.memory_peer import MemoryPeer
from tests.fakes.pumping import CountingBackoff, PumpRig, pumping
from tests.fakes.sinks import FakeSink
from tests.fakes.snmp_sinks import Told, events, received

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.deliver.base import MaySend


class Lead:
    """Whether this agent may tell."""

    def __init__(self) -> None:
        self.is_held = False

    def __call__(self) -> bool:
        return self.is_held


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PumpRig]:
    async with pumping(tmp_path) as rig:
        yield rig


@pytest.fixture
def lead(rig: PumpRig) -> Lead:
    rig.spool.may_tell = lead = Lead()
    return lead


async def share(rig: PumpRig, *found: Event) -> None:
    await rig.spool.commit_addressed(rig.spool.address(found, sinks=["noc"]), {}, shared=True)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_standby_tells_its_own_and_holds_the_rest_until_it_leads(rig: PumpRig, lead: Lead) -> None:
    sink = FakeSink()
    rig.pump(sink)
    await share(rig, raised("e1", "a"), raised("e2", "b"))
    await rig.spool.commit([plain("own")], {}, only_sink="noc")
    await sink.until(lambda: sink.accepted == ["own"])
    await settled()
    while_shut = (list(sink.accepted), rig.spool.untold())

    lead.is_held = True
    rig.spool.wake()
    await rig.empty()

    assert while_shut == (["own"], 2)
    assert sink.accepted == ["own", "e1", "e2"]
    assert rig.spool.untold() == 0


async def test_nothing_more_of_a_batch_leaves_once_the_right_has_ended(rig: PumpRig, lead: Lead) -> None:
    class Overtaken(FakeSink):
        async def take(self, event: Event) -> None:
            if len(self.accepted) == 1:
                lead.is_held = False

    left: list[Left] = []
    rig.spool.on_left = left.append
    lead.is_held = True
    sink = Overtaken()
    await share(rig, raised("e1", "a"), raised("e2", "b"), raised("e3", "c"))
    rig.pump(sink)
    await sink.until(lambda: sink.accepted == ["e1", "e2"])
    await settled()
    while_shut = (list(sink.accepted), len(sink.batches))
    sink.take = FakeSink().take  # type: ignore[method-assign] # from now on it behaves
    lead.is_held = True
    rig.spool.wake()
    await rig.empty()

    assert while_shut == (["e1", "e2"], 1)
    assert sink.accepted == ["e1", "e2", "e3"]
    assert [(each.event_id, each.told) for each in left] == [("e1", True), ("e2", True), ("e3", True)]
    assert (rig.statuses["noc"].failed, rig.backoffs["noc"].asked) == (0, [])


async def test_a_standby_is_drained_at_once(rig: PumpRig, lead: Lead) -> None:
    await share(rig, raised("e1", "a"))
    pump = rig.pump(FakeSink())

    assert await pump.drain(5.0) == 1


async def test_what_another_agent_told_replaces_what_a_sink_that_repeats_knows(rig: PumpRig, lead: Lead) -> None:
    class Remembering(FakeSink):
        repeat_seconds = 60.0

        def __init__(self) -> None:
            super().__init__()
            self.recalled: list[dict[str, frozenset[Severity]]] = []
            self.rights: list[bool] = []

        def recall(self, told: Mapping[str, frozenset[Severity]]) -> None:
            self.recalled.append(dict(told))

        async def repeat(self, alarms: Sequence[ToldAlarm], progress: Callable[[], None], may_send: MaySend) -> None:
            self.rights = [may_send(raised("e", "a")), may_send(raised("e", "own"))]
            raise Withheld

    from hsm_agent.deliver.base import ToldAlarm

    sink = Remembering()
    addressed = rig.spool.address([raised("e1", "a", Severity.CRITICAL)], sinks=["noc"])
    pump = Pump(
        sink,
        rig.spool,
        heartbeat_seconds=None,
        make_heartbeat=lambda: plain("beat", EventKind.HEARTBEAT),
        on_status=rig._note,
        clock=rig._clock,
        backoff=CountingBackoff(),
        told_alarms=lambda: [ToldAlarm(event=raised("e", "own"), since=0.0, is_last_word=True)],
    )
    await rig.spool.take_in(SharedChange(events=tuple(addressed), left=(("noc", "e1"),)), {})
    rig.tasks.append(asyncio.ensure_future(pump.run()))
    await settled()
    await rig.spool.take_in(SharedChange(events=tuple(rig.spool.address([cleared("e2", "a")], sinks=["noc"]))), {})
    lead.is_held = True
    rig.spool.wake()
    await rig.empty()

    known = {"a": frozenset({Severity.CRITICAL})}
    assert sink.rights == [False, True]
    assert sink.recalled == [known, known]
    assert sink.accepted == ["e2"]
    assert rig.statuses["noc"].failed == 0


async def test_traps_are_sent_as_long_as_they_may_be() -> None:
    receiver, told = InformReceiver(), Told()
    traps = TrapSink(name="noc", peer=MemoryPeer(links=[MemoryLink(receiver.answer)]))

    with pytest.raises(Withheld) as caught:
        await traps.deliver(events(4), told, lambda _: len(receiver.traps) < 2)

    assert (told.ids, caught.value.sent) == (["event-000", "event-001"], False)
    assert received(receiver) == [b"event-000", b"event-001"]


@pytest.mark.usefixtures("skipped_waits")
async def test_an_inform_is_not_repeated_by_one_who_may_tell_no_more() -> None:
    receiver, told = InformReceiver(ignores=b"event-000"), Told()
    informs = InformSink(name="noc", peer=MemoryPeer(links=[MemoryLink(receiver.answer)]))

    with pytest.raises(Withheld) as caught:
        await informs.deliver(events(4), told, lambda _: len(receiver.informs) < 3)
    receiver.ignores = None
    await informs.deliver([events(4)[0], events(4)[3]], told)

    # What was answered behind the gap counts at once: nobody here asks again for what the gap holds.
    assert caught.value.sent
    assert received(receiver) == [b"event-000", b"event-001", b"event-002", b"event-000", b"event-003"]
    assert told.ids == ["event-001", "event-002", "event-000", "event-003"]
