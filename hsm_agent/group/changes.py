"""Between the keys in etcd and what the spool and the alarm state do: both ways in one place. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.group.keys import KeyKind, UnreadableKeyError, event_bytes, read_event, read_text, shown
from hsm_agent.net.etcd_messages import KeyChange, Put
from hsm_agent.spool.shared import Addressed, SharedChange, SharedContent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hsm_agent.group.keys import At, GroupKey, GroupKeys
    from hsm_agent.model import Event
    from hsm_agent.net.etcd_messages import KeyValue
    from hsm_agent.spool.shared import Left, SinkAlarm, SinkEvent


def puts_of(keys: GroupKeys, addressed: Addressed, at: At) -> list[Put]:
    """An event, its waits, and the sequences that it begins: they must be in one transaction.

    Empty where no sink waits for it: such an event is not stored.
    """
    event = addressed.event
    if not addressed.sinks:
        return []
    return [
        Put(key=keys.event(event.event_id), value=event_bytes(at, event)),
        *(Put(key=keys.wait(sink, event.event_id), value=b"") for sink in addressed.sinks),
        *(Put(key=keys.sequence(sink, event.alarm_id), value=b"") for sink in addressed.begins),
    ]


def deletes_of(keys: GroupKeys, left: Left, *, is_last: bool) -> list[bytes]:
    """What goes when a sink waits no more. `is_last`: no other sink waits for the event."""
    return [
        keys.wait(left.sink, left.event_id),
        *([keys.event(left.event_id)] if is_last else []),
        *([keys.sequence(left.sink, left.ended_alarm_id)] if left.ended_alarm_id else []),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadChange:
    """What a revision did to what is the group's. `refused`: why a key of it was passed over, a line each."""

    change: SharedChange
    refused: tuple[str, ...] = ()
    is_whole: bool = True
    """False where it cannot be told from these keys alone what was done: a wait without its event, a sequence that no
    event of it begins. Then all is to be read anew."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the group's states and events was changed."""
        change = self.change
        return not (change.states or change.events or change.left or change.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadContent:
    """All that stands in etcd. `refused` as in ReadChange."""

    content: SharedContent
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sorted:
    """Keys by what they are for."""

    states: dict[str, str | None] = field(default_factory=dict)
    events: dict[str, tuple[At, Event]] = field(default_factory=dict)
    waits: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By event: the sinks."""
    sequences: dict[SinkAlarm, None] = field(default_factory=dict)
    left: list[SinkEvent] = field(default_factory=list)
    ended: list[SinkAlarm] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Why, by the event where it is one, else by the key."""

    def take(self, keys: GroupKeys, change: KeyChange) -> None:
        try:
            key = keys.read(change.entry.key)
            if key is not None and change.is_deleted:
                self._delete(key)
            elif key is not None:
                self._put(key, change.entry)
        except UnreadableKeyError as error:
            self.refused[shown(change.entry.key)] = str(error)

    def _put(self, key: GroupKey, entry: KeyValue) -> None:
        match key.kind:
            case KeyKind.STATE:
                self.states[key.name] = read_text(entry)
            case KeyKind.EVENT:
                try:
                    self.events[key.name] = read_event(entry, key.name)
                except UnreadableKeyError as error:
                    self.refused[key.name] = str(error)
            case KeyKind.WAIT:
                self.waits[key.name].append(key.sink)
            case KeyKind.SEQUENCE:
                self.sequences[key.sink, key.name] = None
            case _:  # who leads, and who is there: not what the replica holds
                return

    def _delete(self, key: GroupKey) -> None:
        match key.kind:
            case KeyKind.STATE:
                self.states[key.name] = None
            case KeyKind.WAIT:
                self.left.append((key.sink, key.name))
            case KeyKind.SEQUENCE:
                self.ended.append((key.sink, key.name))
            case _:  # an event goes with its last wait
                return

    def in_order(self) -> list[tuple[Event, tuple[str, ...]]]:
        """Events that a sink waits for."""
        found = sorted((at, event_id, event) for event_id, (at, event) in self.events.items() if event_id in self.waits)
        return [(event, tuple(self.waits[event_id])) for _, event_id, event in found]


def change_of(keys: GroupKeys, changes: Sequence[KeyChange]) -> ReadChange:
    """What one revision did; keys of no state and no event are passed over."""
    found = _Sorted()
    for each in changes:
        found.take(keys, each)
    unbegun = dict(found.sequences)
    addressed = []
    for event, sinks in found.in_order():
        begins = tuple(sink for sink in sinks if (sink, event.alarm_id) in unbegun)
        for sink in begins:
            del unbegun[sink, event.alarm_id]
        addressed.append(Addressed(event=event, sinks=sinks, begins=begins))
    is_known = all(event_id in found.events or event_id in found.refused for event_id in found.waits)
    change = SharedChange(
        states=found.states, events=tuple(addressed), left=tuple(found.left), ended=tuple(found.ended)
    )
    return ReadChange(
        change=change,
        refused=tuple(found.refused.values()),
        is_whole=is_known and (not unbegun or bool(found.refused)),
    )


class ContentReader:
    """Reads all keys of one revision, some at a time: there may be so many that others have to run in between."""

    def __init__(self, keys: GroupKeys) -> None:
        self._keys = keys
        self._found = _Sorted()

    def add(self, entries: Iterable[KeyValue]) -> None:
        """Take these too, in any order."""
        for entry in entries:
            self._found.take(self._keys, KeyChange(entry=entry, is_deleted=False))

    def content(self) -> ReadContent:
        """What they say; a wait without an event is passed over, and refused by name."""
        found, event_key = self._found, self._keys.event
        lonely = [each for each in found.waits if each not in found.events and each not in found.refused]
        return ReadContent(
            content=SharedContent(
                states={key: text for key, text in found.states.items() if text is not None},
                events=tuple(Addressed(event=event, sinks=sinks) for event, sinks in found.in_order()),
                sequences=frozenset(found.sequences),
            ),
            refused=(
                *found.refused.values(),
                *(f"{shown(event_key(each))}: is waited for, and is not there" for each in lonely),
            ),
        )


def content_of_keys(keys: GroupKeys, entries: Iterable[KeyValue]) -> ReadContent:
    """What all keys of one revision say, read at once."""
    reader = ContentReader(keys)
    reader.add(entries)
    return reader.content()
