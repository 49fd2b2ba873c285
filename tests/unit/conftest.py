"""What a unit test does not do: start a process, bind or connect a network socket, sleep."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.fakes.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

# No deadline for one example: on a machine that does other things too, any of them may take its time.
hypothesis.settings.register_profile("unit", max_examples=examples(100, 15), deadline=None)
hypothesis.settings.load_profile("unit")

_STARTS_A_PROCESS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec"}
_USES_A_SOCKET = {"socket.bind", "socket.connect", "socket.sendto"}
_NETWORK = {socket.AF_INET, socket.AF_INET6}

_seen: list[str] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """Not raised here: the code under test might take it for an error of its own."""
    if event in _STARTS_A_PROCESS or (event in _USES_A_SOCKET and arguments[0].family in _NETWORK):
        _seen.append(event)
    elif event == "time.sleep" and arguments[0] > 0:
        _seen.append(f"time.sleep {arguments[0]:g} s")


sys.addaudithook(_note)


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    """In place of the look for children of tests/conftest.py, which costs more: `_note` sees the start of one."""
    _seen.clear()
    yield
    assert not _seen, f"belongs to tests/loopback or tests/integration: {', '.join(_seen)}"


@pytest.fixture
async def skipped_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's clock leaps to the next deadline instead of waiting for it; for tests that use no thread."""
    loop: Any = asyncio.get_running_loop()
    select, clock, skipped = loop._selector.select, loop.time, 0.0

    def leap(timeout: float | None) -> Any:
        nonlocal skipped
        if timeout is None:
            return select(None)
        ready = select(0)
        skipped += 0 if ready else timeout
        return ready

    monkeypatch.setattr(loop._selector, "select", leap)
    monkeypatch.setattr(loop, "time", lambda: clock() + skipped)
