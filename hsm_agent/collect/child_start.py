"""How a child process that loads a vendor's library is started: its arguments, its environment, its bound of memory.

Apart from `child_process.py`, because the Nagios plugin starts a worker without an event loop.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY_BYTES = 512 * 1024 * 1024
"""Resident memory of a child, unless its source says otherwise."""
REAP_SECONDS = 1.0
POLITE_SECONDS = 1.0
"""How long a module may take to finalise."""
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # noqa: PTH120 - pathlib takes 5 ms


def clean_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What Python and a C library need, and what the operator gave."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **given, "PYTHONPATH": _PACKAGE_ROOT}


def arguments(page_descriptor: int, memory_bytes: int) -> tuple[str, ...]:
    """What a child is told at its start: our pid, the descriptor of the page it shares with us, its bound of memory."""
    return str(os.getpid()), str(page_descriptor), str(memory_bytes)
