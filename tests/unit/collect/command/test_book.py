from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hsm_agent.collect.command.book import ABSENT, KEPT_PLACES, NOT_PRINTED, Book
from hsm_agent.collect.command.parsers import PARSERS
from hsm_agent.collect.shell.slots import parse as parse_slots
from hsm_agent.collect.shell.text import Fact, Parsed
from hsm_agent.evaluate.defaults import DEFAULT_RULES
from tests.unit.collect.shell_samples import read, sample

if TYPE_CHECKING:
    from hsm_agent.model import Reading


def book(*expected: str, resource: str = "", capacity: int = 1000) -> Book:
    return Book("luna", resource=resource, expected=expected, audit_capacity=capacity)


def token(name: str, objects: int = 3) -> tuple[Fact, Fact]:
    return Fact(metric="token_present", value=1, resource=name), Fact(
        metric="token_objects", value=objects, resource=name
    )


def printed(*facts: Fact, whole: bool = True) -> Parsed:
    return Parsed(facts=facts, whole=whole)


def shown(readings: list[Reading]) -> dict[tuple[str, str], tuple[float | int | None, str]]:
    return {(reading.resource, reading.metric): (reading.value, reading.reason) for reading in readings}


def test_what_a_run_does_not_print_any_more_has_no_value() -> None:
    one, two = Fact(metric="hsm_tampered", value=0), Fact(metric="sensor_celsius", value=40, resource="cpu", limit=75)
    made = book()
    made.read(0, printed(one, two), 1.0)

    assert shown(made.read(0, printed(one), 2.0)) == {
        ("", "hsm_tampered"): (0, ""),
        ("cpu", "sensor_celsius"): (None, NOT_PRINTED),
    }
    assert shown(made.read(0, printed(one, two), 3.0))["cpu", "sensor_celsius"] == (40, "")


def test_runs_do_not_miss_each_others_readings() -> None:
    made = book()
    made.read(0, printed(Fact(metric="hsm_tampered", value=0)), 1.0)

    assert shown(made.read(1, printed(Fact(metric="audit_role_initialized", value=1)), 1.0)) == {
        ("", "audit_role_initialized"): (1, "")
    }


def test_a_run_that_fails_loses_everything_it_ever_brought() -> None:
    made = book()
    made.read(0, printed(Fact(metric="token_login_attempts_left", value=3, labels=(("role", "so"),), limit=1)), 1.0)
    (lost,) = made.fail(0, "no route", 2.0)

    assert (lost.value, lost.reason, lost.labels, lost.limit) == (None, "no route", (("role", "so"),), None)
    assert made.fail(1, "no route", 2.0) == []


def test_what_never_had_a_value_is_not_missed() -> None:
    made = book()
    made.read(0, printed(Fact(metric="sensor_well", value=None, resource="noise", reason="?")), 1.0)

    assert made.read(0, printed(), 2.0) == []


def test_new_content_of_an_info_is_the_same_reading() -> None:
    made = book()
    made.read(0, printed(Fact(metric="hsm_firmware_info", value=1, labels=(("version", "1"),))), 1.0)
    (now,) = made.read(0, printed(Fact(metric="hsm_firmware_info", value=1, labels=(("version", "2"),))), 2.0)

    assert now.labels == (("version", "2"),)


def test_a_token_that_was_there_and_is_not_in_a_complete_output_is_gone() -> None:
    made = book()
    made.read(0, printed(*token("a"), *token("b")), 1.0)
    made.finish(1.0)
    readings = [*made.read(0, printed(*token("a")), 2.0), *made.finish(2.0)]

    assert shown(readings)["b", "token_present"] == (0, "")
    assert shown(readings)["b", "token_objects"] == (None, ABSENT)
    assert len(readings) == 4


def test_a_token_that_is_not_in_an_output_that_may_be_cut_is_unknown() -> None:
    made = book("a", "b")
    made.read(0, printed(*token("a"), *token("b")), 1.0)
    made.finish(1.0)
    readings = [*made.read(0, printed(*token("a"), whole=False), 2.0), *made.finish(2.0)]

    assert shown(readings)["b", "token_present"] == (None, NOT_PRINTED)


