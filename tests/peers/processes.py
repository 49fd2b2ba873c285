"""What a test needs to know of other processes: who lives, and who belongs to what."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and was not reaped does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False


def living(pids: Iterable[int]) -> list[int]:
    return [pid for pid in pids if alive(pid)]


def with_command(name: str, environment: str) -> list[int]:
    """Processes of that name that have that text in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text(encoding="utf-8").strip() == name[:15] and environment.encode() in (
                folder / "environ"
            ).read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return living(found)


async def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
