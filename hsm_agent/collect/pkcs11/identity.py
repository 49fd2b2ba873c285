"""What tokens are called, which are watched, which are expected, which were here before. Pure.

A token is told from others by its serial and label, never by the number of its slot: that number is the module's own,
for as long as it is initialised, and may be another's afterwards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

_WILDCARDS = frozenset("*?[")
MOST_REMEMBERED = 1024

Key = tuple[str, str, int]
"""A token as steps speak of it: label, serial, and the slot where these do not tell it from another (else -1)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one token from another."""

    label: str
    serial: str


def keys(tokens: Mapping[int, Identity]) -> dict[int, Key]:
    """A key for the token of each slot."""
    alike = Counter(tokens.values())
    return {slot: (token.label, token.serial, -1 if alike[token] == 1 else slot) for slot, token in tokens.items()}


def resources(tokens: Mapping[int, Identity], seen: Mapping[str, Identity]) -> dict[int, str]:
    """A name for the token of each slot: its label, or its serial where that is blank or another token has it.

    Who was seen first with a label keeps it, whether it is here or missing. What nothing tells from another is called
    by its slot.
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


def _known_names(tokens: Mapping[int, Identity], seen: Mapping[str, Identity]) -> dict[int, str]:
    """The names of tokens that were here before, as far as they are still right."""
    named: dict[int, str] = {}
    for name, before in seen.items():
        # Who had the label was forgotten: it is free for the next one.
        freed = before.label and name != before.label and before.label not in seen
        if name not in {before.label, before.serial} or freed:
            continue
        slot = next((slot for slot, token in tokens.items() if token == before and slot not in named), None)
        if slot is not None:
            named[slot] = name
    return named


def _is_here(token: Identity, present: Collection[Identity], seen: Mapping[str, Identity]) -> bool:
    """Whether a token seen before is present: as it was, or under a label that nobody of its serial had before."""
    if token in present:
        return True
    others = set(seen.values())
    return any(found.serial and found.serial == token.serial and found not in others for found in present)


def watched(token: Identity, globs: Sequence[str]) -> bool:
    """Whether the configuration names this token, by label or by serial: literally, or by a glob.

    A label that holds `[`, `*` or `?` is named as it is written.
    """
    return any(glob_matches(name, glob) for glob in globs for name in (token.label, token.serial))


def literal(globs: Iterable[str]) -> list[str]:
    """The names without a wildcard: those tokens are expected."""
    return [glob for glob in globs if not _WILDCARDS & set(glob)]


def expected(token: Identity, globs: Sequence[str]) -> bool:
    """Whether the configuration names exactly this token."""
    return any(name in {token.label, token.serial} for name in globs if name)


def missing(
    present: Mapping[str, Identity], seen: Mapping[str, Identity], globs: Sequence[str]
) -> dict[str, tuple[Identity, bool]]:
    """Tokens that should be here and are not: resource, who it was, and whether it is expected.

    A token is missed by its serial: one that is back under another label is not missing, and one of the same label does
    not stand for it.
    """
    gone: dict[str, tuple[Identity, bool]] = {}
    for resource, token in seen.items():
        if resource in present or _is_here(token, present.values(), seen) or not watched(token, globs):
            continue
        gone[resource] = (token, expected(token, globs))
    for name in literal(globs):
        everyone = [*present.values(), *(token for token, _ in gone.values())]
        if name not in present and not any(name in {token.label, token.serial} for token in everyone):
            gone[name] = (Identity(name, ""), True)
    return gone


def remember(
    present: Mapping[str, Identity], seen: Mapping[str, Identity], globs: Sequence[str]
) -> dict[str, Identity]:
    """Who is to be missed from now on: everybody present, and those still missing. Bounded."""
    still = {name: token for name, (token, _) in missing(present, seen, globs).items() if name in seen}
    kept = dict(present)
    for name, token in still.items():
        if len(kept) >= MOST_REMEMBERED:
            break
        kept[name] = token
    return kept
