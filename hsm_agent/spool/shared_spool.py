"""What the spool does for a group of agents: what is the group's is told by whoever leads, and held by all."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from hsm_agent.codec import from_bytes
from hsm_agent.model import Event
from hsm_agent.spool import sharing
from hsm_agent.spool.shared import Addressed, SharedContent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hsm_agent.spool.queue import Queue
    from hsm_agent.spool.shared import Left, SharedChange

_SLICE = 200


def _always() -> bool:
    return True


def _ignore(left: Left) -> None:
    del left


class SharedSpool(ABC):
    """The part of a spool that concerns a group. Without a group nothing is shared, and all may be told."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.may_tell: Callable[[], bool] = _always
        """Whether sinks may be sent what is the group's now: looked at before each look into the queue and each write.

        Whoever lets it become true calls `wake`.
        """
        self.on_left: Callable[[Left], None] = _ignore
        """Called with what is the group's, and left a sink's queue by what this agent did: accepted, or given up.

        Not with what `take_in` and `replace_shared` remove, nor with what waited for a sink that left the configuration
        while this agent may not tell. Whoever is called passes over what was given up while it does not lead.
        """
        self.followed = 0
        """Rises with whatever the group did elsewhere: what a sink was told is not what this agent told it."""
        self._is_replaced = False

    def address(
        self, events: Sequence[Event], *, sinks: Collection[str] | None = None, only_new: bool = False
    ) -> list[Addressed]:
        """Which sinks are to be sent these events, if they are committed in this order now. Nothing changes.

        Events that no sink wants are left out. `sinks`: some instead of all; KeyError if there is no such sink.
        `only_new`: none that was told of the event's alarm already, or has events of it in its queue.
        """
        return sharing.address(self._queue, events, sinks=sinks, only_new=only_new)

    async def commit_addressed(
        self, addressed: Sequence[Addressed], states: Mapping[str, str | None], *, shared: bool
    ) -> None:
        """As `commit`, with the sinks that `address` found. `shared`: the events are the group's.

        A sink that left the configuration meanwhile has given up what it was to be sent: `on_left` is told.
        """
        sharing.commit(self._queue, addressed, shared=shared)
        self._note_states(states)
        await self._save(durable=True)

    async def take_in(self, change: SharedChange, progress: Mapping[str, str | None]) -> None:
        """Do what the leader did, in its order. `progress`: states that are stored with those of the change.

        Twice does no harm. Sinks that this agent does not have are passed over.
        """
        sharing.take_in(self._queue, change)
        self._note_states(change.states)
        self._note_states(progress)
        self.followed += 1
        await self._save(durable=bool(change.events or change.states))

    async def replace_shared(
        self, content: SharedContent, states: Mapping[str, str | None], own_alarm_ids: Collection[str] = ()
    ) -> None:
        """Hold these events and sequences of the group's instead of those held.

        `states` are the changes of states that go with it (those of the content are not looked at). Events that are
        held already stay where they are in the queue, and become the group's if they were not. What this agent judged
        alone about alarms of the group's, and did not tell yet, goes. All that waits may have been sent by who led.
        `own_alarm_ids`: alarms that this agent raised for itself. Those of them that the content lacks stay its own,
        also where they were shared and that came to nothing.
        """
        sharing.replace(self._queue, content, own_alarm_ids)
        self._note_states(states)
        self.followed += 1
        self._is_replaced = True
        await self._save(durable=True)

    async def shared_content(self) -> SharedContent:
        """All that is the group's now, but for the states."""
        found = list(sharing.content(self._queue))
        sequences = sharing.sequences(self._queue)
        events: list[Addressed] = []
        for payload, names in found:
            events.append(Addressed(event=from_bytes(Event, payload), sinks=tuple(names)))
            if len(events) % _SLICE == 0:
                await asyncio.sleep(0)
        return SharedContent(events=tuple(events), sequences=sequences)

    async def share_all(self, own_alarm_ids: Collection[str], states: Mapping[str, str | None]) -> None:
        """Every event of an alarm that waits, and every sequence, is the group's from now on, but the agent's own.

        Own are events of the source `agent`, and the alarms of these IDs. `states` are stored with it.
        """
        sharing.share_all(self._queue, own_alarm_ids)
        self._note_states(states)
        await self._save(durable=True)

    async def unshare_all(self, states: Mapping[str, str | None]) -> None:
        """All is this agent's own from now on: it left its group. `states` are stored with it."""
        sharing.unshare(self._queue, {alarm_id for _, alarm_id in sharing.sequences(self._queue)})
        self._note_states(states)
        await self._save(durable=True)

    def untold(self) -> int:
        """How many events of the group's wait for a sink."""
        return len(self._queue.shared_ids())

    def may_repeat(self, sink: str, alarm_id: str) -> bool:
        """Whether a sink may be told again of an alarm now, beside the spool."""
        return not self._queue.is_shared(sink, alarm_id) or self.may_tell()

    def _note_states(self, states: Mapping[str, str | None]) -> None:
        for key, value in states.items():
            self._queue.changes["state", (key,)] = None if value is None else (value,)

    @abstractmethod
    async def _save(self, *, durable: bool) -> None:
        """Keep the bounds, and have the disk follow."""
