"""Names of tokens and table rows that stay theirs, and the names that a restart must not forget.

A token is told from others by serial number and label, by its slot only where these do not do it. So of two tokens of
one label the one known first keeps the label as its name, whichever of them is there, and the other has its serial
number. A run of a command, or a table of an appliance, that is not configured any more misses nothing: what it listed
is dropped from the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hsm_agent.state import files as state_file
from hsm_agent.state.files import DamagedFileError
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """What tells one token from another; `place` is the slot it is in.

    `is_partial`: its label could not be read, which is not to say that it has none.
    """

    label: str
    serial: str
    place: str = ""
    is_partial: bool = False


KnownObjects = dict[int, dict[str, "ObjectIdentity"]]
"""Tokens by run and name, those known first before others."""

MOST_REMEMBERED = 1024
"""Of each run: beside those that are there, so many that are missing."""


def _all(token: ObjectIdentity) -> tuple[str, ...]:
    return token.label, token.serial, token.place


def _number_and_label(token: ObjectIdentity) -> tuple[str, ...]:
    return (token.label, token.serial) if token.label or token.serial else ()


def _label(token: ObjectIdentity) -> tuple[str, ...]:
    return (token.label,) if token.label else ()


def _number(token: ObjectIdentity) -> tuple[str, ...]:
    return (token.serial,) if token.serial else ()


class Names:
    """The names of one source's tokens."""

    def __init__(self) -> None:
        self.known: KnownObjects = {}

    def give(
        self,
        run: int,
        tokens: Mapping[str, ObjectIdentity],
        wishes: Callable[[str, ObjectIdentity], Iterator[str]] | None = None,
    ) -> tuple[dict[str, str], set[str]]:
        """Names of the tokens in a run's output, by what the output's facts call them; and names that are no more.

        A name is no more where its token has another one now; those of tokens that are missing stay. `wishes` are what
        a token may be called, best first and without end; by default label, serial number, place.
        """
        before = self.known.get(run, {})
        tokens = {key: _completed(token, before) for key, token in tokens.items()}
        again = _known_again(tokens, before)
        others = set(before) - set(again.values())
        given = {key: name for key, name in again.items() if name == tokens[key].label}
        rest = [key for key in tokens if key not in given]
        taken = others.union(given.values())
        for key in sorted(rest, key=lambda key: key not in again):  # those known before first
            had = again.get(key, "")
            first = (tokens[key].label, had if had and had != before[had].label else "")
            wished = chain(filter(None, first), (wishes or _wishes)(key, tokens[key]))
            given[key] = next(name for name in wished if self._is_free(run, name, tokens[key], taken))
            taken.add(given[key])
        known = {key: before[name] for key, name in again.items()}
        present = {
            name: replace(tokens[key], serial=_serial(tokens[key], known.get(key))) for key, name in given.items()
        }
        self._remember(run, present, others)
        return given, set(before) - set(self.known[run])

    def forget(self, name: str) -> bool:
        """Let a name go. False if it was nobody's."""
        runs = [tokens for tokens in self.known.values() if name in tokens]
        for tokens in runs:
            del tokens[name]
        return bool(runs)

    def _is_free(self, run: int, name: str, token: ObjectIdentity, taken: set[str]) -> bool:
        """Whether nobody has the name: in the other runs' outputs nobody else, as two may show the same token."""
        if name in taken:
            return False
        elsewhere = (tokens[name] for other, tokens in self.known.items() if other != run and name in tokens)
        return all(token.serial and _number_and_label(token) == _number_and_label(one) for one in elsewhere)

    def _remember(self, run: int, present: dict[str, ObjectIdentity], missing: set[str]) -> None:
        before = self.known.get(run, {})
        kept = [name for name in before if name in missing][-MOST_REMEMBERED:]
        stay = {name: present.get(name, token) for name, token in before.items() if name in present or name in kept}
        self.known[run] = {**stay, **present}


def _completed(token: ObjectIdentity, before: Mapping[str, ObjectIdentity]) -> ObjectIdentity:
    """With the label it had, where it could not be read now."""
    found = [one.label for one in before.values() if one.serial == token.serial] if token.is_partial else []
    return replace(token, label=found[0] if len(found) == 1 else "", is_partial=False) if token.is_partial else token


def _serial(token: ObjectIdentity, before: ObjectIdentity | None) -> str:
    return token.serial or ("" if before is None else before.serial)


