"""CK_SLOT_INFO and CK_TOKEN_INFO decoded, and the identity and the resource name of tokens. Pure.

Every way of reporting nothing becomes None, never a number. A token is identified by its serial and label, never by
its slot number: the module assigns that number at C_Initialize, and may assign it to another token the next time.
It must not import dataclasses: the Nagios plugin needs this module, and they take longer than its sweep.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.text import glob_matches, harmless

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

NOT_REPORTED = "the module does not report it"

CKF_USER_PIN_INITIALIZED = 0x8
CKF_TOKEN_INITIALIZED = 0x400


class Slot(NamedTuple):
    """CK_SLOT_INFO."""

    description: str
    manufacturer: str
    hardware: str
    firmware: str


class Token(NamedTuple):
    """CK_TOKEN_INFO. Numbers are as the module gave them; `ulong_bytes` is the size of its CK_ULONG in bytes."""

    label: str
    manufacturer: str
    model: str
    serial: str
    flags: int
    max_sessions: int
    sessions: int
    max_rw_sessions: int
    rw_sessions: int
    max_pin: int
    total_public: int
    free_public: int
    total_private: int
    free_private: int
    hardware: str
    firmware: str
    utc_time: bytes
    ulong_bytes: int

    @property
    def initialized(self) -> bool:
        """Whether somebody has initialised the token; a token that is not has nothing to watch.

        CKF_TOKEN_INITIALIZED came with version 2.11, and older modules never set it; but a token with a user PIN
        was initialised.
        """
        return bool(self.flags & (CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED))


def text(field: bytes) -> str:
    """A blank-padded field as text. Malformed UTF-8 and what is not fit to be shown become U+FFFD, never an error.

    Some modules end it with a NUL, as C does: what stands behind is whatever was there before, and no text.
    """
    return harmless(field.partition(b"\0")[0].strip(b" ").decode("utf-8", "replace"))


_ULONG = {8: "Q"}
"""The format of a CK_ULONG by its bytes; of any other number it is taken for 32 bits."""


def decode_slot(data: bytes, ulong_bytes: int) -> Slot:
    """Decode CK_SLOT_INFO; its offsets are the same packed and natural."""
    order = "<" if sys.byteorder == "little" else ">"
    description, manufacturer, _, *versions = struct.unpack_from(f"{order}64s32s{_ULONG.get(ulong_bytes, 'I')}4B", data)
    return Slot(
        description=text(description),
        manufacturer=text(manufacturer),
        hardware=f"{versions[0]}.{versions[1]}",
        firmware=f"{versions[2]}.{versions[3]}",
    )


def decode_token(data: bytes, ulong_bytes: int) -> Token:
    """Decode CK_TOKEN_INFO; its offsets are the same packed and natural."""
    order = "<" if sys.byteorder == "little" else ">"
    fields = struct.unpack_from(f"{order}32s32s16s16s11{_ULONG.get(ulong_bytes, 'I')}4B16s", data)
    label, manufacturer, model, serial, flags, max_all, all_open, max_rw, rw_open, max_pin, _, *memory = fields[:15]
    return Token(
        label=text(label),
        manufacturer=text(manufacturer),
        model=text(model),
        serial=text(serial),
        flags=flags,
        max_sessions=max_all,
        sessions=all_open,
        max_rw_sessions=max_rw,
        rw_sessions=rw_open,
        max_pin=max_pin,
        total_public=memory[0],
        free_public=memory[1],
        total_private=memory[2],
        free_private=memory[3],
        hardware=f"{fields[15]}.{fields[16]}",
        firmware=f"{fields[17]}.{fields[18]}",
        utc_time=fields[19],
        ulong_bytes=ulong_bytes,
    )


def count(value: int, ulong_bytes: int) -> int | None:
    """A number, or None for the spellings of CK_UNAVAILABLE_INFORMATION seen in real modules.

    ~0 by the standard, ~0 - 1 by opencryptoki, and 32 bits of ones by modules that filled half a word.
    """
    highest = (1 << (8 * ulong_bytes)) - 1
    return None if value >= highest - 1 or value == 0xFFFFFFFF else value  # noqa: PLR2004 - ~0 of 32 bits


def limit(value: int, ulong_bytes: int) -> int | None:
    """As `count`, and 0 is CK_EFFECTIVELY_INFINITE: the standard says so of the two session limits only."""
    return None if value == 0 else count(value, ulong_bytes)


class Memory(NamedTuple):
    """Fill of a memory; `reason` says why a figure is missing."""

    total: int | None
    free: int | None
    used: int | None
    reason: str = ""

    @property
    def percent(self) -> float | None:
        """The share of the total that is used; above 100 where more is used than the operator's figure allows for."""
        return None if self.used is None or not self.total else 100 * self.used / self.total


def memory(total: int | None, free: int | None, given: int | None = None) -> Memory:
    """How full a memory is. `given` is the operator's own figure of its size.

    What is used is what the token reports: its total less what is free. A figure of the operator's is what that is
    measured against; only where the token reports no total, or less than is free, what is used is taken from it.
    """
    dummy = total is not None and total <= 1  # 0/0 and 1/1 are real modules' way to say nothing
    reported = None if dummy else total
    if free is None or (dummy and free <= 1):
        return Memory(total=given if given is not None else reported, free=None, used=None, reason=NOT_REPORTED)
    usable = reported is not None and reported >= free
    size = reported if usable else given
    if size is None:
        why = NOT_REPORTED if reported is None else f"{free} bytes free of {reported} cannot be"
        return Memory(total=None, free=free if reported is None else None, used=None, reason=why)
    if free > size:
        return Memory(total=given, free=None, used=None, reason=f"{free} bytes free of {size} cannot be")
    used = size - free
    whole = size if given is None else given
    return Memory(total=whole, free=max(0, whole - used), used=used)


