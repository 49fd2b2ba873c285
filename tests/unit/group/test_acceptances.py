"""What sinks accepted is recorded whoever leads, once and for as long as it takes; what was given up, by the leader."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hsm_agent.group.acceptances import Acceptances, Waiting
from hsm_agent.group.keys import GroupKeys
from hsm_agent.group.lead import Tenure
from hsm_agent.net.etcd_messages import Compare, EtcdRefused, EtcdUnavailable, NoProof, Put, Transacted
from hsm_agent.spool.shared import Left
from tests.fakes.addressed import addressed
from tests.fakes.simulated_etcd import SimulatedEtcd
from tests.fakes.virtual_hosts import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

KEYS = GroupKeys("pair")


class Desk:
    """An etcd in which events wait, and who records."""

    def __init__(self, *events: str, lost: int = 0) -> None:
        self.etcd = SimulatedEtcd(World())
        self.lost = lost
        """So many answers."""
        self.refuses = False
        self.transactions = 0
        self.epoch = self._put(KEYS.lock)
        self.revisions = {name: self._put(KEYS.event(name)) for name in events}
        for name in events:
            for sink in ("nms", "siem"):
                self._put(KEYS.wait(sink, name))
                self._put(KEYS.sequence(sink, f"alarm-{name}"))
        self.acceptances = Acceptances(self, KEYS)
        self.tenure = Tenure(epoch=self.epoch, lease_seconds=2.0, beaten_at=0.0, is_open=True)

    def lead(self) -> None:
        waiting = {name: Waiting(revision=revision, sinks={"nms", "siem"}) for name, revision in self.revisions.items()}
        self.acceptances.lead(self.tenure, waiting)

    def _put(self, key: bytes) -> int:
        return self.etcd.transact("x", (), [Put(key=key, value=b"")], ()).revision

    def lose(self) -> None:
        self._put(KEYS.lock)

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        await asyncio.sleep(0)
        self.transactions += 1
        if self.refuses:
            raise EtcdRefused("permission denied")
        done = self.etcd.transact("a", compares, puts, deletes)
        if self.lost:
            self.lost -= 1
            raise EtcdUnavailable({"e": NoProof("no answer", sent=True)})
        return done

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything noted in it is recorded at its end."""
        task = asyncio.create_task(self.acceptances.run())
        try:
            yield
            assert await self.acceptances.flushed(5.0)
        finally:
            task.cancel()

    @property
    def left(self) -> set[str]:
        prefix = KEYS.prefix
        return {key.removeprefix(prefix).decode() for key in self.etcd.entries} - {"lock"}


def told(sink: str, event_id: str, *, ended: bool = False) -> Left:
    return Left(sink=sink, event_id=event_id, told=True, ended_alarm_id=f"alarm-{event_id}" if ended else "")


async def test_the_event_goes_with_the_last_who_waits() -> None:
    desk = Desk("e1")
    desk.lead()
    async with desk.running():
        desk.acceptances.note(told("siem", "e1"))
    assert desk.left == {"event/e1", "wait/nms/e1", "sequence/nms/alarm-e1", "sequence/siem/alarm-e1"}

    async with desk.running():
        desk.acceptances.note(told("nms", "e1", ended=True))
    assert desk.left == {"sequence/siem/alarm-e1"}
    assert desk.acceptances.unrecorded == 0


async def test_many_are_recorded_together() -> None:
    desk = Desk(*(f"e{number}" for number in range(30)))
    desk.lead()
    async with desk.running():
        for number in range(30):
            for sink in ("nms", "siem"):
                desk.acceptances.note(told(sink, f"e{number}", ended=True))

    assert desk.left == set()
    assert desk.transactions == 2