def _known_again(tokens: Mapping[str, ObjectIdentity], before: Mapping[str, ObjectIdentity]) -> dict[str, str]:
    """The names that tokens have had, each for one of them."""
    again: dict[str, str] = {}
    for likeness in (_all, _number_and_label):  # as it was, or in another slot
        met = set(again.values())
        names = _by(likeness, ((name, one) for name, one in before.items() if name not in met))
        for key, token in tokens.items():
            found = names.get(likeness(token)) if key not in again else None
            if found:
                again[key] = found.pop(0)
    # Under another label, where the number is one token's only; there are modules that give all of theirs the same.
    here = _by(_number, tokens.items())
    for number, found in _by(_number, before.items()).items():
        keys = here.get(number, [])
        if len(keys) == len(found) == 1:
            again.setdefault(keys[0], found[0])
    # And without a number, where its line is damaged or its tool began to print it.
    met = set(again.values())
    names = _by(_label, ((name, one) for name, one in before.items() if name not in met))
    for key, token in tokens.items():
        found = names.get(_label(token), [])
        if key not in again and len(found) == 1 and "" in {token.serial, before[found[0]].serial}:
            again[key] = found.pop()
    return again


def _by(
    likeness: Callable[[ObjectIdentity], tuple[str, ...]], tokens: Iterable[tuple[str, ObjectIdentity]]
) -> dict[tuple[str, ...], list[str]]:
    """What tokens are called, by what they have in common; what says nothing is nobody's likeness."""
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, token in tokens:
        if likeness(token):
            found[likeness(token)].append(name)
    return found


def _wishes(key: str, token: ObjectIdentity) -> Iterator[str]:
    """What a token may be called, best first; there is always one more."""
    yield from (name for name in (token.label, token.serial, token.place, key) if name)
    number = 2
    while True:
        yield f"{key} ({number})"
        number += 1


log = logging.getLogger(__name__)

_DISK_SECONDS = 5.0


def digest_of(words: Sequence[str], parser: str) -> str:
    """What a run is known by in the file, whatever its place in the configuration is."""
    return hashlib.sha256(json.dumps([*words, parser]).encode()).hexdigest()[:32]


class SeenObjectsFile:
    """One small file in the state directory. What can't be read or written is said in the log, and done without."""

    def __init__(self, directory: Path, source: str, runs: Sequence[str], *, kind: str = "command") -> None:
        """`runs` are the runs' digests, in their order."""
        self._path = directory / f"{kind}-{quote(source, safe='')}.json"
        self._runs = tuple(runs)
        self._kept: KnownObjects | None = None
        self._disk = Lane(str(self._path))

    async def load(self) -> KnownObjects:
        """Tokens seen before, by run and name."""
        try:
            self._kept = await self._disk.call(self._read, seconds=_DISK_SECONDS)
        except StuckError as error:
            log.warning("tokens missing since the last run are not noticed: %s", error)
        return _copy(self._kept or {})

    async def keep(self, seen: KnownObjects) -> None:
        """Write the file if it would differ."""
        if seen == self._kept:
            return
        self._kept = _copy(seen)
        try:
            await self._disk.call(partial(self._write, self._kept), seconds=_DISK_SECONDS)
        except StuckError as error:
            self._kept = None
            log.warning("a restart will not miss these tokens: %s", error)

    def _read(self) -> KnownObjects:
        try:
            found = state_file.read_json(self._path)
            kept = {} if found is None else {str(digest): _tokens(tokens) for digest, tokens in found["runs"].items()}
        except OSError as error:
            log.warning("%s is not usable, tokens missing since the last run are not noticed: %s", self._path, error)
            return {}
        except (DamagedFileError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is not usable, tokens missing since the last run are not noticed: %s", self._path, error)
            with suppress(OSError):  # it stays where it is, then, and is overwritten by what is seen now
                state_file.set_aside(self._path)
            return {}
        return {run: kept[digest] for run, digest in enumerate(self._runs) if digest in kept}

    def _write(self, seen: KnownObjects) -> None:
        runs = {
            self._runs[run]: {name: [token.label, token.serial, token.place] for name, token in tokens.items()}
            for run, tokens in seen.items()
        }
        try:
            state_file.write_json(self._path, {"runs": runs})
        except OSError as error:
            self._kept = None
            log.warning("%s cannot be written, a restart will not miss these tokens: %s", self._path, error.strerror)


def _tokens(found: Mapping[str, Any]) -> dict[str, ObjectIdentity]:
    tokens = {name: ObjectIdentity(label, serial, place) for name, (label, serial, place) in found.items()}
    if not all(isinstance(text, str) for one in tokens.values() for text in (one.label, one.serial, one.place)):
        raise TypeError("a token's label, serial number and slot are texts")
    return tokens


def _copy(known: KnownObjects) -> KnownObjects:
    return {run: dict(tokens) for run, tokens in known.items() if tokens}
