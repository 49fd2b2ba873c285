"""What the verbs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from hsm_agent.cli.options import DurationOption, fail, load_or_exit, print_json

if TYPE_CHECKING:
    from pathlib import Path


def test_durations_are_those_of_the_configuration() -> None:
    assert DurationOption().convert("90m", None, None) == 5400.0
    assert DurationOption().convert(3.0, None, None) == 3.0
    with pytest.raises(click.BadParameter, match="not a duration"):
        DurationOption().convert("soon", None, None)


def test_a_failure_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        fail("it broke")

    assert caught.value.code == 1
    assert capsys.readouterr().err == "hsm-agent: it broke\n"


def test_a_bad_configuration_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load_or_exit(tmp_path / "none.yaml")

    assert caught.value.code == 2
    assert capsys.readouterr().err == f"hsm-agent: {tmp_path / 'none.yaml'}: No such file or directory\n"


def test_json_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"reason": "für später"})

    assert capsys.readouterr().out == '{\n  "reason": "für später"\n}\n'
