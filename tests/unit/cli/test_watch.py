"""The picture of `status --watch`: what fits, the worst first."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from hsm_agent.agent.operator_commands import overview_document
from hsm_agent.cli.agent_verbs import overview_of
from hsm_agent.cli.main import cli
from hsm_agent.cli.watch import picture
from hsm_agent.model import SourceState, SourceStatus
from tests.fakes.groups import STANDBY, WELL
from tests.fakes.night import night
from tests.fakes.present import MONOTONIC, known_snapshot


@cache
def document(tokens: int = 0) -> dict[str, Any]:
    return overview_document(night(tokens=tokens), ())


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (132, 40), (160, 50), (220, 60), (20, 3)], ids=str)
def test_it_is_never_larger_than_the_terminal(size: tuple[int, int]) -> None:
    width, height = size

    lines = picture(document(tokens=3000), width, height).plain.split("\n")

    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


def test_the_worst_stands_on_top_with_what_to_do_first() -> None:
    text = picture(document(), 160, 50).plain

    assert text.startswith("3 critical, 3 warning, 1 silenced  hsm-monitor-1")
    assert text.index("First: Look for keys no longer needed") < text.index("First: Find the client")
    assert "payments" in text.split("██")[0].splitlines()[-1]


def test_what_does_not_fit_is_counted() -> None:
    text = picture(document(tokens=3000), 80, 24).plain

    assert "… and 5 more alarms" in text
    assert "more tokens" in text


def test_a_narrow_terminal_has_figures_a_wide_one_bars_and_the_last_day() -> None:
    narrow, wide, widest = (picture(document(), width, 60).plain for width in (100, 160, 220))

    assert "sto 97.2 %" in narrow
    assert "█" not in narrow
    assert "sto ████████ 97.2 %" in wide
    assert "▇▇▇" not in wide
    assert "▇▇▇" in widest


def test_the_group_stands_below_with_its_members() -> None:
    gone = replace(WELL, members=(replace(STANDBY, is_up=False),))
    shown = picture(overview_document(replace(known_snapshot(), group=gone), ()), 160, 60).plain

    assert "group emea: standby, a leads" in shown
    assert "member b             down" in shown
    assert "b is not there" in shown
    assert "group" not in picture(document(), 160, 60).plain


def test_text_from_outside_does_not_control_the_terminal() -> None:
    text = picture(document(), 220, 60).plain

    assert "\x1b" not in text
    assert "\u202e" not in text


def test_an_agent_that_does_not_answer_leaves_its_last_picture_and_says_so() -> None:
    lines = picture(document(), 100, 30, problem="No answer for 12s: it is not running").plain.split("\n")

    assert lines[1] == "No answer for 12s: it is not running"
    assert "3 critical" in lines[0]


def test_all_well_is_short() -> None:
    present = replace(known_snapshot(), alarms=(), silences=(), readings=(), sinks={}, sources={})
    up = SourceStatus(name="a", kind="pkcs11", every_seconds=60, state=SourceState.UP, last_success=MONOTONIC)

    watching = overview_document(replace(present, sources={"a": up}), ())
    assert picture(watching, 80, 24).plain.startswith("All is well")
    nothing = picture(overview_document(present, ()), 80, 24).plain.split("\n")
    assert nothing[0].startswith("Nothing is watched")
    assert nothing[1].startswith("No source is configured") and not nothing[1].endswith("…")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--watch",), "--watch: standard output is no terminal"),
        (("--watch", "--format", "json"), "--watch: not with --format json"),
        (("--every", "5s"), "--every: only with --watch"),
        (("--watch", "--every", "10ms"), "--every: shorter than 0.5s"),
    ],
)
def test_where_it_cannot_be_it_says_why(words: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(cli, ["status", *words])

    assert result.exit_code != 0
    assert said in result.output


def test_an_agent_that_hangs_is_not_waited_for_while_an_old_picture_stands() -> None:
    assert overview_of(Path("control")).keywords["timeout_seconds"] <= 10
