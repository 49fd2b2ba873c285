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
from abc import ABC, abstractmethod
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
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
        # In this order: a token that is known keeps its name before a new one may take it, and the names of tokens that
        # are missing stay taken. Otherwise an alarm would go on under the name of another token.
        before = self.known.get(run, {})
        tokens = {key: _completed(token, before) for key, token in tokens.items()}
        again = _known_again(tokens, before)
        others = set(before) - set(again.values())
        given = {key: name for key, name in again.items() if name == tokens[key].label}
        rest = [key for key in tokens if key not in given]
        taken = others.union(given.values())
        for key in sorted(rest, key=lambda key: key not in again):  # those known before first
            # The label first, where another token that had it is forgotten by now; then the name it had, unless that
            # was a label which it has no more.
            had = again.get(key, "")
            first = (tokens[key].label, had if had and had != before[had].label else "")
            wished = chain(filter(None, first), (wishes or _wishes)(key, tokens[key]))
            given[key] = next(name for name in wished if self._is_free(run, name, tokens[key], taken))
            taken.add(given[key])
        known = {key: before[name] for key, name in again.items()}
        present = {
            # A serial that could not be read now stays what it was.
            name: tokens[key]
            if key not in known
            else replace(tokens[key], serial=tokens[key].serial or known[key].serial)
            for key, name in given.items()
        }
        self._remember(run, present, others)
        return given, set(before) - set(self.known[run])

    def forget(self, name: str) -> bool:
        """Stop remembering a name. False if no token has it."""
        runs = [tokens for tokens in self.known.values() if name in tokens]
        for tokens in runs:
            del tokens[name]
        return bool(runs)

    def _is_free(self, run: int, name: str, token: ObjectIdentity, taken: set[str]) -> bool:
        """Whether no other token has the name. Two runs may show the same token: then it has the name in both."""
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
    """Names of tokens by what they have in common; a token of which nothing is known is like no other."""
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
SeenThings = TypeVar("SeenThings")


def digest_of(words: Sequence[str], parser: str) -> str:
    """What a run is known by in the file, whatever its place in the configuration is."""
    return hashlib.sha256(json.dumps([*words, parser]).encode()).hexdigest()[:32]


class SeenFile(ABC, Generic[SeenThings]):
    """One small file in the state directory: `{member: entries}`. What can't be read or written is said in the log, and
    done without.
    """

    member: ClassVar[str]
    """The only member of the file's JSON object."""

    def __init__(self, directory: Path, kind: str, source: str) -> None:
        self._path = directory / f"{kind}-{quote(source, safe='')}.json"
        self._stored: dict[str, Any] | None = None
        """The entries in the file, as far as that is known."""
        self._disk = Lane(str(self._path))

    @abstractmethod
    def _decode(self, entries: dict[str, Any]) -> tuple[SeenThings, int]:
        """What was seen, and how many entries are damaged and left out. Raises ValueError, TypeError."""

    @abstractmethod
    def _encode(self, seen: SeenThings) -> dict[str, Any]:
        """The entries of the file; nothing in them is shared with `seen`, which changes."""

    async def load(self) -> SeenThings:
        """What was seen before; empty where there is no file, or none that can be read."""
        seen, is_stored = self._decode({})[0], False
        try:
            seen, is_stored = await self._disk.call(self._read, seconds=_DISK_SECONDS)
        except StuckError as error:
            log.warning("tokens missing since the last run are not noticed: %s", error)
        self._stored = self._encode(seen) if is_stored else None
        return seen

    async def keep(self, seen: SeenThings) -> None:
        """Write the file if it would differ."""
        entries = self._encode(seen)
        if entries == self._stored:
            return
        self._stored = entries
        try:
            await self._disk.call(
                partial(state_file.write_json, self._path, {self.member: entries}), seconds=_DISK_SECONDS
            )
        except StuckError as error:
            self._stored = None
            log.warning("a restart will not miss these tokens: %s", error)
        except OSError as error:
            self._stored = None
            log.warning("%s cannot be written, a restart will not miss these tokens: %s", self._path, error.strerror)

    def _read(self) -> tuple[SeenThings, bool]:
        """What was seen, and whether the file says just that."""
        damage = ""
        seen = self._decode({})[0]
        try:
            found = state_file.read_json(self._path)
            if found is None:
                return seen, True
            seen, damaged = self._decode(found[self.member])
            damage = f"{damaged} of {len(found[self.member])} entries are damaged" if damaged else ""
        except OSError as error:
            log.warning("%s is not usable, tokens missing since the last run are not noticed: %s", self._path, error)
            return seen, False
        except (DamagedFileError, ValueError, KeyError, TypeError, AttributeError) as error:
            damage = str(error)
        if damage:
            log.warning("%s is not usable, tokens missing since the last run are not noticed: %s", self._path, damage)
            with suppress(OSError):  # it stays where it is, then, and is overwritten by what is seen now
                state_file.set_aside(self._path)
        return seen, not damage


class SeenObjectsFile(SeenFile[KnownObjects]):
    """The tokens or rows that each run of a source has shown."""

    member = "runs"

    def __init__(self, directory: Path, source: str, runs: Sequence[str], *, kind: str = "command") -> None:
        """`runs` are the runs' digests, in their order."""
        super().__init__(directory, kind, source)
        self._runs = tuple(runs)

    def _decode(self, entries: dict[str, Any]) -> tuple[KnownObjects, int]:
        kept = {str(digest): _tokens(tokens) for digest, tokens in entries.items()}
        return {run: kept[digest] for run, digest in enumerate(self._runs) if digest in kept}, 0

    def _encode(self, seen: KnownObjects) -> dict[str, Any]:
        return {
            self._runs[run]: {name: [token.label, token.serial, token.place] for name, token in tokens.items()}
            for run, tokens in seen.items()
            if tokens
        }


def _tokens(found: dict[str, Any]) -> dict[str, ObjectIdentity]:
    tokens = {name: ObjectIdentity(label, serial, place) for name, (label, serial, place) in found.items()}
    if not all(isinstance(text, str) for one in tokens.values() for text in (one.label, one.serial, one.place)):
        raise TypeError("a token's label, serial number and slot are texts")
    return tokens
