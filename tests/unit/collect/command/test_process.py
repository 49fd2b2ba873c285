"""What a run means before anything runs. With commands: tests/integration/test_command.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child_common import clean_environment
from hsm_agent.collect.command.process import CommandRunner, find, name_of

if TYPE_CHECKING:
    from pathlib import Path


def test_the_environment_is_clean_but_for_what_was_given() -> None:
    assert clean_environment({"A": "b"}) == {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "A": "b"}


def test_an_executable_is_a_path_or_found_by_path(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")

    assert find(str(tool), {}) is None
    tool.chmod(0o755)
    assert find(str(tool), {}) == tool
    assert find("tool", {}) is None
    assert find("tool", {"PATH": str(tmp_path)}) == tool
    assert find(str(tmp_path), {}) is None


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/usr/bin/ssh", "luna-a", "hsm\nshow"], "ssh luna-a hsm show"),
        (["uptime"], "uptime"),
        (["ssh", *["-o", "Option=yes"] * 9, "monitor@luna-a", "hsm", "show"],
         "ssh … -o Option=yes monitor@luna-a hsm show"),
        (["cat", "x" * 100], f"cat … {'x' * 48}"),
    ],
)  # fmt: skip
def test_a_command_is_named_by_its_beginning_and_its_end(words: list[str], name: str) -> None:
    assert name_of(words) == name


async def test_an_executable_that_is_not_there_is_said(tmp_path: Path) -> None:
    runner = CommandRunner({}, 1000)

    with pytest.raises(SourceFailure, match="tool cannot be run: no such executable; install it or correct `command`"):
        await runner.run([str(tmp_path / "tool")], 1.0)
    assert runner.pids() == ()


async def test_an_executable_that_others_can_write_is_not_run(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o757)

    with pytest.raises(SourceFailure, match=r"tool is not run: .*tool can be written by others; run: chmod o-w"):
        await CommandRunner({}, 1000).run([str(tool)], 1.0)
