"""Reading small files without waiting for a file system that hangs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.settings.secret import read_regular
from hsm_agent.threads import Lanes, StuckError

if TYPE_CHECKING:
    from pathlib import Path


class FileTrouble(Exception):
    """The file can't be read. The text is one line, names it and says what to check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The beginning of a file, and when it was last modified (UTC seconds)."""

    data: bytes
    modified: float
    whole: bool


class FileReader:
    """Reads files of one source, each on a lane of its own."""

    def __init__(self) -> None:
        self._lanes = Lanes()

    async def read(self, path: Path, *, most_bytes: int, seconds: float) -> Content:
        """The first `most_bytes` of a file. Raises FileTrouble within `seconds`."""
        try:
            return await self._lanes.call(path, f"reading {path}", partial(_read, path, most_bytes), seconds=seconds)
        except StuckError as error:
            raise FileTrouble(f"{error}: check the file system it is on") from error


def _read(path: Path, most_bytes: int) -> Content:
    try:
        data, found = read_regular(path, most_bytes)
    except FileNotFoundError as error:
        raise FileTrouble(f"{path} does not exist: check the path, and what should have written it") from error
    except PermissionError as error:
        raise FileTrouble(
            f"{path} cannot be read by the agent's user: check the permissions on the way to it"
        ) from error
    except OSError as error:
        raise FileTrouble(f"{path} cannot be read: {error.strerror}") from error
    return Content(data=data[:most_bytes], modified=found.st_mtime, whole=len(data) <= most_bytes)