def test_an_expected_token_is_missed_though_it_was_never_seen() -> None:
    made = book("a", "b")
    readings = [*made.read(0, printed(*token("a")), 1.0), *made.finish(1.0)]
    present = {
        reading.resource: (reading.value, reading.labels) for reading in readings if reading.metric == "token_present"
    }

    assert present == {"a": (1, (("expected", "true"),)), "b": (0, (("expected", "true"),))}
    assert "token-missing" in {rule.name for rule in DEFAULT_RULES}


def test_an_expected_token_may_be_in_another_run() -> None:
    made = book("a", "b")
    readings = [*made.read(0, printed(*token("a")), 1.0), *made.read(1, printed(*token("b")), 1.0), *made.finish(1.0)]

    assert {reading.value for reading in readings if reading.metric == "token_present"} == {1}


def test_while_a_run_with_tokens_fails_nobody_is_declared_gone_that_it_may_have() -> None:
    made = book("a", "b", "c")
    made.read(0, printed(*token("a")), 1.0)
    made.read(1, printed(*token("b")), 1.0)
    made.finish(1.0)
    readings = [*made.read(0, printed(*token("a")), 2.0), *made.fail(1, "no route", 2.0), *made.finish(2.0)]

    assert shown(readings)["b", "token_present"] == (None, "no route")
    assert ("c", "token_present") not in shown(readings)


def test_nobody_is_missed_before_anything_was_read() -> None:
    made = book("a")

    assert [*made.fail(0, "no route", 1.0), *made.finish(1.0)] == []


def test_forget() -> None:
    made = book()
    made.read(0, printed(*token("a"), *token("b")), 1.0)
    made.finish(1.0)

    assert made.forget("b")
    assert not made.forget("b")
    assert [*made.read(0, printed(*token("a")), 2.0), *made.finish(2.0)][2:] == []


def test_readings_of_the_whole_device_bear_the_name_that_was_given() -> None:
    (reading,) = book(resource="hsm 1").read(0, printed(Fact(metric="hsm_tampered", value=0)), 1.0)

    assert (reading.source, reading.resource, reading.time) == ("luna", "hsm 1", 1.0)


def records(made: Book, count: int | None, at: float) -> dict[str, float | int | None]:
    fact = Fact(metric="audit_records", value=count, reason="" if count is not None else "why")
    return {reading.metric: reading.value for reading in made.read(0, printed(fact), at)}


def test_fill_and_forecast_of_the_audit_store() -> None:
    made = book(capacity=1000)

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
    made, readings = book(), 0
    for poll in range(12):
        facts = [Fact(metric="sensor_well", value=1, resource=f"{poll} {n}") for n in range(1000)]
        readings = len(made.read(0, printed(*facts), float(poll)))

    assert readings == KEPT_PLACES + 1000
    assert not made.forget("0 1")
    assert made.forget("11 1")


FIRST, SECOND = "signing", "5D1E0B02"


def slots(*numbers: int) -> Parsed:
    """The two tokens of one label, or one of them."""
    text = sample("pkcs11_tool_slots_one_label")
    head, one, two = (
        text[: text.index("Slot 1")],
        text[text.index("Slot 1") : text.index("Slot 2")],
        text[text.index("Slot 2") :],
    )
    return parse_slots(head + "".join((one, two)[number - 1] for number in numbers))


def present(made: Book, *numbers: int, at: float = 1.0) -> dict[str, tuple[float | int | None, str]]:
    """Who is there, and whether he is expected."""
    readings = [*made.read(0, slots(*numbers), at), *made.finish(at)]
    return {
        reading.resource: (reading.value, dict(reading.labels)["expected"])
        for reading in readings
        if reading.metric == "token_present"
    }


def test_of_two_tokens_of_one_label_the_one_that_is_pulled_is_missed_and_not_the_other() -> None:
    made = book()

    assert present(made, 1, 2) == {FIRST: (1, "false"), SECOND: (1, "false")}
    assert present(made, 2) == {FIRST: (0, "false"), SECOND: (1, "false")}
    assert present(made, 1, 2) == {FIRST: (1, "false"), SECOND: (1, "false")}
    assert present(made, 1) == {FIRST: (1, "false"), SECOND: (0, "false")}
    assert present(made) == {FIRST: (0, "false"), SECOND: (0, "false")}


