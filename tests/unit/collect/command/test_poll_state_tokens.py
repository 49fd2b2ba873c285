"""Tokens of one label and partitions by name: who is there, who is missed, and by which name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers import PARSERS
from hsm_agent.collect.command.parsers.pkcs11_tool_slots import parse_slots
from tests.unit.collect.command.test_poll_state import shown, state
from tests.unit.collect.shell_samples import read, sample

if TYPE_CHECKING:
    from hsm_agent.collect.command.parsers.text import ParsedOutput
    from hsm_agent.collect.command.poll_state import PollState

FIRST, SECOND = "signing", "5D1E0B02"


def slots(*numbers: int) -> ParsedOutput:
    """The two tokens of one label, or one of them."""
    text = sample("pkcs11_tool_slots_one_label")
    head, one, two = (
        text[: text.index("Slot 1")],
        text[text.index("Slot 1") : text.index("Slot 2")],
        text[text.index("Slot 2") :],
    )
    return parse_slots(head + "".join((one, two)[number - 1] for number in numbers))


def present(made: PollState, *numbers: int, at: float = 1.0) -> dict[str, tuple[float | int | None, str]]:
    """Who is there, and whether he is expected."""
    readings = [*made.read(0, slots(*numbers), at), *made.finish(at)]
    return {
        reading.resource: (reading.value, dict(reading.labels)["expected"])
        for reading in readings
        if reading.metric == "token_present"
    }


def test_of_two_tokens_of_one_label_the_one_that_is_pulled_is_missed_and_not_the_other() -> None:
    made = state()

    assert present(made, 1, 2) == {FIRST: (1, "false"), SECOND: (1, "false")}
    assert present(made, 2) == {FIRST: (0, "false"), SECOND: (1, "false")}
    assert present(made, 1, 2) == {FIRST: (1, "false"), SECOND: (1, "false")}
    assert present(made, 1) == {FIRST: (1, "false"), SECOND: (0, "false")}
    assert present(made) == {FIRST: (0, "false"), SECOND: (0, "false")}


def test_a_restart_keeps_who_has_the_name_and_who_is_missed() -> None:
    before = state()
    present(before, 1, 2)
    made = state()
    made.remember(before.seen)

    assert present(made, 2) == {FIRST: (0, "false"), SECOND: (1, "false")}
    made = state()
    made.remember({0: {FIRST: before.seen[0][FIRST]}})
    assert present(made, 2) == {FIRST: (0, "false"), SECOND: (1, "false")}


def test_the_readings_of_each_are_its_own() -> None:
    made = state()
    made.read(0, slots(1, 2), 1.0)
    made.finish(1.0)
    (info,) = [one for one in made.read(0, slots(2), 2.0) if one.metric == "token_info" and one.value == 1]

    assert (info.resource, dict(info.labels)["serial"]) == (SECOND, "5D1E0B02")


def test_a_token_that_is_forgotten_leaves_its_name_to_the_other_and_nobody_is_missed() -> None:
    made = state()
    present(made, 1, 2)
    present(made, 2)

    assert made.forget(FIRST)
    assert present(made, 2) == {FIRST: (1, "false")}
    assert list(made.gone) == [SECOND]
    assert present(made, 2) == {FIRST: (1, "false")}
    assert list(made.gone) == []


def test_a_token_under_another_label_is_the_same_and_nobody_is_missed() -> None:
    made = state()
    text = sample("pkcs11_tool_slots_one_label")
    made.read(0, parse_slots(text), 1.0)
    made.finish(1.0)
    renamed = parse_slots(text.replace(": signing", ": sealing", 1))
    readings = [*made.read(0, renamed, 2.0), *made.finish(2.0)]

    assert {one.resource for one in readings} == {"sealing", FIRST}
    assert all(one.value == 1 for one in readings if one.metric == "token_present")
    assert list(made.gone) == [SECOND]


def test_a_label_or_a_serial_number_may_be_expected() -> None:
    assert present(state("5D1E0A01"), 1, 2) == {FIRST: (1, "true"), SECOND: (1, "false")}
    assert present(state("signing"), 2) == {FIRST: (1, "true")}
    assert present(state("5D1E0A01"), 2) == {"signing": (1, "false"), "5D1E0A01": (0, "true")}


def test_an_expected_label_is_there_while_any_token_has_it() -> None:
    made = state("signing")
    present(made, 1, 2)

    assert present(made, 2) == {FIRST: (0, "false"), SECOND: (1, "true")}
    assert present(made) == {FIRST: (0, "true"), SECOND: (0, "true")}


def test_partitions_of_one_name_keep_their_readings_apart() -> None:
    made = state()
    parsed = read("partition_show")
    made.read(0, parsed, 1.0)
    made.finish(1.0)

    assert {*made.seen[0]} == {"payments", "archive"}


def test_a_damaged_row_costs_its_partition_the_figures_and_nobody_the_name() -> None:
    made = state()
    text = sample("partition_list")
    made.read(0, PARSERS["lunash-partition-list"](text), 1.0)
    made.finish(1.0)
    damaged = PARSERS["lunash-partition-list"](text.replace("3464", "34b4"))
    found = shown([*made.read(0, damaged, 2.0), *made.finish(2.0)])

    assert found["code signing 2", "token_present"] == (1, "")
    value, reason = found["code signing 2", "token_storage_used_bytes"]
    assert (value, reason.split(":")[0]) == (None, "a row unlike the table's head")
    assert found["payments", "token_objects"] == (0, "")
    assert list(made.gone) == []
