"""Marks for tests that need a right which not every user or machine has. Their reasons are counted at a run's end."""

from __future__ import annotations

import os
import subprocess
from functools import cache

import pytest

from tests.peers import private_mounts
from tests.peers.require import find

NO_ROOT = "need root"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason=NO_ROOT)
needs_private_mounts = pytest.mark.skipif(not private_mounts.allowed(), reason=private_mounts.NOT_ALLOWED)


@cache
def may_trace() -> bool:
    """Whether this process may trace its children."""
    strace = find("strace")
    words = [str(strace), "-f", "-o", os.devnull, "true"]
    return strace is not None and subprocess.run(words, capture_output=True, check=False, timeout=20).returncode == 0


needs_tracing = pytest.mark.skipif(not may_trace(), reason="need to trace processes, which this machine does not allow")
