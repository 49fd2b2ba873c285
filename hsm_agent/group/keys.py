"""The group's keys in etcd, and what is written at each. Pure.

    lock beat head config                      one value each
    member/NAME                                a member's own, which ends with it
    state/ROWKEY                               a row of the alarm state, as the spool's table `state` has it
    event/EVENT_ID                             an event that a sink waits for
    wait/SINK/EVENT_ID  sequence/SINK/ALARM_ID  empty: the sink waits for the event; is owed the end of the alarm

all below `/hsm-agent/GROUP/`. Values are JSON. Whoever may write to etcd may write anything: a value is read with
bounds, and what cannot be read is refused under its key's name. Members that are not known are passed over, so that a
later version may add some; `FORMAT` counts up when one changes its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import quote, unquote_to_bytes

from hsm_agent import codec
from hsm_agent.codec import stored
from hsm_agent.model import Event, GroupRole
from hsm_agent.net.etcd_messages import prefix_end
from hsm_agent.text import one_line

if TYPE_CHECKING:
    from hsm_agent.net.etcd_messages import KeyValue

FORMAT = 1
"""Of the keys and values here. Who finds a greater one in the lock never leads."""
_ROOT = "/hsm-agent/"
_MOST_RECORD_BYTES = 64 * 1024
_MOST_EVENT_BYTES = 1024 * 1024
_MOST_TEXT = 256
"""Characters of a name, a version, an id."""
MOST_LEASE_SECONDS = 60.0
_MOST_SINKS = 256
_QUOTED = 120


class UnreadableKeyError(Exception):
    """What stands at a key is not what a group writes there. The text is one line and names the key."""

    def __init__(self, key: bytes, why: str) -> None:
        super().__init__(f"{shown(key)}: {one_line(why)[:_QUOTED]}")


def _sinks(value: object) -> list[object]:
    names = codec.listed(_name, value)
    if len(names) > _MOST_SINKS:
        raise ValueError(f"{len(names)} sinks")
    return names


def _name(value: object) -> str:
    text = codec.text(value)
    if len(text) > _MOST_TEXT or one_line(text) != text:
        raise ValueError(f"not a text that can be shown: {text!r:.40}")
    return text


def _name_or_none(value: object) -> str | None:
    return codec.optional(_name, value)


def _sinks_or_none(value: object) -> list[object] | None:
    return codec.optional(_sinks, value)


def _count(value: object) -> int:
    number = codec.whole(value)
    if number < 0:
        raise ValueError(f"below 0: {number}")
    return number


def _lease(value: object) -> float:
    seconds = codec.positive(value)
    if seconds > MOST_LEASE_SECONDS:  # others would wait as long for whoever wrote it
        raise ValueError(f"a lease of {seconds:g} s")
    return seconds


_NAME, _NUMBER, _LIST = stored(check=_name), stored(check=_count), stored(check=_sinks)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRecord:
    """At `lock`: who leads. The revision of its last change is the epoch.

    `instance` is kept in the agent's state directory: two hosts with one agent.name are told apart by it, and a
    copy of the directory elsewhere has another one.
    """

    name: str = field(metadata=_NAME)
    instance: str = field(metadata=_NAME)
    format: int = field(default=FORMAT, metadata=stored(check=_count, always=True))
    lease_seconds: float = field(metadata=stored(check=_lease))
    sinks: list[str] = field(default_factory=list, metadata=_LIST)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatRecord:
    """At `beat`: that the leader is there.

    `time`: by its wall clock. `yields_to`: the member that is to lead now, empty for any; None while it goes on.
    `sinks`: that it tells now; the lock has those from when it was taken. `number`: that of the last head that it has
    written or found, 0 while it holds none; a head that is less was put back from a backup.
    """

    time: float
    epoch: int = field(metadata=_NUMBER)
    number: int = field(default=0, metadata=_NUMBER)
    yields_to: str | None = field(default=None, metadata=stored(check=_name_or_none))
    sinks: list[str] | None = field(default=None, metadata=stored(check=_sinks_or_none))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRecord:
    """At `head`: the last commit. `number` counts commits since the group began. `time`: by the leader's wall clock.

    `whole`: false while a leader puts here all that it holds, in several transactions: what stands here meanwhile is
    less than what a member holds, and nobody takes it for the group's; nor where there is no head at all.
    """

    id: str = field(metadata=_NAME)
    number: int = field(metadata=_NUMBER)
    time: float
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRecord:
    """At `config`: the digest of the configuration by which alarms of what left it were withdrawn last.

    Empty once something was judged by another one.
    """

    digest: str = field(metadata=_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRecord:
    """At `member/NAME`: a member as it describes itself. `time`: by its wall clock."""

    name: str = field(metadata=_NAME)
    instance: str = field(metadata=_NAME)
    version: str = field(default="", metadata=_NAME)
    format: int = field(default=FORMAT, metadata=stored(check=_count, always=True))
    digest: str = field(default="", metadata=_NAME)
    role: GroupRole
    sources_up: int = field(default=0, metadata=_NUMBER)
    sources_expected: int = field(default=0, metadata=_NUMBER)
    time: float
    sinks: list[str] = field(default_factory=list, metadata=_LIST)
    clock_offset: float | None = None
    """Seconds by which the leader's clock is ahead of its own; None where it does not know."""


