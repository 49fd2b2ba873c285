"""The identity and the resource name of tokens: which are watched, expected, missing. Pure.

A token is identified by its serial and label, never by its slot number: the module assigns that number at
C_Initialize, and may assign it to another token the next time.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

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


def literal(globs: Iterable[str]) -> list[str]:
    """The names without a wildcard: those tokens are expected."""
    return [glob for glob in globs if not _WILDCARDS & set(glob)]


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
    for name in literal(globs):
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