def test_a_restart_keeps_who_has_the_name_and_who_is_missed() -> None:
    before = book()
    present(before, 1, 2)
    made = book()
    made.remember(before.seen)

    assert present(made, 2) == {FIRST: (0, "false"), SECOND: (1, "false")}
    made = book()
    made.remember({0: {FIRST: before.seen[0][FIRST]}})
    assert present(made, 2) == {FIRST: (0, "false"), SECOND: (1, "false")}


def test_the_readings_of_each_are_its_own() -> None:
    made = book()
    made.read(0, slots(1, 2), 1.0)
    made.finish(1.0)
    (info,) = [one for one in made.read(0, slots(2), 2.0) if one.metric == "token_info" and one.value == 1]

    assert (info.resource, dict(info.labels)["serial"]) == (SECOND, "5D1E0B02")


def test_a_token_that_is_forgotten_leaves_its_name_to_the_other_and_nobody_is_missed() -> None:
    made = book()
    present(made, 1, 2)
    present(made, 2)

    assert made.forget(FIRST)
    assert present(made, 2) == {FIRST: (1, "false")}
    assert made.gone == (SECOND,)
    assert present(made, 2) == {FIRST: (1, "false")}
    assert made.gone == ()


def test_a_token_under_another_label_is_the_same_and_nobody_is_missed() -> None:
    made = book()
    text = sample("pkcs11_tool_slots_one_label")
    made.read(0, parse_slots(text), 1.0)
    made.finish(1.0)
    renamed = parse_slots(text.replace(": signing", ": sealing", 1))
    readings = [*made.read(0, renamed, 2.0), *made.finish(2.0)]

    assert {one.resource for one in readings} == {"sealing", FIRST}
    assert all(one.value == 1 for one in readings if one.metric == "token_present")
    assert made.gone == (SECOND,)


def test_a_label_or_a_serial_number_may_be_expected() -> None:
    assert present(book("5D1E0A01"), 1, 2) == {FIRST: (1, "true"), SECOND: (1, "false")}
    assert present(book("signing"), 2) == {FIRST: (1, "true")}
    assert present(book("5D1E0A01"), 2) == {"signing": (1, "false"), "5D1E0A01": (0, "true")}


def test_an_expected_label_is_there_while_any_token_has_it() -> None:
    made = book("signing")
    present(made, 1, 2)

    assert present(made, 2) == {FIRST: (0, "false"), SECOND: (1, "true")}
    assert present(made) == {FIRST: (0, "true"), SECOND: (0, "true")}


def test_nobody_is_missed_while_a_listing_has_not_been_read_yet() -> None:
    made = Book("luna", resource="", expected=["a", "b"], audit_capacity=1, listing=[0, 1])
    readings = [*made.read(0, printed(*token("a")), 1.0), *made.fail(1, "no route", 1.0), *made.finish(1.0)]

    assert ("b", "token_present") not in shown(readings)
    readings = [*made.read(0, printed(*token("a")), 2.0), *made.read(1, printed(), 2.0), *made.finish(2.0)]
    assert shown(readings)["b", "token_present"] == (0, "")


def test_partitions_of_one_name_keep_their_readings_apart() -> None:
    made = book()
    parsed = read("partition_show")
    made.read(0, parsed, 1.0)
    made.finish(1.0)

    assert {*made.seen[0]} == {"payments", "archive"}


def test_a_damaged_row_costs_its_partition_the_figures_and_nobody_the_name() -> None:
    made = book()
    text = sample("partition_list")
    made.read(0, PARSERS["lunash-partition-list"](text), 1.0)
    made.finish(1.0)
    damaged = PARSERS["lunash-partition-list"](text.replace("3464", "34b4"))
    found = shown([*made.read(0, damaged, 2.0), *made.finish(2.0)])

    assert found["code signing 2", "token_present"] == (1, "")
    value, reason = found["code signing 2", "token_storage_used_bytes"]
    assert (value, reason.split(":")[0]) == (None, "a row unlike the table's head")
    assert found["payments", "token_objects"] == (0, "")
    assert made.gone == ()
