"""What tokens are called, which are watched, which are expected, which were here before. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.globs import glob_matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_WILDCARDS = frozenset("*?[")
MOST_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one token from another."""

    label: str
    serial: str


def resources(tokens: Mapping[int, Identity]) -> dict[int, str]:
    """A name for the token of each slot: label, or serial where labels collide or are blank, or the slot itself."""
    labels = Counter(token.label for token in tokens.values())
    named = {slot: token.label for slot, token in tokens.items() if token.label and labels[token.label] == 1}
    rest = {slot: token for slot, token in tokens.items() if slot not in named}
    serials = Counter(token.serial for token in rest.values())
    taken = set(named.values())
    for slot, token in rest.items():
        usable = token.serial and serials[token.serial] == 1 and token.serial not in taken
        named[slot] = token.serial if usable else f"slot {slot}"
    return named


def watched(token: Identity, globs: Sequence[str]) -> bool:
    """Whether the configuration's globs name this token, by label or by serial."""
    return any(glob_matches(token.label, glob) or glob_matches(token.serial, glob) for glob in globs)


def literal(globs: Iterable[str]) -> list[str]:
    """The names without a wildcard: those tokens are expected."""
    return [glob for glob in globs if not _WILDCARDS & set(glob)]


def expected(token: Identity, globs: Sequence[str]) -> bool:
    """Whether the configuration names exactly this token."""
    return any(name in {token.label, token.serial} for name in literal(globs))


def missing(
    present: Mapping[str, Identity], seen: Mapping[str, Identity], globs: Sequence[str]
) -> dict[str, tuple[Identity, bool]]:
    """Tokens that should be here and are not: resource, who it was, and whether it is expected.

    A token that is back under another name (its label collides now, or no longer) is not missing.
    """
    serials = {token.serial for token in present.values() if token.serial}
    gone: dict[str, tuple[Identity, bool]] = {}
    for resource, token in seen.items():
        if resource in present or token.serial in serials or not watched(token, globs):
            continue
        gone[resource] = (token, expected(token, globs))
    for name in literal(globs):
        everyone = [*present.values(), *(token for token, _ in gone.values())]
        if not any(name in {token.label, token.serial} for token in everyone):
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
