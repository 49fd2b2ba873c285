from __future__ import annotations

import pytest

from hsm_agent.collect.command.parsers.luna_hsm import parse_audit_show, parse_audit_status
from hsm_agent.collect.command.parsers.text import Malformed
from tests.unit.collect.shell_samples import read, reasons, sample, values


def test_audit_show() -> None:
    assert values(read("audit_show")) == {
        "audit_records": 49_530,
        "audit_export_working": 1,
        "audit_logging_configured": 1,
        "hsm_clock_offset_seconds": -32.0,
    }


def test_a_daemon_that_was_not_found_and_a_clock_across_the_end_of_a_month() -> None:
    assert values(read("audit_show_no_daemon")) == {
        "audit_records": 0,
        "audit_export_working": 0,
        "audit_logging_configured": 0,
        "hsm_clock_offset_seconds": 4.0,
    }


def test_lunacm_audit_status() -> None:
    assert values(read("audit_status")) == {"audit_records": 16, "audit_role_initialized": 1}


@pytest.mark.parametrize(
    ("state", "value"),
    [("initialized", 1), ("Not initialized", 0), ("logged in", None), ("not logged in", None), ("asleep", None)],
)
def test_the_role_is_known_only_where_its_state_says_so(state: str, value: int | None) -> None:
    text = sample("audit_status").replace("initialized", state)

    assert values(parse_audit_status(text)).get("audit_role_initialized") == value


@pytest.mark.parametrize(
    ("before", "after", "metric", "said"),
    [
        ("49530 log", "many log", "audit_records", "no number of records: HSM is currently storing many log records."),
        ("HSM is currently storing 49530 log records.", "", "audit_records", "no line 'HSM is currently storing"),
        ("HSM found logging daemon", "HSM awaits logging daemon", "audit_export_working", "neither said nor denied"),
        ("Logging has been configured", "", "audit_logging_configured", "no line 'Logging has been configured'"),
        ("Mon Nov 16 17:50:35", "Mon Nov 31 17:50:35", "hsm_clock_offset_seconds", "no such time"),
        ("Mon Nov 16 17:50:35 2026", "2026-11-16 17:50:35", "hsm_clock_offset_seconds", "no time as expected"),
        ("17:50:35 2026", "17:50:35 EST 2026", "hsm_clock_offset_seconds", "of different zones: EST"),
        ("HOST Time", "Clock", "hsm_clock_offset_seconds", "no line 'HOST Time'"),
        ("HSM Time", "Clock", "hsm_clock_offset_seconds", "no line 'HSM Time'"),
    ],
)
def test_a_line_that_does_not_fit_has_no_value_and_is_shown(before: str, after: str, metric: str, said: str) -> None:
    text = sample("audit_show")
    assert before in text
    parsed = parse_audit_show(text.replace(before, after))

    assert said in reasons(parsed)[metric]


def test_two_counts_that_differ_are_none() -> None:
    text = sample("audit_show").replace("HSM Audit Role", "HSM is currently storing 5 log records.\nHSM Audit Role")

    assert "said twice" in reasons(parse_audit_show(text))["audit_records"]


def test_the_time_with_a_zone() -> None:
    text = sample("audit_show").replace(" 2026", " UTC 2026")

    assert values(parse_audit_show(text))["hsm_clock_offset_seconds"] == -32.0


@pytest.mark.parametrize("parse", [parse_audit_show, parse_audit_status])
@pytest.mark.parametrize("text", ["", "something else\n", sample("refused")])
def test_an_output_that_is_none_fails_as_a_whole(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize(
    ("state", "value"), [("initialized", 1), ("not initialized.", 0), ("locked", None), ("logged in", "none")]
)
def test_a_state_of_the_role_that_is_not_known_is_said(state: str, value: int | str | None) -> None:
    parsed = parse_audit_status(f"HSM Auditor: {state}\nHSM is currently storing 1 log records.\n")
    found = [(fact.value, fact.reason) for fact in parsed.facts if fact.metric == "audit_role_initialized"]

    if value == "none":
        assert found == []
    else:
        ((said, reason),) = found
        assert said == value
        assert reason == ("" if value is not None else "no known state of the audit role: HSM Auditor: locked")


def test_a_state_of_the_role_that_stands_twice_is_none() -> None:
    parsed = parse_audit_status(
        "HSM Auditor: initialized\nHSM Auditor: not initialized\nHSM is currently storing 1 log records.\n"
    )

    assert "stands twice" in reasons(parsed)["audit_role_initialized"]
