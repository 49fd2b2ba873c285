"""Records in etcd what sinks have accepted, so that nobody tells it again; for as long as it takes.

What was accepted is true whoever leads, and is only deleted: that needs no fence, late or twice it does no harm, and an
agent that leads no more does it as well. What was given up is for the leader to say: it is deleted under the fence.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hsm_agent.group.changes import deletes_of
from hsm_agent.net.etcd_messages import Compare, EtcdRefused, EtcdTrouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hsm_agent.group.keys import GroupKeys
    from hsm_agent.group.lead import Tenure
    from hsm_agent.net.etcd_messages import Put, Transacted
    from hsm_agent.spool.shared import Addressed, Left

log = logging.getLogger(__name__)

_MOST_TOGETHER = 40
"""Each is up to three operations, of which a transaction takes 128."""
_MOST_UNRECORDED = 80
"""With so many nothing more is told: each would come twice if this agent had to leave the lead now."""
_RETRY_SECONDS = 0.25
_REFUSED_SECONDS = 5.0


class AcceptingEtcd(Protocol):
    """Where it is recorded: a client of etcd. Raises EtcdTrouble."""

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        """Do it if the compares hold."""


@dataclass(slots=True, kw_only=True)
class Waiting:
    """An event that stands in etcd: the revision at which it was written, and the sinks that wait for it."""

    revision: int
    sinks: set[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gone:
    left: Left
    last_of_revision: int
    """Nobody else waits for the event, which was written at that revision; 0 where others do, or it is not known."""
    epoch: int
    """In which it left; 0 while this agent did not lead."""


class Acceptances:
    """What has left this agent's queues and is not recorded yet. `run` is for a task of its own."""

    def __init__(self, etcd: AcceptingEtcd, keys: GroupKeys) -> None:
        self.tenure: Tenure | None = None
        """While this agent leads."""
        self._etcd = etcd
        self._keys = keys
        self._waiting: dict[str, Waiting] = {}
        self._gone: dict[tuple[str, str, str], _Gone] = {}
        self.on_room: Callable[[], None] = lambda: None
        """Called when it is behind no more."""
        self._is_refused = False
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    @property
    def unrecorded(self) -> int:
        """How many are still to be recorded."""
        return len(self._gone)

    @property
    def is_behind(self) -> bool:
        """Whether so much is unrecorded that nothing more should be told; not where etcd refuses to record it."""
        return len(self._gone) >= _MOST_UNRECORDED and not self._is_refused

    def lead(self, tenure: Tenure, waiting: Mapping[str, Waiting]) -> None:
        """This agent leads, and these events, by ID, wait in etcd."""
        self.tenure = tenure
        self._waiting = dict(waiting)

    def committed(self, events: Iterable[Addressed], revisions: Mapping[bytes, int]) -> None:
        """These events were written; at which revision, by key."""
        for each in events:
            name = each.event.event_id
            if each.sinks:
                known = self._waiting.get(name)
                sinks = {*each.sinks, *(known.sinks if known is not None else ())}
                self._waiting[name] = Waiting(revision=revisions[self._keys.event(name)], sinks=sinks)

    def note(self, left: Left) -> None:
        """A sink waits no more. What was given up by who does not lead is passed over."""
        tenure = self.tenure if self.tenure is not None and self.tenure.ended is None else None
        if not left.told and tenure is None:
            return
        last_of = 0
        waiting = self._waiting.get(left.event_id)
        if waiting is not None:
            waiting.sinks.discard(left.sink)
            if not waiting.sinks:
                last_of = waiting.revision
                del self._waiting[left.event_id]
        gone = _Gone(left=left, last_of_revision=last_of, epoch=tenure.epoch if tenure is not None else 0)
        self._gone[left.sink, left.event_id, left.ended_alarm_id] = gone
        self._none.clear()
        self._some.set()

    async def run(self) -> None:
        """Record until cancelled; trouble with etcd is tried again."""
        refused = ""
        while True:
            await self._some.wait()
            try:
                await self._record_some()
            except EtcdRefused as error:
                if refused != str(error):
                    log.warning("what sinks have accepted is not recorded, and may be told again: %s", error)
                refused = str(error)
                self._is_refused = True
                self.on_room()
                await asyncio.sleep(_REFUSED_SECONDS)
            except EtcdTrouble:  # the member says so
                await asyncio.sleep(_RETRY_SECONDS)

    async def flushed(self, seconds: float) -> bool:
        """Wait until all is recorded, at most so long; whether it is."""
        try:
            async with asyncio.timeout(seconds):
                await self._none.wait()
        except TimeoutError:
            return False
        return True

    async def _record_some(self) -> None:
        first = next(iter(self._gone.values()))
        alike = {}
        for key, each in self._gone.items():
            if each.left.told == first.left.told and (first.left.told or each.epoch == first.epoch):
                alike[key] = each
                if len(alike) == _MOST_TOGETHER:
                    break
        was_behind = self.is_behind
        await self._record(list(alike.values()))
        self._is_refused = False
        for key, each in alike.items():
            if self._gone.get(key) is each:
                del self._gone[key]
        if was_behind and not self.is_behind:
            self.on_room()
        if not self._gone:
            self._some.clear()
            self._none.set()

    async def _record(self, gone: Sequence[_Gone]) -> None:
        """Delete what nobody waits for; of an event that is gone, or was written anew meanwhile, all but the event."""
        if await self._delete(gone, with_events=True):
            return
        for each in gone:
            if not (len(gone) > 1 and await self._delete([each], with_events=True)):
                await self._delete([each], with_events=False)

    async def _delete(self, gone: Sequence[_Gone], *, with_events: bool) -> bool:
        """Whether the events stood there as they were written, and this agent leads where it has to."""
        compares = [] if gone[0].left.told else [Compare(key=self._keys.lock, mod_revision=gone[0].epoch)]
        keys: dict[bytes, None] = {}
        for each in gone:
            is_last = with_events and each.last_of_revision != 0
            keys |= dict.fromkeys(deletes_of(self._keys, each.left, is_last=is_last))
            if is_last:
                key = self._keys.event(each.left.event_id)
                compares.append(Compare(key=key, mod_revision=each.last_of_revision))
        return (await self._etcd.transaction(compares=compares, deletes=list(keys))).succeeded
