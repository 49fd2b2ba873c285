"""The words of `check`, before anything is asked."""

from __future__ import annotations

import pytest

from hsm_agent.cli.check import main, parser
from hsm_agent.cli.nagios import Range


def test_p11memmons_letters_are_understood() -> None:
    given = parser().parse_args(
        ["-p", "/m.so", "-l", "pay", "-m", "2MiB", "-w", "50", "-c", "@10:20", "-t", "3", "-vv"]
    )

    assert given.module == "/m.so"
    assert (given.label, given.total, given.timeout, given.verbose) == ("pay", 2 * 1024 * 1024, 3.0, 2)
    assert given.warning == Range(low=0.0, high=50.0)
    assert given.critical == Range(low=10.0, high=20.0, inside=True)


def test_a_reading_of_the_agent_is_asked_for_by_name() -> None:
    given = parser().parse_args(
        ["--metric", "token_sessions", "--source", "a", "--resource", "b", "--config", "/c.yaml"]
    )

    assert (given.metric, given.source, given.resource, given.config) == ("token_sessions", "a", "b", "/c.yaml")
    assert (given.warning, given.critical) == (None, None)


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["-V"], ["--version"], [], ["-x"], ["-p"], ["-w", "a"]])
def test_help_version_and_nonsense_are_3(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 3

    answered = capsys.readouterr()
    assert answered.out
    assert answered.err == ""


def test_options_are_not_guessed_from_their_beginnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--met", "x"]) == 3
    assert "unrecognized arguments: --met" in capsys.readouterr().out
