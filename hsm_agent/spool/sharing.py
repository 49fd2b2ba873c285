"""What is done to a queue for a group of agents: addressed, taken in, replaced, shared. Pure.

The events of the group stand in every member's queue, in the same order for each sink and alarm. A follower does not
know whether who leads has sent what waits: it takes each sequence for notified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.codec import from_bytes
from hsm_agent.model import AGENT_SOURCE, Event
from hsm_agent.spool.shared import Addressed, Left
from hsm_agent.spool.sink_queue import TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from hsm_agent.spool.queue import Queue
    from hsm_agent.spool.shared import SharedChange, SharedContent, SinkAlarm
    from hsm_agent.spool.sink_queue import SinkQueue


def address(
    queue: Queue, events: Sequence[Event], *, sinks: Collection[str] | None = None, only_new: bool = False
) -> list[Addressed]:
    """Which sinks would get these events if they were queued now, in this order; without those that none wants."""
    queues = list(queue.sinks.values()) if sinks is None else [queue.sinks[name] for name in sinks]
    begun: dict[str, set[str]] = {each.name: set() for each in queues}
    found = []
    for event in events:
        alarm_id = _alarm_of(event)
        wanted = [each for each in queues if each.wants(event, begun[each.name])]
        if only_new:
            wanted = [each for each in wanted if event.alarm_id not in each.sequences]
        new = [each.name for each in wanted if alarm_id not in each.sequences and alarm_id not in begun[each.name]]
        begins = new if alarm_id else []
        for name in begins:
            begun[name].add(alarm_id)
        if wanted:
            names = tuple(each.name for each in wanted)
            found.append(Addressed(event=event, sinks=names, begins=tuple(begins)))
    return found


def commit(queue: Queue, addressed: Sequence[Addressed], *, shared: bool) -> None:
    """Queue events for the sinks that were found. A sink that is gone meanwhile gives up what is the group's."""
    for each in addressed:
        queue.add(each.event, _listeners(queue, each, shared=shared), shared=shared)
        for name in each.sinks if shared else ():
            if name not in queue.sinks:
                event = each.event
                left = Left(sink=name, event_id=event.event_id, told=False, ended_alarm_id=event.alarm_id)
                queue.left.append(left)


def take_in(queue: Queue, change: SharedChange) -> None:
    """Do what the leader did: what is there already, or gone already, is passed over."""
    for each in change.events:
        listeners = _listeners(queue, each, shared=True)
        queue.add(each.event, listeners, shared=True)
        for sink_queue in listeners:
            sink_queue.may_be_sent(queue.last_seq)
    for name, event_id in change.left:
        seq = queue.shared_seq(name, event_id)
        if seq is not None:
            queue.release(name, [seq], notified=True, quietly=True)
    for name, alarm_id in change.ended:
        if name in queue.sinks:
            queue.sinks[name].owe_no_more(alarm_id)


def replace(queue: Queue, content: SharedContent, own_alarm_ids: Collection[str] = ()) -> None:
    """Hold these events and sequences of the group's instead of those held; what is the agent's own stays.

    What is held already stays in its place, unless an earlier event of its alarm is missing there: then it comes anew
    behind that one. `own_alarm_ids`: alarms that this agent raised for itself, and that are so still if the content has
    none of them.
    """
    known = {alarm_id for _, alarm_id in content.sequences} | {each.event.alarm_id for each in content.events}
    unshare(queue, set(own_alarm_ids) - known)
    _adopt(queue, {each.event.event_id for each in content.events}, content.sequences)
    kept = _keep(queue, content)
    for each in content.events:
        listeners = [
            queue.sinks[name] for name in each.sinks if name in queue.sinks and (name, each.event.event_id) not in kept
        ]
        queue.add(each.event, listeners, shared=True)
    for sink_queue in queue.sinks.values():
        _set_sequences(sink_queue, {alarm_id for name, alarm_id in content.sequences if name == sink_queue.name})


def content(queue: Queue) -> Iterator[tuple[bytes, list[str]]]:
    """Payload and sinks of each event of the group's that waits, oldest first."""
    for event_id in queue.shared_ids():
        names = [name for name in queue.sinks if queue.shared_seq(name, event_id) is not None]
        yield queue.shared_payload(event_id), names


def sequences(queue: Queue) -> frozenset[tuple[str, str]]:
    """The sequences that are the group's, by sink and alarm."""
    return frozenset(
        (name, each.alarm_id)
        for name, sink_queue in queue.sinks.items()
        for each in sink_queue.sequences.values()
        if each.shared
    )


