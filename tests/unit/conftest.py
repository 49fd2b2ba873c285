"""What a unit test does not do: start a process, bind or connect a network socket, sleep."""

from __future__ import annotations

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
def _no_child_is_left() -> None:
    """In place of the look for children of tests/conftest.py: `_note` sees the start of one."""


@pytest.fixture(autouse=True)
def _nothing_of_the_outside_is_used() -> Iterator[None]:
    _seen.clear()
    yield
    assert not _seen, f"belongs to tests/loopback or tests/integration: {', '.join(_seen)}"
