"""`hsm-agent demo`: hands over to the demonstration of a source checkout."""

from __future__ import annotations

import os
from pathlib import Path

import hsm_agent

PACKAGE = Path(hsm_agent.__file__).parent


class DemoError(Exception):
    """The demonstration can't be run here."""


def run(package: Path = PACKAGE) -> None:
    """Become `scripts/demo`. Raises DemoError where there is no checkout."""
    script = package.parent / "scripts" / "demo"
    if not script.exists():
        raise DemoError("the demonstration needs a source checkout: run scripts/demo there")
    os.execv(script, [str(script)])  # noqa: S606 - a fixed script of our own, no shell
