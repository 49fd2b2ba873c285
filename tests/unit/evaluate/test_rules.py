"""Which rule watches what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.evaluate.rules import (
    DAY,
    HOUR,
    Above,
    Changes,
    Grows,
    Match,
    RateChanges,
    Reaches,
    Rule,
    Ruleset,
    Sooner,
    line_spacing,
    rate_spacing,
)

if TYPE_CHECKING:
    from hsm_agent.model import Labels

MEMORY = "token_memory_private_used_percent"


@pytest.mark.parametrize(
    ("match", "labels", "expected"),
    [
        pytest.param(Match(), (), True, id="anything"),
        pytest.param(Match(source="lu*"), (), True, id="source"),
        pytest.param(Match(source="LU*"), (), False, id="case counts"),
        pytest.param(Match(resource="other"), (), False, id="resource"),
        pytest.param(Match(labels=(("role", "so*"),)), (("role", "so"), ("x", "y")), True, id="label"),
        pytest.param(Match(labels=(("role", "user"),)), (("role", "so"),), False, id="other label"),
        pytest.param(Match(labels=(("role", "*"),)), (), False, id="the label has to be there"),
        pytest.param(Match(labels=(("role", "so"),)), None, True, id="unknown labels are not asked for"),
        pytest.param(Match(source="x", labels=(("role", "so"),)), None, False, id="but the source is"),
    ],
)
def test_globs(match: Match, labels: Labels | None, expected: bool) -> None:
    assert match.covers("luna", "keys", labels) is expected


@pytest.mark.parametrize(
    ("metric", "given", "expected"),
    [
        pytest.param(MEMORY, None, 5, id="percent by default"),
        pytest.param("token_sessions", None, 0, id="others by default"),
        pytest.param(MEMORY, 0.0, 0, id="as told"),
    ],
)
def test_hysteresis(metric: str, given: float | None, expected: float) -> None:
    rule = Rule(name="r", metrics=(metric,), condition=Above(warning=1), hysteresis=given)

    assert rule.margin(metric) == expected


def test_a_disabled_rule_is_not_there() -> None:
    rules = Ruleset([Rule(name="r", metrics=(MEMORY,), condition=Above(warning=1), enabled=False)])

    assert rules.named("r") is None
    assert rules.plan(("luna", "keys", MEMORY, ()), ()).rules == ()


def test_a_reading_finds_the_rules_that_match_it() -> None:
    by_label = Rule(
        name="prod", metrics=(MEMORY,), condition=Above(warning=1), match=Match(labels=(("stage", "production"),))
    )
    elsewhere = Rule(name="other", metrics=(MEMORY,), condition=Above(warning=1), match=Match(source="other"))
    rules = Ruleset([by_label, elsewhere], {"luna": (("stage", "production"),)})

    assert rules.plan(("luna", "keys", MEMORY, ()), ()).rules == (by_label,)
    assert rules.plan(("luna", "keys", "token_sessions", ()), ()).rules == ()
    assert rules.plan_of(("luna", "keys", MEMORY, ())).rules == (by_label,)
    assert rules.named("prod") is by_label


def test_labels_of_a_reading_go_before_those_of_its_source() -> None:
    rules = Ruleset([], {"luna": (("site", "a"), ("stage", "test"))})

    assert rules.labels_of("luna", (("role", "so"), ("site", "b"))) == (
        ("role", "so"),
        ("site", "b"),
        ("stage", "test"),
    )
    assert rules.labels_of("other", (("role", "so"),)) == (("role", "so"),)


def test_labels_of_an_info_metric_are_not_known_without_its_reading() -> None:
    rule = Rule(
        name="r",
        metrics=("hsm_firmware_info",),
        condition=Changes(),
        match=Match(labels=(("version", "7.*"),)),
    )
    rules = Ruleset([rule])
    series = ("luna", "hsm", "hsm_firmware_info", ())

    assert rules.plan_of(series).rules == (rule,)
    assert rules.plan(series, (("version", "6.0"),)).rules == ()


def test_a_plan_names_the_histories_its_rules_need() -> None:
    metric = "token_sessions"
    rules = Ruleset(
        [
            Rule(name="a", metrics=(metric,), condition=Grows(warning=1800, critical=7200)),
            Rule(name="b", metrics=(metric,), condition=Grows(warning=1800)),
            Rule(name="c", metrics=(metric,), condition=RateChanges(against=HOUR)),
            Rule(name="d", metrics=(metric,), condition=Reaches(level=1, over=30 * DAY, warning=1)),
            Rule(name="e", metrics=(metric,), condition=Reaches(level=1, over=60 * DAY, warning=1)),
        ]
    )

    plan = rules.plan(("luna", "keys", metric, ()), ())

    assert plan.windows == {1800: 6, 7200: 6}
    assert plan.floors == {}
    assert plan.points == {300: 6000, HOUR: 70 * DAY}
    assert 0 <= plan.phase < 1


def test_growth_that_is_told_sooner_needs_short_windows_and_their_minima_of_a_week() -> None:
    condition = Grows(critical=7200, sooner=Sooner(warning=2880, critical=8640))
    plan = Ruleset([Rule(name="r", metrics=("token_sessions",), condition=condition)]).plan(
        ("luna", "keys", "token_sessions", ()), ()
    )

    assert plan.windows == {7200: 6, 240: 12, 720: 12}
    assert plan.floors == {720: (7 * DAY + 8640 + 2 * HOUR, 240)}


def test_thirty_days_are_drawn_from_hourly_points_kept_for_35_days() -> None:
    rules = Ruleset([Rule(name="r", metrics=(MEMORY,), condition=Reaches(level=95, warning=90 * DAY))])

    assert rules.plan(("luna", "keys", MEMORY, ()), ()).points == {HOUR: 35 * DAY}
    assert line_spacing(HOUR) == 30
    assert rate_spacing(HOUR) == 300
