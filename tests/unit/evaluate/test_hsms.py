"""Readings of a whole HSM: once for each HSM, whichever partitions and sources read it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.hsms import Hsms, is_of_hsm
from hsm_agent.evaluate.rules import Changes, Falls, Rule
from tests.unit.evaluate.judging import Judge, reading, told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.evaluate.alarms import Context
    from hsm_agent.model import Event, Reading

FILL = "audit_used_percent"


def said(readings: Iterable[Reading]) -> list[tuple[str, str, float | None]]:
    return [(each.resource, each.metric, each.value) for each in readings]


def test_metrics_of_the_whole_hsm_are_known_as_such() -> None:
    assert all(map(is_of_hsm, ("audit_used_percent", "hsm_tampered", "hsm_firmware_info", "hsm_policies_info")))
    assert not any(map(is_of_hsm, ("token_sessions", "ha_members_up", "sensor_celsius", "custom_x", "source_up")))


def test_what_nobody_knows_the_hsm_of_stays_with_its_partition() -> None:
    found = Hsms().shared([reading(0, 1, FILL)])

    assert said(found.readings) == [("keys", FILL, 1)]
    assert found.moved == {}


def test_partitions_of_one_hsm_tell_of_it_once_and_of_themselves_each() -> None:
    hsms = Hsms()
    readings = [
        replace(reading(at, value, metric, resource=name), hsm="66331")
        for name, at, value in (("a", 0, 10.0), ("b", 1, 12.0))
        for metric in (FILL, "token_sessions", "hsm_commands_total")
    ]

    found = hsms.shared(readings)

    assert said(found.readings) == [
        ("a", "token_sessions", 10.0),
        ("b", "token_sessions", 12.0),
        ("66331", FILL, 12.0),
        ("66331", "hsm_commands_total", 12.0),
    ]
    assert found.moved == {("luna", "a"): "66331", ("luna", "b"): "66331"}
    assert hsms.shared(readings).moved == {}


def test_the_configuration_goes_before_what_a_source_knows() -> None:
    hsms = Hsms({"vault-1": ["luna/pay*"], "vault-2": ["*/keys"]})
    one = replace(reading(0, 1, FILL, resource="payments"), hsm="66331")

    assert hsms.name_of(one) == "vault-1"
    assert hsms.name_of(reading(0, 1, FILL)) == "vault-2"
    assert hsms.name_of(replace(one, resource="other")) == "66331"


def test_a_reading_that_bears_the_hsm_s_name_already_is_left_as_it_is() -> None:
    found = Hsms({"appliance": ["luna/*"]}).shared([reading(0, 1, FILL, resource="appliance")])

    assert said(found.readings) == [("appliance", FILL, 1)]
    assert found.moved == {}


@pytest.mark.parametrize(
    ("metric", "values", "shown"),
    [
        pytest.param("hsm_tampered", (1, 0), 1, id="a tamper that one of them tells of"),
        pytest.param("audit_seconds_to_full", (60, 90), 60, id="the shortest time"),
        pytest.param("hsm_commands_total", (500, 501), 501, id="the latest"),
        pytest.param("hsm_commands_total", (500, None), 500, id="one that has a value"),
        pytest.param("hsm_tampered", (None, None), None, id="none that has one"),
    ],
)
def test_which_of_several_readings_is_the_hsm_s(
    metric: str, values: tuple[float | None, float | None], shown: float | None
) -> None:
    hsms = Hsms({"hsm": ["luna/*"]})
    found = [
        hsms.shared([reading(number, value, metric, resource=f"p{number}")]).readings
        for number, value in enumerate(values)
    ]

    assert said(found[-1]) == [("hsm", metric, shown)]


def test_a_partition_that_is_forgotten_says_nothing_any_more_and_the_last_one_takes_the_hsm_with_it() -> None:
    hsms = Hsms({"hsm": ["luna/*"]})
    for name, value in (("a", 1), ("b", 0)):
        hsms.shared([reading(0, 1, "token_present", resource=name), reading(0, value, "hsm_tampered", resource=name)])

    assert hsms.forget("other", "a") == []
    assert hsms.forget("luna", "a") == []
    assert said(hsms.shared([reading(1, 0, "hsm_tampered", resource="b")]).readings) == [("hsm", "hsm_tampered", 0)]
    assert hsms.forget("luna", "b") == [("luna", "hsm")]
    assert hsms.gone() == set()


def test_an_hsm_is_gone_when_all_its_partitions_are() -> None:
    hsms = Hsms({"hsm": ["luna/*"]})
    hsms.shared([reading(0, 1, "token_present", resource=name) for name in ("a", "b")])
    hsms.shared([reading(0, 0, "token_present", resource="a")])
    assert hsms.gone() == set()

    hsms.shared([reading(0, 0, "token_present", resource="b")])

    assert hsms.gone() == {("luna", "hsm")}


def test_sources_that_share_an_hsm_are_known() -> None:
    hsms = Hsms({"hsm": ["luna/*", "shell/*"], "other": ["luna-c/*"]})
    hsms.shared([reading(0, 1, FILL, source=name) for name in ("luna", "shell", "luna-c", "soft")])

    assert hsms.sharing() == {"hsm": {"luna", "shell"}}


class Two(Judge):
    """A judge of two sources that share the HSM `hsm`."""

    gone: set[tuple[str, str]] = set()  # noqa: RUF012 - a constant of the class unless set

    def context(self, at: float) -> Context:
        return replace(super().context(at), sharing={"hsm": {"luna", "shell"}}, gone=self.gone)

    def ask(self, at: float, source: str, value: float | None, metric: str = FILL) -> list[Event]:
        return self.read(at, value, metric, source=source, resource="hsm")


def two(*rules: Rule) -> Two:
    return Two(*rules, up=("luna", "shell"))


def test_two_sources_of_one_hsm_raise_one_alarm_and_the_first_to_tell_clears_it() -> None:
    judge = two(*DEFAULT_RULES)

    assert told(judge.ask(0, "shell", 55)) == [("RAISED", "warning")]
    assert judge.ask(1, "luna", 55) == []
    assert told(judge.ask(60, "shell", 85)) == [("CHANGED", "critical")]
    assert judge.ask(61, "luna", 85) == []
    assert told(judge.ask(120, "shell", 10)) == [("CLEARED", "cleared")]
    assert judge.ask(121, "luna", 10) == []


def test_who_sees_worse_first_tells_of_it_and_the_milder_alarm_ends() -> None:
    judge = two(*DEFAULT_RULES)
    judge.ask(0, "shell", 55)

    assert told(judge.ask(1, "luna", 85)) == [("RAISED", "critical")]
    (ended,) = judge.ask(60, "shell", 85)
    assert ended.text == "Cleared: audit-fill on shell/hsm: luna tells of it now"
    assert judge.ask(61, "luna", 85) == []


def test_a_source_that_is_down_does_not_speak_for_the_other() -> None:
    judge = two(*DEFAULT_RULES)
    judge.ask(0, "shell", 55)
    judge.up = ("luna",)

    assert told(judge.ask(60, "luna", 55)) == [("RAISED", "warning")]


def test_an_alarm_whose_reading_is_gone_does_not_speak_for_the_other() -> None:
    judge = two(*DEFAULT_RULES)
    judge.ask(0, "shell", 55)
    judge.ask(60, "shell", None)
    judge.step(660)

    assert told(judge.ask(661, "luna", 55)) == [("RAISED", "warning")]


@pytest.mark.parametrize("condition", [Changes(), Falls()])
def test_a_change_that_another_source_told_of_is_not_told_again_when_it_is_over(condition: Changes | Falls) -> None:
    rule = Rule(name="r", metrics=("hsm_partitions",), condition=condition, clear_after_seconds=600)
    judge = two(rule)
    for source in ("shell", "luna"):
        judge.ask(0, source, 5, "hsm_partitions")

    assert told(judge.ask(60, "shell", 4, "hsm_partitions")) == [("RAISED", "warning")]
    assert judge.ask(61, "luna", 4, "hsm_partitions") == []
    assert told(judge.step(660)) == [("CLEARED", "cleared")]
    assert judge.ask(661, "luna", 4, "hsm_partitions") == []


def test_an_hsm_whose_partitions_are_all_gone_is_told_once_and_not_by_every_rule_on_it() -> None:
    judge = two(*DEFAULT_RULES)
    judge.ask(0, "luna", 5)
    judge.gone = {("luna", "hsm")}
    judge.ask(60, "luna", None)

    assert judge.step(700) == []
