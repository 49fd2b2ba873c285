"""What keeps an agent from its part in the group is logged once, and so is its end."""

from __future__ import annotations

from hsm_agent.group.problem_log import ProblemLog


def test_a_problem_that_lasts_is_told_once_whatever_its_words_and_so_is_its_end() -> None:
    told = ProblemLog(after_seconds=3)
    steps = [
        (0, ""),
        (1, "a"),
        (3, "b"),
        (4, "c"),
        (5, "d"),
        (9, "d"),
        (10, ""),
        (11, "d"),
        (12, ""),
        (15, ""),
        (16, ""),
    ]

    lines = [(at, line) for at, problem in steps if (line := told.note(problem, at))]

    assert lines == [(4, "c"), (15, "this agent can do its part again")]


def test_a_problem_that_is_soon_over_is_no_line() -> None:
    told = ProblemLog(after_seconds=3)

    assert [told.note(problem, at) for at, problem in enumerate(("a", "a", "a", "", "a", "a"))] == [""] * 6
