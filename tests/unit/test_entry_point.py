"""What the entry point does where a verb could not print."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import pytest

from hsm_agent.__main__ import _print

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def _own_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with (tmp_path / "output").open("w", encoding="utf-8") as output:
        monkeypatch.setattr(sys, "stdout", output)
        yield


def failing(error: OSError) -> Callable[[], None]:
    def verb() -> None:
        raise error

    return verb


@pytest.mark.usefixtures("_own_output")
@pytest.mark.parametrize("code", [1, 3])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_output_that_cannot_be_written_is_a_line_and_the_verbs_status(
    number: int, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Standard output itself is no pipe here, so that nobody who read it has left."""
    with pytest.raises(SystemExit) as ended:
        _print(failing(OSError(number, os.strerror(number))), code)

    assert ended.value.code == code
    assert capfd.readouterr().err == f"hsm-agent: standard output: {os.strerror(number)}\n"


@pytest.mark.usefixtures("_own_output")
def test_the_error_of_a_file_is_none_of_standard_output() -> None:
    with pytest.raises(FileNotFoundError):
        _print(failing(FileNotFoundError(errno.ENOENT, "none", "agent.yaml")), 1)
