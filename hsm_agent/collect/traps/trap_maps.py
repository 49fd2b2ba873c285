"""What a trap means: which alarm it raises or clears, on which component, with which note. Pure; tables are data.

The built-in tables, with numbers and meanings in our own words:

Luna: one varbind, the reference of a log line; its last field says whether the event was asserted or de-asserted.
Utimaco CryptoServer LAN: a trap for each event, some with another one for its end.
nShield: the numbers of its notifications are not public knowledge; map them in the configuration.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hsm_agent.settings.regex import compile_pattern
from hsm_agent.settings.types import Interval, Strict
from hsm_agent.text import one_line
from hsm_agent.wire.snmp.ber import Undecodable, parse_oid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hsm_agent.settings.regex import Pattern
    from hsm_agent.wire.snmp.ber import Oid, VarBind
    from hsm_agent.wire.snmp.trap_receiver import Trap

MAX_NOTE_OCTETS = 96
"""Leaves room for the rest of a message of 255 octets."""
MAX_COMPONENT_OCTETS = 64
_MAX_LOOKED_AT = 1024
"""A text is looked at so far, by patterns too, however long a sender made it."""


class AlarmLevel(IntEnum):
    """What `vendor_alarm` reads."""

    CLEARED = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedText:
    """The parsed text of a trap: whether the alarm is over (None: not stated), and the note."""

    over: bool | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrapEntry:
    """What one trap means. Varbinds are named by their object, with or without an instance.

    `component` are objects that tell the alarms of one device apart; those a trap has are taken together. `note` is
    the object whose value is shown, None for all of `objects` the trap has. `pattern` must be found in the note, else
    the entry does not apply. `reads` takes the note apart where the vendor put more into it than words.
    """

    trap: Oid
    alarm: str
    level: AlarmLevel
    component: tuple[Oid, ...] = ()
    note: Oid | None = None
    objects: Mapping[Oid, str] = field(default_factory=dict)
    pattern: Pattern | None = None
    reads: Callable[[str], ParsedText] | None = None
    clear_after_seconds: float | None = None
    clears_itself: bool = True
    """Whether the vendor tells of the end; if not, it ends after `clear_after_seconds` or the source's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmChange:
    """What a trap says of one alarm. `ends` says that nothing else will end it."""

    alarm: str
    component: str
    level: AlarmLevel
    note: str
    ends: bool = False
    clear_after_seconds: float | None = None
    """None: after the time of the source."""


class TrapTable:
    """Entries by trap."""

    def __init__(self, entries: Iterable[TrapEntry]) -> None:
        self._entries: dict[Oid, list[TrapEntry]] = defaultdict(list)
        for entry in entries:
            self._entries[entry.trap].append(entry)
        self.alarms = frozenset(entry.alarm for entry in entries)

    def read(self, trap: Trap) -> tuple[AlarmChange, ...]:
        """What the trap says, one change for each entry that applies; nothing if no entry knows it."""
        entries = self._entries.get(trap.oid) or self._entries.get(trap.plain_oid) or ()
        found = (_change(entry, trap) for entry in entries)
        return tuple(change for change in found if change is not None)


def damage(trap: Trap) -> str:
    """What of a trap could not be decoded, in words; empty for a sound one."""
    found = (one.value.reason for one in trap.varbinds if isinstance(one.value, Undecodable))
    return next(found, "")


def _change(entry: TrapEntry, trap: Trap) -> AlarmChange | None:
    """What an entry makes of the trap. One that is damaged ends nothing but what it surely names."""
    text = _note(entry, trap)
    if entry.pattern is not None and (_is_damaged(entry.note, trap) or not entry.pattern.fits(text)):
        return None
    unsure = any(_is_damaged(oid, trap) for oid in entry.component)
    level, note, ends = entry.level, text, not entry.clears_itself
    if entry.reads is not None:
        parsed = entry.reads(text)
        level = AlarmLevel.CLEARED if parsed.over else entry.level
        note, ends = parsed.note, ends or parsed.over is None
    if unsure and level is AlarmLevel.CLEARED:
        return None
    found = [value for oid in entry.component if (value := _value(trap, oid)) is not None]
    components = [shown(one, MAX_COMPONENT_OCTETS) for one in found if not isinstance(one.value, Undecodable)]
    return AlarmChange(
        alarm=entry.alarm,
        component=cut(" ".join(one for one in components if one), MAX_COMPONENT_OCTETS),
        level=level,
        note=cut(note, MAX_NOTE_OCTETS),
        # Raised of something that was not understood, it may never be ended by its name.
        ends=(ends or unsure) and level is not AlarmLevel.CLEARED,
        clear_after_seconds=entry.clear_after_seconds,
    )


