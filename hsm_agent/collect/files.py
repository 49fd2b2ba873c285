"""Reading small files without waiting for a file system that hangs. It must not use the loop's own threads.

A thread in a system call can't be stopped: it would hold one of the few threads everything else needs, and the end of
the agent. So each read has a thread of its own that nobody waits for, and a file has one at the most.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """Reads files of one source. Whatever is still under way is not asked for twice."""

    def __init__(self) -> None:
        self._under_way: dict[Path, asyncio.Future[Content]] = {}

    async def read(self, path: Path, *, most: int, seconds: float) -> Content:
        """At most so many bytes of it. Raises FileTrouble, within that time."""
        reading = self._under_way.get(path)
        if reading is None:
            reading = self._under_way[path] = self._begin(path, most)
        done, _ = await asyncio.wait({reading}, timeout=max(0.0, seconds))
        if not done:
            raise FileTrouble(f"{path} could not be read within {seconds:.2g} s: check the file system it is on")
        self._under_way.pop(path, None)
        return reading.result()

    def _begin(self, path: Path, most: int) -> asyncio.Future[Content]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Content] = loop.create_future()

        def settle(content: Content | None, trouble: FileTrouble | None) -> None:
            if future.cancelled():
                return
            if trouble is not None:
                future.set_exception(trouble)
                future.exception()  # looked at: nobody may be waiting any more
            elif content is not None:
                future.set_result(content)

        def work() -> None:
            content, trouble = None, None
            try:
                content = _read(path, most)
            except FileTrouble as error:
                trouble = error
            with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
                loop.call_soon_threadsafe(settle, content, trouble)

        threading.Thread(target=work, name=f"read {path}", daemon=True).start()
        return future


def _open_at_once(path: str, flags: int) -> int:
    # Not to wait for a writer, should it be a pipe: it is refused right after.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _read(path: Path, most: int) -> Content:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise FileTrouble(f"{path} is not a regular file")
            data = file.read(most + 1)
    except FileNotFoundError as error:
        raise FileTrouble(f"{path} does not exist: check the path, and what should have written it") from error
    except PermissionError as error:
        raise FileTrouble(
            f"{path} cannot be read by the agent's user: check the permissions on the way to it"
        ) from error
    except OSError as error:
        raise FileTrouble(f"{path} cannot be read: {error.strerror}") from error
    return Content(data=data[:most], modified=found.st_mtime, whole=len(data) <= most)
