from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers.text import ParsedOutput
from hsm_agent.collect.command.poll_state import ABSENT, MOST_MISSING, NOT_PRINTED, PollState
from hsm_agent.collect.series import Fact
from hsm_agent.evaluate.defaults import DEFAULT_RULES

if TYPE_CHECKING:
    from hsm_agent.model import Reading


def state(*expected: str, resource: str = "", capacity: int = 1000) -> PollState:
    return PollState("luna", resource=resource, expected=expected, audit_capacity=capacity)


def token(name: str, objects: int = 3) -> tuple[Fact, Fact]:
    return Fact(metric="token_present", value=1, resource=name), Fact(
        metric="token_objects", value=objects, resource=name
    )


def printed(*facts: Fact, whole: bool = True) -> ParsedOutput:
    return ParsedOutput(facts=facts, whole=whole)


def shown(readings: list[Reading]) -> dict[tuple[str, str], tuple[float | int | None, str]]:
    return {(reading.resource, reading.metric): (reading.value, reading.reason) for reading in readings}


def test_what_a_run_does_not_print_any_more_has_no_value() -> None:
    one, two = Fact(metric="hsm_tampered", value=0), Fact(metric="sensor_celsius", value=40, resource="cpu", limit=75)
    made = state()
    made.read(0, printed(one, two), 1.0)

    assert shown(made.read(0, printed(one), 2.0)) == {
        ("", "hsm_tampered"): (0, ""),
        ("cpu", "sensor_celsius"): (None, NOT_PRINTED),
    }
    assert shown(made.read(0, printed(one, two), 3.0))["cpu", "sensor_celsius"] == (40, "")


def test_runs_do_not_miss_each_others_readings() -> None:
    made = state()
    made.read(0, printed(Fact(metric="hsm_tampered", value=0)), 1.0)

    assert shown(made.read(1, printed(Fact(metric="audit_role_initialized", value=1)), 1.0)) == {
        ("", "audit_role_initialized"): (1, "")
    }


def test_a_run_that_fails_loses_everything_it_ever_brought() -> None:
    made = state()
    made.read(0, printed(Fact(metric="token_login_attempts_left", value=3, labels=(("role", "so"),), limit=1)), 1.0)
    (lost,) = made.fail(0, "no route", 2.0)

    assert (lost.value, lost.reason, lost.labels, lost.limit) == (None, "no route", (("role", "so"),), None)
    assert made.fail(1, "no route", 2.0) == []


def test_what_never_had_a_value_is_not_missed() -> None:
    made = state()
    made.read(0, printed(Fact(metric="sensor_well", value=None, resource="noise", reason="?")), 1.0)

    assert made.read(0, printed(), 2.0) == []


def test_new_content_of_an_info_is_the_same_reading() -> None:
    made = state()
    made.read(0, printed(Fact(metric="hsm_firmware_info", value=1, labels=(("version", "1"),))), 1.0)
    (now,) = made.read(0, printed(Fact(metric="hsm_firmware_info", value=1, labels=(("version", "2"),))), 2.0)

    assert now.labels == (("version", "2"),)


def test_a_token_that_was_there_and_is_not_in_a_complete_output_is_gone() -> None:
    made = state()
    made.read(0, printed(*token("a"), *token("b")), 1.0)
    made.finish(1.0)
    readings = [*made.read(0, printed(*token("a")), 2.0), *made.finish(2.0)]

    assert shown(readings)["b", "token_present"] == (0, "")
    assert shown(readings)["b", "token_objects"] == (None, ABSENT)
    assert len(readings) == 4


def test_a_token_that_is_not_in_an_output_that_may_be_cut_is_unknown() -> None:
    made = state("a", "b")
    made.read(0, printed(*token("a"), *token("b")), 1.0)
    made.finish(1.0)
    readings = [*made.read(0, printed(*token("a"), whole=False), 2.0), *made.finish(2.0)]

    assert shown(readings)["b", "token_present"] == (None, NOT_PRINTED)