def _note(entry: TrapEntry, trap: Trap) -> str:
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


_LUNA: Oid = (1, 3, 6, 1, 4, 1, 23629, 1, 5, 2, 2)
_LUNA_REFERENCE: Oid = (*_LUNA, 1)
_LUNA_FIELDS = 5
_DATE = re.compile(r"\d{4} [A-Z][a-z]{2} \d{1,2} \d{2}:\d{2}:\d{2}")


def read_luna_reference(text: str) -> ParsedText:
    """The reference of a log line: `host:ip / logfile / date / process / 1`, in brackets or not.

    Logfile and date come in either order. 1 is asserted, 0 de-asserted. What has another form says nothing of an end,
    so that an alarm is raised rather than lost.
    """
    inner = text.strip().removeprefix("[").removesuffix("]")
    fields = [" ".join(field.split()) for field in re.split(r"\s+/\s*|/\s+", inner)]
    if len(fields) != _LUNA_FIELDS or fields[-1] not in {"0", "1"}:
        return ParsedText(over=None, note=text)
    host, first, second, process, bit = fields
    date, logfile = (first, second) if _DATE.fullmatch(first) else (second, first)
    return ParsedText(over=bit == "0", note=f"{process} in {logfile} of {host}, {date}")


def _luna(number: int, alarm: str, level: AlarmLevel, *, clears_itself: bool) -> TrapEntry:
    return TrapEntry(
        trap=(*_LUNA, number),
        alarm=alarm,
        level=level,
        note=_LUNA_REFERENCE,
        reads=read_luna_reference,
        clears_itself=clears_itself,
    )


LUNA = (
    _luna(2, "fan", AlarmLevel.WARNING, clears_itself=True),
    _luna(3, "power-supply", AlarmLevel.WARNING, clears_itself=True),
    _luna(4, "motherboard", AlarmLevel.CRITICAL, clears_itself=True),
    _luna(5, "disk", AlarmLevel.CRITICAL, clears_itself=False),
    _luna(6, "ntls", AlarmLevel.WARNING, clears_itself=False),
    _luna(7, "crypto", AlarmLevel.CRITICAL, clears_itself=False),
)
"""Only what the management controller watches (IPMI) has an end of its own."""

_UTIMACO: Oid = (1, 3, 6, 1, 4, 1, 3159, 1, 3)
_DEVICE: Oid = (*_UTIMACO, 1, 1)
_FAN: Oid = (*_UTIMACO, 1, 9)
_UTIMACO_OBJECTS: dict[Oid, str] = {
    (*_UTIMACO, 1, 1): "device",
    (*_UTIMACO, 1, 2): "error code",
    (*_UTIMACO, 1, 3): "old mode",
    (*_UTIMACO, 1, 4): "new mode",
    (*_UTIMACO, 1, 5): "temperature",
    (*_UTIMACO, 1, 7): "load",
    (*_UTIMACO, 1, 8): "clients",
    (*_UTIMACO, 1, 9): "fan",
    (*_UTIMACO, 1, 10): "fan speed",
}


def _utimaco(number: int, alarm: str, level: AlarmLevel, *, clears_itself: bool = False) -> TrapEntry:
    return TrapEntry(
        trap=(*_UTIMACO, 0, number),
        alarm=alarm,
        level=level,
        component=(_DEVICE, _FAN),
        objects=_UTIMACO_OBJECTS,
        clears_itself=clears_itself,
    )


def _pair(number: int, alarm: str, level: AlarmLevel) -> tuple[TrapEntry, TrapEntry]:
    """An event, and the notification behind it that it is over."""
    return (
        _utimaco(number, alarm, level, clears_itself=True),
        _utimaco(number + 1, alarm, AlarmLevel.CLEARED, clears_itself=True),
    )


