"""Patterns of an operator's own on what a real command prints: nothing it prints holds them up."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.command.source import CommandCollector, CommandSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def source(command: list[str], *patterns: str, **keys: Any) -> AsyncIterator[CommandCollector]:
    run = {"command": command, "parser": "regex", "patterns": patterns}
    settings = {"name": "tool", "kind": "command", "runs": [run], "timeout": "5s", **keys}
    collector = CommandCollector(CommandSettings.model_validate(settings))
    try:
        yield collector
    finally:
        await collector.close()


async def test_a_line_that_a_pattern_almost_fits_holds_nothing_up() -> None:
    async with source(["printf", f"{'1' * 60}\\n"], r"^(?:\w|\d\d)+: (?P<custom_a>1)$") as tool:
        with pytest.raises(SourceFailure, match="1111"):
            await asyncio.wait_for(tool.poll(), 5)


async def test_reading_ends_with_the_time_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text(f"{'1' * 4000}!\n" * 500, encoding="ascii")
    slow = ["(.*)" * 30 + rf"(?P<custom_a>{n})(?:\d?){{700}}1.{{9}}x?" for n in range(10)]

    async with source(["cat", str(tmp_path / "digits")], *slow, timeout="500ms", output_limit="4MiB") as tool:
        with pytest.raises(SourceFailure, match=r"cat .*: no time is left at line [0-9]+ of 501 for "):
            await asyncio.wait_for(tool.poll(), 10)
