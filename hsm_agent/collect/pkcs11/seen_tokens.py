"""Persists the tokens a source has seen, so that missing tokens are still detected after a restart."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hsm_agent.collect.pkcs11.token import TokenIdentity
from hsm_agent.state import files as state_file
from hsm_agent.state.files import DamagedFileError
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

_DISK_SECONDS = 5.0


class SeenTokensFile:
    """One small file in the state directory. Without it the source works too: errors only go to the log."""

    def __init__(self, directory: Path, source: str) -> None:
        self._path = directory / f"pkcs11-{quote(source, safe='')}.json"
        self._kept: dict[str, TokenIdentity] | None = None
        self._disk = Lane(str(self._path))

    async def load(self) -> dict[str, TokenIdentity]:
        """Tokens seen before, by resource."""
        try:
            self._kept = await self._disk.call(self._read, seconds=_DISK_SECONDS)
        except StuckError as error:
            log.warning("tokens missing since the last run are not noticed: %s", error)
        return dict(self._kept or {})

    async def keep(self, seen: Mapping[str, TokenIdentity]) -> None:
        """Write the file if it would differ."""
        if dict(seen) == self._kept:
            return
        self._kept = dict(seen)
        try:
            await self._disk.call(partial(self._write, self._kept), seconds=_DISK_SECONDS)
        except StuckError as error:
            self._kept = None
            log.warning("a restart will not miss these tokens: %s", error)

    def _read(self) -> dict[str, TokenIdentity]:
        try:
            found = state_file.read_json(self._path)
        except (OSError, DamagedFileError) as error:
            self._done_without(str(error))
            return {}
        if found is None:
            return {}
        tokens = found.get("tokens") if isinstance(found, dict) else None
        if not isinstance(tokens, dict):
            self._done_without(f"{self._path}: it lists no tokens")
            return {}
        known = {name: identity for name, token in tokens.items() if (identity := _identity(token)) is not None}
        if len(known) < len(tokens):
            self._done_without(f"{self._path}: {len(tokens) - len(known)} of {len(tokens)} entries are damaged")
        return known

    def _done_without(self, why: str) -> None:
        log.warning("not usable, tokens missing since the last run are not noticed: %s", why)
        with suppress(OSError):  # it stays where it is, then, and is overwritten by what is seen now
            state_file.set_aside(self._path)

    def _write(self, seen: Mapping[str, TokenIdentity]) -> None:
        tokens = {name: {"label": token.label, "serial": token.serial} for name, token in seen.items()}
        try:
            state_file.write_json(self._path, {"tokens": tokens})
        except OSError as error:
            self._kept = None
            log.warning("%s cannot be written, a restart will not miss these tokens: %s", self._path, error.strerror)


def _identity(token: Any) -> TokenIdentity | None:
    match token:
        case {"label": str() as label, "serial": str() as serial}:
            return TokenIdentity(label, serial)
        case _:
            return None
