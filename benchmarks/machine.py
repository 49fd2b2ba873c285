"""What the figures were measured on; no names of hosts or people."""

from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path


def facts() -> list[str]:
    """A line each."""
    return [
        f"{os.cpu_count()} cores, {_processor()}, {_memory_gib():.1f} GiB",
        f"{_system()}, Linux {platform.release().split('-', maxsplit=1)[0]}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "load average at the start " + " ".join(f"{load:.2f}" for load in os.getloadavg()),
    ]


def _field(path: str, key: str, separator: str) -> str:
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(separator)
        if name.strip() == key:
            return value.strip().strip('"')
    return "unknown"


def _processor() -> str:
    return _field("/proc/cpuinfo", "model name", ":")


def _memory_gib() -> float:
    return int(_field("/proc/meminfo", "MemTotal", ":").split()[0]) / 1024**2


def _system() -> str:
    return _field("/etc/os-release", "PRETTY_NAME", "=")
