"""The tokens a source has seen, on disk, so that a restart still knows whom to miss."""

from __future__ import annotations

import json
import logging
import os
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from hsm_agent.collect.pkcs11.naming import Identity
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

_DISK_SECONDS = 5.0


class TokenMemory:
    """One small file in the state directory. What can't be read or written is said in the log, and done without."""

    def __init__(self, directory: Path, source: str) -> None:
        self._path = directory / f"pkcs11-{quote(source, safe='')}.json"
        self._kept: dict[str, Identity] | None = None
        self._disk = Lane(str(self._path))

    async def load(self) -> dict[str, Identity]:
        """Tokens seen before, by resource."""
        try:
            self._kept = await self._disk.call(self._read, seconds=_DISK_SECONDS)
        except StuckError as error:
            log.warning("tokens missing since the last run are not noticed: %s", error)
        return dict(self._kept or {})

    async def keep(self, seen: Mapping[str, Identity]) -> None:
        """Write the file if it would differ."""
        if dict(seen) == self._kept:
            return
        self._kept = dict(seen)
        try:
            await self._disk.call(partial(self._write, self._kept), seconds=_DISK_SECONDS)
        except StuckError as error:
            self._kept = None
            log.warning("a restart will not miss these tokens: %s", error)

    def _read(self) -> dict[str, Identity]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))["tokens"]
            return {str(name): Identity(str(token["label"]), str(token["serial"])) for name, token in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is not usable, tokens missing since the last run are not noticed: %s", self._path, error)
            return {}

    def _write(self, seen: Mapping[str, Identity]) -> None:
        tokens = {name: {"label": token.label, "serial": token.serial} for name, token in seen.items()}
        new = self._path.with_suffix(".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"tokens": tokens}, file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            self._kept = None
            log.warning("%s cannot be written, a restart will not miss these tokens: %s", self._path, error.strerror)
