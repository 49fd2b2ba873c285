"""What the kernel says of a process, and where it may run."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
SERVER_CORE, CLIENT_CORE = 0, 1


def cpu_seconds(*pids: int) -> float:
    """User and system time of these processes so far; their ended children are not in it."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_A_SECOND


def rss_mib(pid: int) -> float:
    """Resident memory."""
    return _status_kib(pid, "VmRSS") / 1024


def peak_rss_mib(pid: int) -> float:
    """The most memory it ever held since it was executed; 0 once it has ended."""
    try:
        return _status_kib(pid, "VmHWM") / 1024
    except (OSError, LookupError):
        return 0.0


def private_mib(pid: int) -> float:
    """Resident memory that no file backs: what the process costs a machine that runs it twice."""
    return _status_kib(pid, "RssAnon") / 1024


def _status_kib(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0])
    raise LookupError(f"process {pid} has no {key}")


def children(pid: int) -> list[int]:
    """Processes that this one started and that live."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def pin(pid: int, core: int) -> None:
    """Let a process and all its threads run on one core only; on a machine with one core, everything shares it."""
    allowed = os.sched_getaffinity(0) if pid == 0 else os.sched_getaffinity(pid)
    core = core if core < (os.cpu_count() or 1) else min(allowed)
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def unpin(pid: int) -> None:
    """Let it run everywhere again."""
    everywhere = set(range(os.cpu_count() or 1))
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        os.sched_setaffinity(int(task.name), everywhere)