async def test_an_answer_that_was_lost_keeps_no_event_back() -> None:
    desk = Desk("e1", "e2", lost=1)
    desk.lead()
    async with desk.running():
        desk.acceptances.note(told("nms", "e1", ended=True))
        desk.acceptances.note(told("siem", "e1", ended=True))
        await asyncio.sleep(0.01)
        desk.acceptances.note(told("nms", "e2", ended=True))
        desk.acceptances.note(told("siem", "e2", ended=True))

    assert desk.left == set()


async def test_an_event_that_was_written_anew_stays_for_who_waits_now() -> None:
    desk = Desk("e1")
    desk.lead()
    desk._put(KEYS.event("e1"))
    desk._put(KEYS.wait("new", "e1"))
    async with desk.running():
        desk.acceptances.note(told("nms", "e1", ended=True))
        desk.acceptances.note(told("siem", "e1", ended=True))

    assert desk.left == {"event/e1", "wait/new/e1"}


async def test_what_was_accepted_is_recorded_by_who_leads_no_more() -> None:
    desk = Desk("e1")
    desk.lead()
    desk.lose()
    desk.tenure.end("another one leads")
    desk.acceptances.tenure = None
    async with desk.running():
        desk.acceptances.note(told("siem", "e1"))
    assert "wait/siem/e1" not in desk.left


async def test_what_was_given_up_is_deleted_by_the_leader_alone() -> None:
    desk = Desk("e1", "e2")
    desk.acceptances.note(Left(sink="siem", event_id="e1", told=False))
    assert desk.acceptances.unrecorded == 0
    desk.lead()
    async with desk.running():
        desk.acceptances.note(Left(sink="siem", event_id="e1", told=False))
    assert "wait/siem/e1" not in desk.left
    desk.lose()
    async with desk.running():
        desk.acceptances.note(Left(sink="siem", event_id="e2", told=False))
    assert "wait/siem/e2" in desk.left


async def test_what_is_committed_is_known_with_its_revision() -> None:
    desk = Desk()
    desk.lead()
    one = addressed("e9", "siem", begins=False)
    keys = [KEYS.event("e9"), KEYS.wait("siem", "e9")]
    revision = desk.etcd.transact("a", (), [Put(key=key, value=b"") for key in keys], ()).revision
    desk.acceptances.committed([one, addressed("unwanted")], dict.fromkeys(keys, revision))
    async with desk.running():
        desk.acceptances.note(told("siem", "e9"))

    assert desk.left == set()


async def test_that_an_alarm_ended_by_an_event_of_its_own_is_recorded_too() -> None:
    desk = Desk("e1")
    desk.lead()
    async with desk.running():
        desk.acceptances.note(Left(sink="siem", event_id="", told=True, ended_alarm_id="alarm-e1"))

    assert "sequence/siem/alarm-e1" not in desk.left


async def test_nothing_more_is_to_be_told_while_much_of_what_was_told_is_unrecorded() -> None:
    names = [f"e{number}" for number in range(80)]
    desk = Desk(*names)
    desk.lead()
    rooms: list[int] = []
    desk.acceptances.on_room = lambda: rooms.append(desk.acceptances.unrecorded)
    for name in names[1:]:
        desk.acceptances.note(told("siem", name))
    seen = [desk.acceptances.is_behind]

    desk.acceptances.note(told("siem", names[0]))
    seen.append(desk.acceptances.is_behind)
    async with desk.running():
        pass
    assert ([*seen, desk.acceptances.is_behind], rooms) == ([False, True, False], [40])


async def test_an_etcd_that_refuses_to_record_holds_nothing_up() -> None:
    desk = Desk(*(f"e{number}" for number in range(80)))
    desk.refuses = True
    woken = asyncio.Event()
    desk.acceptances.on_room = woken.set
    for name in desk.revisions:
        desk.acceptances.note(told("siem", name))
    task = asyncio.create_task(desk.acceptances.run())
    try:
        async with asyncio.timeout(5):
            await woken.wait()
        assert desk.acceptances.unrecorded == 80
        assert not desk.acceptances.is_behind
    finally:
        task.cancel()
