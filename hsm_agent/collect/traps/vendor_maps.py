"""Which traps vendors send, as data: numbers and meanings in our own words.

Luna: one varbind, the reference of a log line; its last field says whether the event was asserted or de-asserted.
Utimaco CryptoServer LAN: a trap for each event, some with another one for its end.
nShield: the numbers of its notifications are not public knowledge; map them in the configuration.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hsm_agent.collect.traps.trap_maps import Entry, Level, Said

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

_LUNA: Oid = (1, 3, 6, 1, 4, 1, 23629, 1, 5, 2, 2)
_LUNA_REFERENCE: Oid = (*_LUNA, 1)
_LUNA_FIELDS = 5
_DATE = re.compile(r"\d{4} [A-Z][a-z]{2} \d{1,2} \d{2}:\d{2}:\d{2}")


def read_luna_reference(text: str) -> Said:
    """The reference of a log line: `host:ip / logfile / date / process / 1`, in brackets or not.

    Logfile and date come in either order. 1 is asserted, 0 de-asserted. What has another form says nothing of an end,
    so that an alarm is raised rather than lost.
    """
    inner = text.strip().removeprefix("[").removesuffix("]")
    fields = [" ".join(field.split()) for field in re.split(r"\s+/\s*|/\s+", inner)]
    if len(fields) != _LUNA_FIELDS or fields[-1] not in {"0", "1"}:
        return Said(over=None, note=text)
    host, first, second, process, bit = fields
    date, logfile = (first, second) if _DATE.fullmatch(first) else (second, first)
    return Said(over=bit == "0", note=f"{process} in {logfile} of {host}, {date}")


def _luna(number: int, alarm: str, level: Level, *, clears_itself: bool) -> Entry:
    return Entry(
        trap=(*_LUNA, number),
        alarm=alarm,
        level=level,
        note=_LUNA_REFERENCE,
        reads=read_luna_reference,
        clears_itself=clears_itself,
    )


LUNA = (
    _luna(2, "fan", Level.WARNING, clears_itself=True),
    _luna(3, "power-supply", Level.WARNING, clears_itself=True),
    _luna(4, "motherboard", Level.CRITICAL, clears_itself=True),
    _luna(5, "disk", Level.CRITICAL, clears_itself=False),
    _luna(6, "ntls", Level.WARNING, clears_itself=False),
    _luna(7, "crypto", Level.CRITICAL, clears_itself=False),
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


def _utimaco(number: int, alarm: str, level: Level, *, clears_itself: bool = False) -> Entry:
    return Entry(
        trap=(*_UTIMACO, 0, number),
        alarm=alarm,
        level=level,
        component=(_DEVICE, _FAN),
        objects=_UTIMACO_OBJECTS,
        clears_itself=clears_itself,
    )


def _pair(number: int, alarm: str, level: Level) -> tuple[Entry, Entry]:
    """An event, and the notification behind it that it is over."""
    return (
        _utimaco(number, alarm, level, clears_itself=True),
        _utimaco(number + 1, alarm, Level.CLEARED, clears_itself=True),
    )


UTIMACO = (
    _utimaco(1, "error", Level.WARNING),
    _utimaco(2, "mode-change", Level.WARNING),
    _utimaco(3, "alarm-temperature-low", Level.CRITICAL),
    _utimaco(4, "alarm-temperature-high", Level.CRITICAL),
    _utimaco(5, "alarm-inner-foil", Level.CRITICAL),
    _utimaco(6, "alarm-outer-foil", Level.CRITICAL),
    _utimaco(7, "alarm-power-failed", Level.CRITICAL),
    _utimaco(8, "alarm-power-low", Level.CRITICAL),
    _utimaco(9, "alarm-power-high", Level.CRITICAL),
    _utimaco(10, "alarm-invalid-master-key", Level.CRITICAL),
    _utimaco(11, "alarm-external-erase", Level.CRITICAL),
    *_pair(12, "temperature-high", Level.WARNING),
    *_pair(14, "temperature-low", Level.WARNING),
    _utimaco(16, "battery-low", Level.WARNING),
    _utimaco(17, "lan-battery-low", Level.WARNING),
    *_pair(18, "load-high", Level.WARNING),
    *_pair(20, "clients-high", Level.WARNING),
    _utimaco(22, "boot", Level.WARNING),
    _utimaco(22, "shut-down", Level.CLEARED, clears_itself=True),
    _utimaco(23, "shut-down", Level.CRITICAL, clears_itself=True),
    *_pair(24, "fan-speed-low", Level.WARNING),
    _utimaco(26, "power-supply", Level.WARNING),
)

VENDORS: dict[str, tuple[Entry, ...]] = {"luna": LUNA, "utimaco": UTIMACO}
"""By the name in the configuration."""
