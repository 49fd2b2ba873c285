"""Commits under the fence: what is in doubt is asked for, and who leads no more is told so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.group.base import NotCommittedError
from hsm_agent.group.fence import Fence
from hsm_agent.group.keys import GroupKeys, HeadRecord, read_record
from hsm_agent.group.lead import Tenure
from hsm_agent.group.operations import Operations
from hsm_agent.net.etcd_messages import Compare, EtcdRefused, EtcdUnavailable, Found, NoProof, Put, Transacted
from tests.fakes.simulated_etcd import SimulatedEtcd
from tests.fakes.virtual_hosts import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEYS = GroupKeys("pair")
EVENT = Operations(puts=[Put(key=KEYS.event("e1"), value=b"x")])


class ScriptedEtcd:
    """Whose transactions do what the next line of a script says."""

    def __init__(self, etcd: SimulatedEtcd, *script: str) -> None:
        self.etcd = etcd
        self.script = list(script)
        self.late: list[Callable[[], object]] = []

    async def range(self, key: bytes, *, limit: int = 1000) -> Found:
        return self.etcd.range(key, b"", limit, 0)

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        def do() -> Transacted:
            return self.etcd.transact("a", compares, puts, deletes)

        match self.script.pop(0) if self.script else "done":
            case "done":
                return do()
            case "answer lost":
                do()
                raise EtcdUnavailable({"e": NoProof("no answer", sent=True)})
            case "late":
                self.late.append(do)
                raise EtcdUnavailable({"e": NoProof("no answer", sent=True)})
            case "unreached":
                raise EtcdUnavailable({"e": NoProof("no connection")})
            case refused:
                raise EtcdRefused(refused)


class Desk:
    """A leader at its desk."""

    def __init__(self, *script: str) -> None:
        self.now = 100.0
        self.etcd = SimulatedEtcd(World())
        self.tenure = Tenure(epoch=self._take("a"), lease_seconds=2.0, beaten_at=100.0, is_open=True)
        self.client = ScriptedEtcd(self.etcd, *script)
        self.fence = Fence(
            self.client,
            KEYS,
            self.tenure,
            head=None,
            head_revision=0,
            clock=self.clock,
            wall=lambda: 1.8e9,
            new_id=iter(f"id{number}" for number in range(99)).__next__,
        )

    def clock(self) -> float:
        self.now += 0.01
        return self.now

    def _take(self, host: str) -> int:
        return self.etcd.transact(host, (), [Put(key=KEYS.lock, value=host.encode())], ()).revision

    def lose(self) -> None:
        self._take("b")

    @property
    def head(self) -> HeadRecord:
        return read_record(HeadRecord, self.etcd.entries[KEYS.head])


async def test_each_commit_counts_and_writes_the_head() -> None:
    desk = Desk()
    first = await desk.fence.write(EVENT)
    second = await desk.fence.write(Operations(deletes=[KEYS.event("e1")]), whole=False)

    assert second == first + 1 == desk.fence.revision
    assert desk.head == HeadRecord(id="id1", number=2, time=1.8e9, whole=False)
    assert KEYS.event("e1") not in desk.etcd.entries


async def test_what_had_no_answer_and_was_done_is_not_done_again() -> None:
    desk = Desk("answer lost")
    await desk.fence.write(EVENT)
    await desk.fence.write(Operations())

    assert [each.number for each in desk_heads(desk)] == [1, 2]


def desk_heads(desk: Desk) -> list[HeadRecord]:
    return [
        read_record(HeadRecord, change.entry)
        for revision in desk.etcd.history
        for change in revision.changes
        if change.entry.key == KEYS.head
    ]


async def test_a_late_twin_does_nothing() -> None:
    desk = Desk("late", "unreached", "done")
    await desk.fence.write(EVENT)
    await desk.fence.write(Operations(deletes=[KEYS.event("e1")]))
    for late in desk.client.late:
        late()

    assert KEYS.event("e1") not in desk.etcd.entries
    assert [each.number for each in desk_heads(desk)] == [1, 2]


async def test_who_leads_no_more_commits_nothing() -> None:
    desk = Desk()
    desk.lose()

    with pytest.raises(NotCommittedError, match="not committed: another one leads"):
        await desk.fence.write(EVENT)

    assert desk.tenure.was_fenced
    assert KEYS.event("e1") not in desk.etcd.entries


async def test_who_lost_the_lead_while_in_doubt_commits_nothing() -> None:
    desk = Desk("late")
    desk.lose()

    with pytest.raises(NotCommittedError, match="another one leads"):
        await desk.fence.write(EVENT)


async def test_what_was_done_before_the_lead_was_lost_is_committed() -> None:
    desk = Desk("answer lost")
    write = desk.fence.write(EVENT)
    desk.client.late.append(desk.lose)

    assert await write
    assert desk.head.id == "id0"


async def test_without_an_answer_until_the_lease_ends_the_lead_is_given_up() -> None:
    desk = Desk(*(["unreached"] * 500))
    desk.tenure.lease_seconds = 0.2

    with pytest.raises(NotCommittedError, match="etcd has not taken it: no connection"):
        await desk.fence.write(EVENT)

    assert not desk.tenure.was_fenced
    with pytest.raises(NotCommittedError):
        await desk.fence.write(EVENT)


async def test_what_etcd_refuses_ends_the_lead() -> None:
    desk = Desk("permission denied")

    with pytest.raises(NotCommittedError, match="permission denied"):
        await desk.fence.write(EVENT)

    assert desk.tenure.ended == "permission denied"