At = tuple[int, int]
"""The order of events: an epoch, and a number in it."""
Record = TypeVar("Record", LockRecord, BeatRecord, HeadRecord, ConfigRecord, MemberRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(Generic[Record]):
    """What stands at one of the keys that there is one of, as seen last.

    `record`: None where there is none, or it cannot be read. `mod_revision`: of its last change, 0 where there is no
    key: what a compare asks for. `at`: when that change was seen, by the clock that was given; None before the first
    look.
    """

    record: Record | None = None
    mod_revision: int = 0
    at: float | None = None


class KeyKind(Enum):
    """What a key is for; the value is how it begins below the group's."""

    LOCK = "lock"
    BEAT = "beat"
    HEAD = "head"
    CONFIG = "config"
    MEMBER = "member"
    STATE = "state"
    EVENT = "event"
    WAIT = "wait"
    SEQUENCE = "sequence"


_SINGLE = frozenset({KeyKind.LOCK, KeyKind.BEAT, KeyKind.HEAD, KeyKind.CONFIG})
_OF_SINKS = frozenset({KeyKind.WAIT, KeyKind.SEQUENCE})


@dataclass(frozen=True, slots=True)
class GroupKey:
    """A key that was read. `name`: a member's, a row's key, an event's or alarm's ID; empty where there is one only.

    `sink`: empty where the key is no sink's.
    """

    kind: KeyKind
    name: str = ""
    sink: str = ""


class GroupKeys:
    """The keys of one group."""

    def __init__(self, group: str) -> None:
        """ValueError for a name that cannot be part of a key."""
        if not group or "/" in group or one_line(group) != group:
            raise ValueError(f"not the name of a group: {group!r:.40}")
        self._prefix = f"{_ROOT}{group}/"
        self.prefix = self._prefix.encode()
        self.end = prefix_end(self.prefix)
        self.lock, self.beat, self.head, self.config = (
            self._key(kind.value) for kind in (KeyKind.LOCK, KeyKind.BEAT, KeyKind.HEAD, KeyKind.CONFIG)
        )

    def all_of(self, kind: KeyKind) -> tuple[bytes, bytes]:
        """The range of all keys of a kind of which there are many: where it begins, and its end."""
        first = self._key(f"{kind.value}/")
        return first, prefix_end(first)

    def member(self, name: str) -> bytes:
        return self._key(f"member/{name}")

    def state(self, row_key: str) -> bytes:
        return self._key(f"state/{row_key}")

    def event(self, event_id: str) -> bytes:
        return self._key(f"event/{event_id}")

    def wait(self, sink: str, event_id: str) -> bytes:
        return self._key(f"wait/{_quoted(sink)}/{event_id}")

    def sequence(self, sink: str, alarm_id: str) -> bytes:
        return self._key(f"sequence/{_quoted(sink)}/{alarm_id}")

    def read(self, key: bytes) -> GroupKey | None:
        """What a key of the group is for; None for one that a later version may have. Raises UnreadableKeyError."""
        try:
            return self._read(key.decode())
        except ValueError as error:
            raise UnreadableKeyError(key, str(error)) from error

    def _read(self, key: str) -> GroupKey | None:
        if not key.startswith(self._prefix):
            raise ValueError("not the group's")
        first, slash, rest = key.removeprefix(self._prefix).partition("/")
        if first not in _KINDS:
            return None
        kind = _KINDS[first]
        if bool(slash) is (kind in _SINGLE) or bool(rest) is (kind in _SINGLE):
            raise ValueError("it names too little, or too much")
        if kind not in _OF_SINKS:
            return GroupKey(kind, rest)
        sink, _, name = rest.partition("/")
        if not sink or not name:
            raise ValueError("it names too little")
        return GroupKey(kind, name, unquote_to_bytes(sink).decode())

    def _key(self, rest: str) -> bytes:
        return (self._prefix + rest).encode()


_KINDS = {kind.value: kind for kind in KeyKind}


def shown(key: bytes) -> str:
    """A key for messages."""
    return one_line(key.decode(errors="replace"))[:_QUOTED]


def _quoted(sink: str) -> str:
    return quote(sink, safe="")


def record_bytes(record: LockRecord | BeatRecord | HeadRecord | ConfigRecord | MemberRecord) -> bytes:
    """As it is written."""
    return codec.to_bytes(record)


def read_record(kind: type[Record], entry: KeyValue) -> Record:
    """What stands at the key. Raises UnreadableKeyError."""
    try:
        return codec.from_bytes(kind, _bounded(entry.value, _MOST_RECORD_BYTES))
    except (ValueError, TypeError) as error:
        raise UnreadableKeyError(entry.key, str(error)) from error


def _bounded(value: bytes, most: int) -> bytes:
    if len(value) > most:
        raise ValueError(f"{len(value)} octets")
    return value


def event_bytes(at: At, event: Event) -> bytes:
    """An event as it is written."""
    return codec.dump({"at": list(at), "event": codec.encode(event)}).encode()


def read_event(entry: KeyValue, event_id: str) -> tuple[At, Event]:
    """The event of this ID that stands at the key, and its order. Raises UnreadableKeyError."""
    try:
        return _event(codec.parse(_bounded(entry.value, _MOST_EVENT_BYTES)), event_id)
    except (ValueError, TypeError) as error:
        raise UnreadableKeyError(entry.key, str(error)) from error


def _event(content: object, event_id: str) -> tuple[At, Event]:
    if not isinstance(content, dict):
        raise ValueError("not an object")  # noqa: TRY004 - what is stored is wrong, not the argument
    epoch, number = map(_count, codec.listed(_count, content.get("at")))
    event = codec.decode(Event, content.get("event"), ignored=None)
    if event.event_id != event_id:
        raise ValueError(f"another event stands there: {event.event_id:.40}")
    return (epoch, number), event


def read_text(entry: KeyValue) -> str:
    """The text of a row. Raises UnreadableKeyError."""
    try:
        return entry.value.decode()
    except UnicodeDecodeError as error:
        raise UnreadableKeyError(entry.key, "no text") from error
