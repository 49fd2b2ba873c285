"""What every test stands on: no blocking call on the event loop, no child process left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx

from tests.peers.ports import free_port as _free_port
from tests.peers.require import nothing_may_be_skipped
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator, Iterator

_CHILD_GRACE_SECONDS = 2.0

os.environ.update(trusting())
os.umask(0o022)  # whoever else is in the group of the caller is not trusted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and nothing_may_be_skipped():
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {_reason(report)}"
    return report


def pytest_collection_finish() -> None:
    """Spare the garbage collector thousands of collected tests, which live until the end: a tenth of all CPU time.

    Then let it run as seldom as in the agent: another tenth of the unit tests' time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.items():
        subject, verb = (f"{count} tests", "need ") if count > 1 else ("1 test", "needs ")
        lack = reason.removeprefix("need ")
        terminalreporter.write_line(f"{subject} skipped: {reason}" if lack == reason else f"{subject} {verb}{lack}")


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


@pytest.fixture(autouse=True, scope="session")
def _event_loop_never_blocks() -> Iterator[None]:
    with blockbuster_ctx("hsm_agent") as watch:
        for blocking in watch.functions.values():  # coverage waits for its own lock when another thread is in it
            blocking.can_block_in("coverage/collector.py", "lock_data")
        yield


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    before = _children()
    yield
    deadline = time.monotonic() + _CHILD_GRACE_SECONDS
    while (left := _children() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    names = [f"{pid} {_command(pid)}" for pid in sorted(left)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not names, f"child processes left behind: {'; '.join(names)}"


def _children() -> set[int]:
    """The living children of this process, those of its other threads included."""
    pids: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            pids.update(map(int, (thread / "children").read_bytes().split()))
    return {pid for pid in pids if _command(pid)}


def _command(pid: int) -> str:
    """The command line; nothing for a process that has ended and only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


@pytest.fixture
def free_port() -> Callable[[socket.SocketKind], int]:
    """A function that names a free port of 127.0.0.1, for peers that can't choose one themselves."""
    return _free_port
