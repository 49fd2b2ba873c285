"""The tokens that a source's commands have listed, on disk: a restart still knows whom to miss, and by which name.

A command that is not configured any more misses nobody: what it listed is dropped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hsm_agent.collect.command.parsers.text import Identity
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hsm_agent.collect.command.identity import Known

log = logging.getLogger(__name__)

_MOST_BYTES = 16 * 1024 * 1024
_DISK_SECONDS = 5.0


def digest_of(words: Sequence[str], parser: str) -> str:
    """What a run is known by in the file, whatever its place in the configuration is."""
    return hashlib.sha256(json.dumps([*words, parser]).encode()).hexdigest()[:32]


class TokenMemory:
    """One small file in the state directory. What can't be read or written is said in the log, and done without."""

    def __init__(self, directory: Path, source: str, runs: Sequence[str], *, kind: str = "command") -> None:
        """`runs` are the runs' digests, in their order."""
        self._path = directory / f"{kind}-{quote(source, safe='')}.json"
        self._runs = tuple(runs)
        self._kept: Known | None = None
        self._disk = Lane(str(self._path))

    async def load(self) -> Known:
        """Tokens seen before, by run and name."""
        try:
            self._kept = await self._disk.call(self._read, seconds=_DISK_SECONDS)
        except StuckError as error:
            log.warning("tokens missing since the last run are not noticed: %s", error)
        return _copy(self._kept or {})

    async def keep(self, seen: Known) -> None:
        """Write the file if it would differ."""
        if seen == self._kept:
            return
        self._kept = _copy(seen)
        try:
            await self._disk.call(partial(self._write, self._kept), seconds=_DISK_SECONDS)
        except StuckError as error:
            self._kept = None
            log.warning("a restart will not miss these tokens: %s", error)

    def _read(self) -> Known:
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(_MOST_BYTES))["runs"]
            kept = {str(digest): _tokens(tokens) for digest, tokens in found.items()}
            return {run: kept[digest] for run, digest in enumerate(self._runs) if digest in kept}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s is not usable, tokens missing since the last run are not noticed: %s", self._path, error)
            return {}

    def _write(self, seen: Known) -> None:
        runs = {
            self._runs[run]: {name: [token.label, token.serial, token.place] for name, token in tokens.items()}
            for run, tokens in seen.items()
        }
        new = self._path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(new, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump({"runs": runs}, file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            self._kept = None
            log.warning("%s cannot be written, a restart will not miss these tokens: %s", self._path, error.strerror)


def _tokens(found: Mapping[str, Any]) -> dict[str, Identity]:
    tokens = {name: Identity(label, serial, place) for name, (label, serial, place) in found.items()}
    if not all(isinstance(text, str) for one in tokens.values() for text in (one.label, one.serial, one.place)):
        raise TypeError("a token's label, serial number and slot are texts")
    return tokens


def _copy(known: Known) -> Known:
    return {run: dict(tokens) for run, tokens in known.items() if tokens}
