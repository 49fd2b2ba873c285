"""The command line: a module for each verb. Here what needs no click: the exit codes, and `run`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FAILED, BAD_CONFIGURATION = 1, 2
"""Exit codes of every verb but `check`, which has those of the plugin guidelines; click's usage errors are 2, too."""


def run(config: Path | None) -> None:
    """Run the agent in the foreground until SIGTERM. Exits with a line on standard error for each reason not to start.

    Without click, which would stay in memory as long as the agent runs.
    """
    import asyncio

    # pydantic would look through all installed packages for plug-ins of its own, and load them.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from hsm_agent.agent.service import StartError, main
    from hsm_agent.config.document import find
    from hsm_agent.config.tree import load
    from hsm_agent.log import say  # a full pipe on standard error must not block the start
    from hsm_agent.settings.errors import ConfigError

    try:
        loaded = load(config or find(), os.environ)
    except ConfigError as error:
        for line in error.lines:
            say(f"hsm-agent: {line}")
        sys.exit(BAD_CONFIGURATION)
    try:
        asyncio.run(main(loaded))
    except StartError as error:
        say(f"hsm-agent: {error}")
        sys.exit(FAILED)
