"""What goes first when the spool is full. Pure."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.spool.entries import DroppedEvents
from hsm_agent.spool.sink_queue import SinkQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hsm_agent.spool.queue import Queue


_ORDER: tuple[tuple[str, Callable[[SinkQueue], Iterator[list[int]]]], ...] = (
    ("alarm raised and cleared without a notification", SinkQueue.unnotified),
    ("superseded", SinkQueue.superseded),
    ("test or notice", SinkQueue.standalone),
)


def enforce_limits(queue: Queue, *, shut: bool = False) -> list[DroppedEvents]:
    """Drop what must go to keep the bounds, in the order that does least harm; returns what was dropped.

    Dead letters go first: they were given up and counted before. Then alarms that were raised and cleared without
    a notification to a sink, then changes superseded by a later event of the same alarm, then tests and notices.
    The rest is never dropped: the raise and the latest event of an alarm that is on or unknown to a sink, and the
    clear of one that it was notified of. By those the spool grows past its bounds rather: their number is limited
    by the number of alarms, and no length of outage adds to it.

    `shut`: this agent does not tell what is the group's now. Then that is neither dropped nor counted: whoever leads
    keeps it within bounds.
    """
    dropped: list[DroppedEvents] = []
    while _is_over(queue, shut=shut) and queue.dead:
        name, seq = next(iter(queue.dead))
        dropped.append(DroppedEvents(sink=name, event_ids=(queue.stored[seq].event_id,), why="dead letter"))
        queue.remove_dead_letter(name, seq)
    for why, candidates in _ORDER:
        while _is_over(queue, shut=shut) and (found := _oldest(queue, candidates, shut=shut)) is not None:
            dropped.append(_drop(queue, *found, why))
    return dropped


def _is_over(queue: Queue, *, shut: bool) -> bool:
    entries, size_bytes = len(queue.stored), queue.size_bytes
    if shut:
        entries, size_bytes = entries - queue.shared_entries, size_bytes - queue.shared_bytes
    return entries > queue.entries_limit or size_bytes > queue.size_limit_bytes


def _oldest(
    queue: Queue, candidates: Callable[[SinkQueue], Iterator[list[int]]], *, shut: bool
) -> tuple[SinkQueue, list[int]] | None:
    """Over all sinks: entries that may be dropped together, and whose queue they are in."""
    found = []
    for sink_queue in queue.sinks.values():
        allowed = (seqs for seqs in candidates(sink_queue) if not (shut and sink_queue.holds_shared(seqs)))
        found += [(sink_queue, seqs) for seqs in islice(allowed, 1)]
    return min(found, key=lambda pair: pair[1][0], default=None)


def _drop(queue: Queue, sink_queue: SinkQueue, seqs: Sequence[int], why: str) -> DroppedEvents:
    event_ids = tuple(queue.stored[seq].event_id for seq in seqs)
    queue.release(sink_queue.name, tuple(seqs), notified=False)  # a copy: it shrinks as its entries leave
    sink_queue.dropped += len(event_ids)
    sink_queue.store()
    queue.dropped_total += len(event_ids)
    queue.changes["tally", ("dropped",)] = (queue.dropped_total,)
    return DroppedEvents(sink=sink_queue.name, event_ids=event_ids, why=why)