_WILDCARDS = frozenset("*?[")
MOST_REMEMBERED = 1024
_FACTOR = 2_328_306
_MOST_PARTITIONS = 10_000
_OWN_DIGITS = range(5, 8)
_OLD_DIGITS = 9
_YOUNG_DIGITS = range(11, 17)

TokenKey = tuple[str, str, int]
"""Key of a token across slots: label, serial, and the slot where these two are not unique (else -1)."""


class TokenIdentity(NamedTuple):
    """Label and serial number of a token."""

    label: str
    serial: str


def keys(tokens: Mapping[int, TokenIdentity]) -> dict[int, TokenKey]:
    """A key for the token of each slot."""
    alike = Counter(tokens.values())
    return {slot: (token.label, token.serial, -1 if alike[token] == 1 else slot) for slot, token in tokens.items()}


def resources(tokens: Mapping[int, TokenIdentity], seen: Mapping[str, TokenIdentity]) -> dict[int, str]:
    """A name for the token of each slot: its label, or its serial where that is blank or another token has it.

    The token that was seen first with a label keeps it, whether it is present or missing. A token that nothing
    distinguishes from another is named by its slot.
    """
    named = _known_names(tokens, seen)
    held = {name for name, token in seen.items() if not _is_here(token, tokens.values(), seen)}
    alike = Counter(tokens.values())
    serials = Counter(token.serial for token in tokens.values())
    for slot, token in tokens.items():
        taken = held.union(named.values())
        if slot in named:
            continue
        if token.label and token.label not in taken and alike[token] == 1:
            named[slot] = token.label
        elif token.serial and token.serial not in taken and serials[token.serial] == 1:
            named[slot] = token.serial
        else:
            named[slot] = f"slot {slot}"
    return named


def _known_names(tokens: Mapping[int, TokenIdentity], seen: Mapping[str, TokenIdentity]) -> dict[int, str]:
    """Names that tokens of earlier polls keep."""
    named: dict[int, str] = {}
    for name, before in seen.items():
        # The token that had the label was forgotten by an operator: the label is free for the next one.
        freed = before.label and name != before.label and before.label not in seen
        if name not in {before.label, before.serial} or freed:
            continue
        slot = next((slot for slot, token in tokens.items() if token == before and slot not in named), None)
        if slot is not None:
            named[slot] = name
    return named


def _is_here(token: TokenIdentity, present: Collection[TokenIdentity], seen: Mapping[str, TokenIdentity]) -> bool:
    """Whether a token seen before is present: as it was, or under a label that no token of its serial had before."""
    if token in present:
        return True
    others = set(seen.values())
    return any(found.serial and found.serial == token.serial and found not in others for found in present)


def watched(token: TokenIdentity, globs: Sequence[str]) -> bool:
    """Whether the configuration names this token, by label or by serial: literally, or by a glob.

    A label that holds `[`, `*` or `?` is named as it is written.
    """
    return any(glob_matches(name, glob) for glob in globs for name in (token.label, token.serial))


def expected(token: TokenIdentity, globs: Sequence[str]) -> bool:
    """Whether the configuration names exactly this token."""
    return any(name in {token.label, token.serial} for name in globs if name)


def missing(
    present: Mapping[str, TokenIdentity], seen: Mapping[str, TokenIdentity], globs: Sequence[str]
) -> dict[str, tuple[TokenIdentity, bool]]:
    """Tokens that should be present and are not: by resource, the identity and whether it is expected.

    A token is missed by its serial: one that is back under another label is not missing, and one of the same label does
    not stand for it.
    """
    gone: dict[str, tuple[TokenIdentity, bool]] = {}
    for resource, token in seen.items():
        if resource in present or _is_here(token, present.values(), seen) or not watched(token, globs):
            continue
        gone[resource] = (token, expected(token, globs))
    for name in (glob for glob in globs if not _WILDCARDS & set(glob)):
        everyone = [*present.values(), *(token for token, _ in gone.values())]
        if name not in present and not any(name in {token.label, token.serial} for token in everyone):
            gone[name] = (TokenIdentity(name, ""), True)
    return gone


def remember(
    present: Mapping[str, TokenIdentity], seen: Mapping[str, TokenIdentity], globs: Sequence[str]
) -> dict[str, TokenIdentity]:
    """Tokens to detect as missing from now on: those present, and those still missing. Bounded."""
    still = {name: token for name, (token, _) in missing(present, seen, globs).items() if name in seen}
    kept = dict(present)
    for name, token in still.items():
        if len(kept) >= MOST_REMEMBERED:
            break
        kept[name] = token
    return kept


def hsm_of(serial: str) -> str:
    """Serial number of the HSM that a Luna partition is on, from the partition's own; empty if it has no known form.

    No call of the library tells it. Up to firmware 6.22 a partition's serial number is the HSM's followed by three
    digits; from then on it is the HSM's times 2328306 (10^16 / 2^32, so that 32 bits fit into 16 digits) plus a small
    number. The vendor writes only that it changed; the factor was found in serial numbers that it has published
    (HSM 66331: partitions 154438865287 and 154438865304). An administrative partition has the HSM's own.
    """
    if not (serial.isascii() and serial.isdigit()):
        return ""
    if len(serial) in _OWN_DIGITS:
        return serial
    if len(serial) == _OLD_DIGITS:
        return serial[:-3]
    hsm, partition = divmod(int(serial), _FACTOR)
    return str(hsm) if len(serial) in _YOUNG_DIGITS and partition < _MOST_PARTITIONS else ""