def share_all(queue: Queue, own_alarm_ids: Collection[str]) -> None:
    """Every event of an alarm that waits, and every sequence, is the group's, but those of the source `agent`."""
    own = set(own_alarm_ids)
    for seq, stored in queue.stored.items():
        if stored.shared or not stored.waits:
            continue
        event = from_bytes(Event, stored.payload)
        if event.source == AGENT_SOURCE:
            own.add(event.alarm_id)
        elif _alarm_of(event):
            _share(queue, seq)
    for sink_queue in queue.sinks.values():
        for sequence in sink_queue.sequences.values():
            if sequence.alarm_id not in own:
                sink_queue.share_sequence(sequence)


def unshare(queue: Queue, alarm_ids: Collection[str]) -> None:
    """These alarms, and what waits of them, are this agent's own from now on."""
    for sink_queue in queue.sinks.values():
        for alarm_id in alarm_ids:
            sequence = sink_queue.sequences.get(alarm_id)
            if sequence is None or not sequence.shared:
                continue
            sink_queue.unshare(sequence)
            for seq in sequence.seqs:
                if queue.stored[seq].shared:
                    queue.unshare(seq)


def _listeners(queue: Queue, addressed: Addressed, *, shared: bool) -> list[SinkQueue]:
    """The sinks that are to get an event. What is the group's is there once for each."""
    event_id = addressed.event.event_id
    return [
        queue.sinks[name]
        for name in addressed.sinks
        if name in queue.sinks and not (shared and queue.shared_seq(name, event_id) is not None)
    ]


def _alarm_of(event: Event) -> str:
    """The alarm of a transition; empty for what belongs to none."""
    return event.alarm_id if event.kind in TRANSITIONS else ""


def _adopt(queue: Queue, event_ids: Collection[str], sequences: Collection[SinkAlarm]) -> None:
    """What is held as the agent's own, and is among the events and sequences of the group, becomes the group's."""
    for name, alarm_id in sequences:
        sink_queue = queue.sinks.get(name)
        sequence = None if sink_queue is None else sink_queue.sequences.get(alarm_id)
        if sink_queue is not None and sequence is not None:
            sink_queue.share_sequence(sequence)
    for seq, stored in queue.stored.items():
        if stored.event_id in event_ids and stored.waits and not stored.shared:
            _share(queue, seq)


def _share(queue: Queue, seq: int) -> None:
    queue.share_entry(seq)
    for sink_queue in queue.sinks.values():
        if seq in sink_queue.waiting:
            sink_queue.share(seq)


def _keep(queue: Queue, content: SharedContent) -> set[tuple[str, str]]:
    """Let go of what is not in the content, or would stand in another order there; which sinks wait for which events.

    What this agent judged while it was alone about an alarm of the group's goes too: the group knows better. Behind an
    event that is missing at one sink all of its alarm goes, at every sink: the events of an alarm have one order.
    """
    places = {each.event.event_id: place for place, each in enumerate(content.events)}
    held = [
        (name, seq, places.get(queue.stored[seq].event_id, -1), entry.sequence.alarm_id if entry.sequence else "")
        for name, sink_queue in queue.sinks.items()
        for seq, entry in sink_queue.waiting.items()
        if entry.shared or (entry.sequence is not None and entry.sequence.shared)
    ]
    due = _due(queue, content)
    gone = []
    for name, seq, place, alarm_id in held:
        if due.get((name, alarm_id), [])[-1:] == [place]:
            due[name, alarm_id].pop()
        else:
            gone.append((name, seq))
    missing: dict[str, int] = {}
    for (_, alarm_id), wanted in due.items():
        missing[alarm_id] = min([*wanted[-1:], missing.get(alarm_id, len(places))])
    gone += [(name, seq) for name, seq, place, alarm_id in held if place > missing.get(alarm_id, len(places))]
    for name, seq in gone:
        queue.release(name, [seq], notified=False, quietly=True)
    pairs = [(name, event_id) for event_id in places for name in queue.sinks]
    return {pair for pair in pairs if queue.shared_seq(*pair) is not None}


def _due(queue: Queue, content: SharedContent) -> dict[tuple[str, str], list[int]]:
    """By sink and alarm the places of the events that are to wait: the last one first, to be taken from the end."""
    due: dict[tuple[str, str], list[int]] = {}
    for place in reversed(range(len(content.events))):
        each = content.events[place]
        for name in each.sinks:
            if name in queue.sinks:
                due.setdefault((name, _alarm_of(each.event)), []).append(place)
    return due


def _set_sequences(sink_queue: SinkQueue, owed: Collection[str]) -> None:
    """These are the alarms of the group of which a sink is owed the end; what waits may have been sent."""
    for sequence in list(sink_queue.sequences.values()):
        if sequence.alarm_id in owed or not sequence.shared:
            continue
        sink_queue.owe_no_more(sequence.alarm_id)
    for alarm_id in owed:
        sink_queue.owe(alarm_id)
    for sequence in sink_queue.sequences.values():
        for seq in sequence.seqs if sequence.shared else ():
            sink_queue.may_be_sent(seq)