UTIMACO = (
    _utimaco(1, "error", AlarmLevel.WARNING),
    _utimaco(2, "mode-change", AlarmLevel.WARNING),
    _utimaco(3, "alarm-temperature-low", AlarmLevel.CRITICAL),
    _utimaco(4, "alarm-temperature-high", AlarmLevel.CRITICAL),
    _utimaco(5, "alarm-inner-foil", AlarmLevel.CRITICAL),
    _utimaco(6, "alarm-outer-foil", AlarmLevel.CRITICAL),
    _utimaco(7, "alarm-power-failed", AlarmLevel.CRITICAL),
    _utimaco(8, "alarm-power-low", AlarmLevel.CRITICAL),
    _utimaco(9, "alarm-power-high", AlarmLevel.CRITICAL),
    _utimaco(10, "alarm-invalid-master-key", AlarmLevel.CRITICAL),
    _utimaco(11, "alarm-external-erase", AlarmLevel.CRITICAL),
    *_pair(12, "temperature-high", AlarmLevel.WARNING),
    *_pair(14, "temperature-low", AlarmLevel.WARNING),
    _utimaco(16, "battery-low", AlarmLevel.WARNING),
    _utimaco(17, "lan-battery-low", AlarmLevel.WARNING),
    *_pair(18, "load-high", AlarmLevel.WARNING),
    *_pair(20, "clients-high", AlarmLevel.WARNING),
    _utimaco(22, "boot", AlarmLevel.WARNING),
    _utimaco(22, "shut-down", AlarmLevel.CLEARED, clears_itself=True),
    _utimaco(23, "shut-down", AlarmLevel.CRITICAL, clears_itself=True),
    *_pair(24, "fan-speed-low", AlarmLevel.WARNING),
    _utimaco(26, "power-supply", AlarmLevel.WARNING),
)

VENDORS: dict[str, tuple[TrapEntry, ...]] = {"luna": LUNA, "utimaco": UTIMACO}
"""By the name in the configuration."""


MOST_MAPS = 256
MOST_INSTRUCTIONS = 10_000
"""Of all patterns of a listener: what a trap may cost, on the event loop."""
_LEAST_SUBIDS, _HIGHEST_ROOT = 2, 2  # X.690 8.19.4
_NAME = r"^[a-z0-9][a-z0-9_-]{0,47}$"


def _oid(value: object) -> object:
    if not isinstance(value, str):
        return value
    oid = parse_oid(value)
    if len(oid) < _LEAST_SUBIDS or oid[0] > _HIGHEST_ROOT:
        raise ValueError(f"not an object identifier: {value!r} (write 1.3.6.1.4.1.N.M, in quotes)")
    return oid


def _pattern(text: str) -> str:
    compile_pattern(text)
    return text


OidText = Annotated[tuple[int, ...], BeforeValidator(_oid)]


class TrapMapSettings(Strict):
    """What a trap means that the built-in tables do not know, or mean otherwise."""

    trap: OidText
    alarm: Annotated[str, Field(pattern=_NAME)]
    does: Literal["raise", "clear"] = "raise"
    severity: Literal["warning", "critical"] = "warning"
    resource: OidText | None = None
    text: OidText | None = None
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    clear_after: Interval | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.pattern is not None and self.text is None:
            raise ValueError("pattern: looks at `text`, which is missing")
        if self.does == "clear" and self.clear_after is not None:
            raise ValueError("clear_after: is for what raises")
        return self

    def entry(self, *, is_cleared_by_a_map: bool) -> TrapEntry:
        """The entry of this map. The alarm ends by time if it is given one, or if no map clears it."""
        raised = AlarmLevel.CRITICAL if self.severity == "critical" else AlarmLevel.WARNING
        return TrapEntry(
            trap=self.trap,
            alarm=self.alarm,
            level=AlarmLevel.CLEARED if self.does == "clear" else raised,
            component=(self.resource,) if self.resource else (),
            note=self.text,
            pattern=compile_pattern(self.pattern) if self.pattern is not None else None,
            clear_after_seconds=self.clear_after,
            clears_itself=is_cleared_by_a_map and self.clear_after is None,
        )


def combined(maps: Sequence[TrapMapSettings], vendors: Iterable[str]) -> TrapTable:
    """What traps mean: an own map of a trap stands instead of the built-in ones.

    Raises ValueError for maps that could hold up the listener, because their patterns are looked for one after the
    other, and for a map that clears what nothing raises: with a misspelt name an alarm would never be cleared.
    """
    if len(maps) > MOST_MAPS:
        raise ValueError(f"maps: {MOST_MAPS} at most; these are {len(maps)}")
    built_in = [entry for vendor in vendors for entry in VENDORS[vendor]]
    raised = {one.alarm for one in maps if one.does == "raise"} | {entry.alarm for entry in built_in}
    for index, one in enumerate(maps):
        if one.alarm not in raised:
            raise ValueError(f"maps.{index}.alarm: nothing raises {one.alarm!r}")
    cleared = {one.alarm for one in maps if one.does == "clear"}
    own = [one.entry(is_cleared_by_a_map=one.alarm in cleared) for one in maps]
    size = sum(entry.pattern.instructions for entry in own if entry.pattern is not None)
    if size > MOST_INSTRUCTIONS:
        raise ValueError(f"maps: the patterns together repeat too much (size {size}; at most {MOST_INSTRUCTIONS})")
    mapped = {entry.trap for entry in own}
    return TrapTable((*own, *(entry for entry in built_in if entry.trap not in mapped)))