def test_an_expected_token_is_missed_though_it_was_never_seen() -> None:
    made = state("a", "b")
    readings = [*made.read(0, printed(*token("a")), 1.0), *made.finish(1.0)]
    present = {
        reading.resource: (reading.value, reading.labels) for reading in readings if reading.metric == "token_present"
    }

    assert present == {"a": (1, (("expected", "true"),)), "b": (0, (("expected", "true"),))}
    assert "token-missing" in {rule.name for rule in DEFAULT_RULES}


def test_an_expected_token_may_be_in_another_run() -> None:
    made = state("a", "b")
    readings = [*made.read(0, printed(*token("a")), 1.0), *made.read(1, printed(*token("b")), 1.0), *made.finish(1.0)]

    assert {reading.value for reading in readings if reading.metric == "token_present"} == {1}


def test_while_a_run_with_tokens_fails_nobody_is_declared_gone_that_it_may_have() -> None:
    made = state("a", "b", "c")
    made.read(0, printed(*token("a")), 1.0)
    made.read(1, printed(*token("b")), 1.0)
    made.finish(1.0)
    readings = [*made.read(0, printed(*token("a")), 2.0), *made.fail(1, "no route", 2.0), *made.finish(2.0)]

    assert shown(readings)["b", "token_present"] == (None, "no route")
    assert ("c", "token_present") not in shown(readings)


def test_nobody_is_missed_before_anything_was_read() -> None:
    made = state("a")

    assert [*made.fail(0, "no route", 1.0), *made.finish(1.0)] == []


def test_forget() -> None:
    made = state()
    made.read(0, printed(*token("a"), *token("b")), 1.0)
    made.finish(1.0)

    assert made.forget("b")
    assert not made.forget("b")
    assert [*made.read(0, printed(*token("a")), 2.0), *made.finish(2.0)][2:] == []


def test_readings_of_the_whole_device_bear_the_name_that_was_given() -> None:
    (reading,) = state(resource="hsm 1").read(0, printed(Fact(metric="hsm_tampered", value=0)), 1.0)

    assert (reading.source, reading.resource, reading.time) == ("luna", "hsm 1", 1.0)


def records(made: PollState, count: int | None, at: float) -> dict[str, float | int | None]:
    fact = Fact(metric="audit_records", value=count, reason="" if count is not None else "why")
    return {reading.metric: reading.value for reading in made.read(0, printed(fact), at)}


def test_fill_and_forecast_of_the_audit_store() -> None:
    made = state(capacity=1000)

    assert records(made, 100, 0.0) == {
        "audit_records": 100,
        "audit_capacity_records": 1000,
        "audit_used_percent": 10.0,
        "audit_seconds_to_full": math.inf,
    }
    assert records(made, 200, 10.0)["audit_seconds_to_full"] == math.inf
    assert records(made, 300, 20.0)["audit_seconds_to_full"] == 70.0
    assert records(made, None, 30.0) == {
        "audit_records": None,
        "audit_capacity_records": 1000,
        "audit_used_percent": None,
        "audit_seconds_to_full": None,
    }


def test_names_that_change_from_poll_to_poll_do_not_pile_up() -> None:
    made, readings = state(), 0
    for poll in range(7):
        facts = [Fact(metric="sensor_well", value=1, resource=f"{poll} {n}") for n in range(1000)]
        readings = len(made.read(0, printed(*facts), float(poll)))

    assert readings == MOST_MISSING + 1000
    assert not made.forget("0 1")
    assert made.forget("6 1")


def test_nobody_is_missed_while_a_listing_has_not_been_read_yet() -> None:
    made = PollState("luna", resource="", expected=["a", "b"], audit_capacity=1, listing=[0, 1])
    readings = [*made.read(0, printed(*token("a")), 1.0), *made.fail(1, "no route", 1.0), *made.finish(1.0)]

    assert ("b", "token_present") not in shown(readings)
    readings = [*made.read(0, printed(*token("a")), 2.0), *made.read(1, printed(), 2.0), *made.finish(2.0)]
    assert shown(readings)["b", "token_present"] == (0, "")
