"""What a leader writes, in portions that one transaction of etcd takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent import codec
from hsm_agent.group.changes import puts_of
from hsm_agent.group.keys import KeyKind, UnreadableKeyError
from hsm_agent.net.etcd_messages import Put

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hsm_agent.group.keys import GroupKeys
    from hsm_agent.model import Event
    from hsm_agent.net.etcd_messages import KeyValue
    from hsm_agent.spool.shared import Addressed, SharedContent

MOST_TOGETHER = 100
"""Operations of one portion: etcd takes 128, and the fence and the head come on top."""
_MOST_BYTES = 1024 * 1024
_OPERATION_BYTES = 64

_Subject = tuple[str, str, str, str]
"""Source, resource, metric and rule of an alarm."""


@dataclass(slots=True, kw_only=True)
class Operations:
    """Puts and deletes that are done in one transaction, no key twice."""

    puts: list[Put] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many operations these are."""
        return len(self.puts) + len(self.deletes)

    @property
    def size_bytes(self) -> int:
        """What they take of a request."""
        octets = sum(len(each.key) + len(each.value) + _OPERATION_BYTES for each in self.puts)
        return octets + sum(len(key) + _OPERATION_BYTES for key in self.deletes)

    def add(self, other: Operations) -> None:
        """Do these as well."""
        self.puts += other.puts
        self.deletes += other.deletes


def portions(together: Iterable[Operations]) -> Iterator[Operations]:
    """The operations in their order; what is together in one stays so, unless it is too large for a transaction."""
    portion, size_bytes = Operations(), 0
    for one in together:
        for each in _halved(one):
            is_full = portion.count + each.count > MOST_TOGETHER or size_bytes + each.size_bytes > _MOST_BYTES
            if portion.count and is_full:
                yield portion
                portion, size_bytes = Operations(), 0
            portion.add(each)
            size_bytes += each.size_bytes
    if portion.count:
        yield portion


def _halved(one: Operations) -> Iterator[Operations]:
    if one.count <= 1 or (one.count <= MOST_TOGETHER and one.size_bytes <= _MOST_BYTES):
        yield one
        return
    puts, deletes = (len(one.puts) + 1) // 2, len(one.deletes) // 2
    yield from _halved(Operations(puts=one.puts[:puts], deletes=one.deletes[:deletes]))
    yield from _halved(Operations(puts=one.puts[puts:], deletes=one.deletes[deletes:]))


def state_of(keys: GroupKeys, row_key: str, text: str | None) -> Operations:
    """A row of the alarm state; None erases it."""
    if text is None:
        return Operations(deletes=[keys.state(row_key)])
    return Operations(puts=[Put(key=keys.state(row_key), value=text.encode())])


def committed(
    keys: GroupKeys, events: Sequence[Addressed], states: Mapping[str, str | None], *, epoch: int, first: int
) -> Iterator[Operations]:
    """What a step of judging changed: an event stands together with the row of its alarm.

    One after the other, since a withdrawal may erase the histories of a thousand tokens: who commits them has pauses.
    `first`: the number of the first of these events in the epoch.
    """
    rows: dict[_Subject, list[str]] = {}
    for row_key in states:
        if (subject := _subject_of_row(row_key)) is not None:
            rows.setdefault(subject, []).append(row_key)
    taken = set[str]()
    for number, each in enumerate(events, first):
        one = Operations(puts=puts_of(keys, each, (epoch, number)))
        for row_key in rows.pop(_subject_of_event(each.event), ()):
            taken.add(row_key)
            one.add(state_of(keys, row_key, states[row_key]))
        if one.count:
            yield one
    yield from (state_of(keys, row_key, text) for row_key, text in states.items() if row_key not in taken)


def _subject_of_event(event: Event) -> _Subject:
    return (event.source, event.resource, event.metric, event.rule)


def _subject_of_row(row_key: str) -> _Subject | None:
    """Of which alarm a row is; None for rows of something else."""
    if not row_key.startswith('["watch"'):
        return None
    match codec.parse(row_key):
        case ["watch", str(source), str(resource), str(metric), _, str(rule)]:
            return (source, resource, metric, rule)
        case _:
            return None


def difference(
    keys: GroupKeys, there: Iterable[KeyValue], content: SharedContent, *, epoch: int
) -> Iterator[Operations]:
    """What makes the group's keys in etcd say this content instead of what is there.

    Events are written anew in their order; what waits no more and rows that are no more go first, so that whoever reads
    in between finds less, and nothing that was done with.
    """
    wanted: dict[bytes, bytes] = {keys.state(row_key): text.encode() for row_key, text in content.states.items()}
    events = [puts_of(keys, each, (epoch, number)) for number, each in enumerate(content.events)]
    wanted |= {put.key: put.value for puts in events for put in puts}
    wanted |= {keys.sequence(sink, alarm_id): b"" for sink, alarm_id in content.sequences}
    written = {put.key for puts in events for put in puts}
    for entry in there:
        if not _is_content(keys, entry.key):
            continue
        if entry.key not in wanted:
            yield Operations(deletes=[entry.key])
        elif entry.value == wanted[entry.key]:
            del wanted[entry.key]
    yield from (Operations(puts=[Put(key=key, value=value)]) for key, value in wanted.items() if key not in written)
    for puts in events:
        if changed := [put for put in puts if put.key in wanted]:
            yield Operations(puts=changed)


_CONTENT = frozenset({KeyKind.STATE, KeyKind.EVENT, KeyKind.WAIT, KeyKind.SEQUENCE})


def _is_content(keys: GroupKeys, key: bytes) -> bool:
    """Not where it cannot be read: such a key is left alone, as those of a later version are."""
    try:
        found = keys.read(key)
    except UnreadableKeyError:
        return False
    return found is not None and found.kind in _CONTENT
