"""What a trap means: which alarm it raises or clears, on which component, in which words. Pure; tables are data."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from hsm_agent.text import one_line
from hsm_agent.wire.snmp.ber import Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hsm_agent.settings.regex import Pattern
    from hsm_agent.wire.snmp.ber import Oid, VarBind
    from hsm_agent.wire.snmp.trap import Trap

MAX_NOTE_OCTETS = 96
"""Leaves room for the rest of a message of 255 octets."""
MAX_COMPONENT_OCTETS = 64
_MAX_LOOKED_AT = 1024
"""A text is looked at so far, by patterns too, however long a sender made it."""


class Level(IntEnum):
    """What `vendor_alarm` reads."""

    CLEARED = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the text of a trap says by itself: whether the alarm is over (None: not said), and in which words."""

    over: bool | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one trap means. Varbinds are named by their object, with or without an instance.

    `component` are objects that tell the alarms of one device apart; those a trap has are taken together. `note` is
    the object whose value is shown, None for all of `objects` the trap has. `pattern` must be found in the note, else
    the entry does not apply. `reads` takes the note apart where the vendor put more into it than words.
    """

    trap: Oid
    alarm: str
    level: Level
    component: tuple[Oid, ...] = ()
    note: Oid | None = None
    objects: Mapping[Oid, str] = field(default_factory=dict)
    pattern: Pattern | None = None
    reads: Callable[[str], Said] | None = None
    clear_after: float | None = None
    clears_itself: bool = True
    """Whether the vendor tells of the end; if not, it ends after `clear_after` or the source's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a trap says of one alarm. `ends` says that nothing else will end it, `clear_after` after which time."""

    alarm: str
    component: str
    level: Level
    note: str
    ends: bool = False
    clear_after: float | None = None


class Maps:
    """Entries by trap."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: dict[Oid, list[Entry]] = defaultdict(list)
        for entry in entries:
            self._entries[entry.trap].append(entry)
        self.alarms = frozenset(entry.alarm for entry in entries)

    def read(self, trap: Trap) -> tuple[Change, ...]:
        """What the trap says, one change for each entry that applies; nothing if no entry knows it."""
        entries = self._entries.get(trap.oid) or self._entries.get(trap.plain_oid) or ()
        found = (_change(entry, trap) for entry in entries)
        return tuple(change for change in found if change is not None)


def damage(trap: Trap) -> str:
    """What of a trap could not be decoded, in words; empty for a sound one."""
    found = (one.value.reason for one in trap.varbinds if isinstance(one.value, Undecodable))
    return next(found, "")


def _change(entry: Entry, trap: Trap) -> Change | None:
    """What an entry makes of the trap. One that is damaged ends nothing but what it surely names."""
    text = _note(entry, trap)
    if entry.pattern is not None and (_is_damaged(entry.note, trap) or not entry.pattern.fits(text)):
        return None
    unsure = any(_is_damaged(oid, trap) for oid in entry.component)
    level, note, ends = entry.level, text, not entry.clears_itself
    if entry.reads is not None:
        said = entry.reads(text)
        level = Level.CLEARED if said.over else entry.level
        note, ends = said.note, ends or said.over is None
    if unsure and level is Level.CLEARED:
        return None
    found = [value for oid in entry.component if (value := _value(trap, oid)) is not None]
    parts = [shown(one, MAX_COMPONENT_OCTETS) for one in found if not isinstance(one.value, Undecodable)]
    return Change(
        alarm=entry.alarm,
        component=cut(" ".join(part for part in parts if part), MAX_COMPONENT_OCTETS),
        level=level,
        note=cut(note, MAX_NOTE_OCTETS),
        # Raised of something that was not understood, it may never be ended by its name.
        ends=(ends or unsure) and level is not Level.CLEARED,
        clear_after=entry.clear_after,
    )


def _note(entry: Entry, trap: Trap) -> str:
    if entry.note is not None:
        varbind = _value(trap, entry.note)
        return shown(varbind, _MAX_LOOKED_AT) if varbind else ""
    named = ((name, _value(trap, oid)) for oid, name in entry.objects.items())
    return ", ".join(f"{name} {shown(varbind, MAX_NOTE_OCTETS)}" for name, varbind in named if varbind)


def _is_damaged(oid: Oid | None, trap: Trap) -> bool:
    """Whether a varbind is there whose value can't be decoded, or may be one whose name can't."""
    found = None if oid is None else _value(trap, oid)
    if found is None:
        return any(not one.name for one in trap.varbinds)
    return isinstance(found.value, Undecodable)


def _value(trap: Trap, oid: Oid) -> VarBind | None:
    return next((one for one in trap.varbinds if one.name[: len(oid)] == oid), None)


def shown(varbind: VarBind, octets: int) -> str:
    """A value as text for people: one line, nothing that controls a terminal or turns the direction of writing."""
    value = varbind.value
    if isinstance(value, bytes):
        return clean(value[: 4 * _MAX_LOOKED_AT].decode(errors="replace"), octets)
    if isinstance(value, tuple):
        return cut(".".join(map(str, value)), octets)
    if isinstance(value, Undecodable):
        return cut(f"(cannot be decoded: {value.reason})", octets)
    return "" if value is None else str(value)


def clean(text: str, octets: int) -> str:
    """The text in one line, fit to be shown, spaces squeezed, cut."""
    return cut(" ".join(one_line(text).split()), octets)


def cut(text: str, octets: int) -> str:
    """The text with so many octets at most, its end marked where it was cut."""
    raw = text.encode()
    if len(raw) <= octets:
        return text
    return raw[: octets - 3].decode(errors="ignore") + "…"
