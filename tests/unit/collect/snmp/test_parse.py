"""From answers to readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.snmp.parse import ApplianceAnswers, ApplianceMemory, ParsedAnswers, parse
from hsm_agent.collect.snmp.profile import Profile, profile
from hsm_agent.wire.snmp.ber import Undecodable

if TYPE_CHECKING:
    from hsm_agent.collect.snmp.values import RawValue
    from hsm_agent.wire.snmp.ber import Oid

ENTRY = (1, 3, 9, 1)
ROWS: dict[str, Any] = {
    "oid": "1.3.9.1",
    "resource": ["label", "serial"],
    "values": [
        {"oid": 1, "name": "label", "read": "text"},
        {"oid": 2, "name": "serial", "read": "text"},
        {"oid": 3, "metric": "token_objects"},
    ],
}


def rows(*given: tuple[Oid, dict[int, RawValue]]) -> dict[Oid, dict[Oid, dict[Oid, RawValue]]]:
    return {ENTRY: {index: {(column,): value for column, value in values.items()} for index, values in given}}


def parsed(fields: dict[str, Any], answers: ApplianceAnswers, known: ApplianceMemory | None = None) -> ParsedAnswers:
    return parse(answers, (Profile.model_validate(fields),), known or ApplianceMemory(), source="a", now=0.0)


def shown(found: ParsedAnswers) -> dict[tuple[str, str], object]:
    return {(each.resource, each.metric): each.reason or each.value for each in found.readings}


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ((b"a", b"1"), (b"b", b"2"), ["a", "b"]),
        ((b"a", b"1"), (b"a", b"2"), ["2", "a"]),
        ((b"a", b"1"), (b"", b"2"), ["2", "a"]),
        ((b"a", b"1"), (b"a", b"1"), ["a", "a 2"]),
        ((b"", b""), (b"", b""), ["1", "2"]),
        ((b"2", b""), (b"", b""), ["2", "row 2"]),
    ],
    ids=["by label", "labels collide", "one has no label", "all collide", "nothing has a name", "an index is taken"],
)
def test_a_row_has_a_name_that_no_other_bears(
    first: tuple[bytes, bytes], second: tuple[bytes, bytes], names: list[str]
) -> None:
    given = rows(((1,), {1: first[0], 2: first[1], 3: 5}), ((2,), {1: second[0], 2: second[1], 3: 5}))

    found = parsed({"tables": [ROWS]}, ApplianceAnswers(values={}, rows=given))

    assert sorted({each.resource for each in found.readings}) == names


@pytest.mark.parametrize(
    ("index", "name"),
    [
        ((3, 97, 98, 99), "abc"),
        ((1, 97, 2, 98, 99), "a/bc"),
        ((97, 98, 99), "abc"),
        ((3, 97, 98, 99, 4), "3.97.98.99.4"),
        ((7,), "7"),
    ],
)
def test_an_index_of_text_is_read_with_and_without_its_length(index: Oid, name: str) -> None:
    table = {**ROWS, "index": "text", "resource": [], "prefix": "slot "}

    assert [*shown(parsed({"tables": [table]}, ApplianceAnswers(values={}, rows=rows((index, {3: 5})))))] == [
        (f"slot {name}", "token_objects")
    ]


def test_only_rows_that_are_wanted_are_shown() -> None:
    given = rows(((1,), {1: b"a", 3: 5}), ((2,), {1: b"b", 3: 6}), ((3,), {3: 7}))

    found = parsed({"tables": [{**ROWS, "where": {"label": "b"}}]}, ApplianceAnswers(values={}, rows=given))

    assert shown(found) == {("b", "token_objects"): 6}


def test_what_an_appliance_never_had_is_no_reading() -> None:
    found = parse(
        ApplianceAnswers(values={}, rows={}), (profile("luna-legacy"),), ApplianceMemory(), source="a", now=0.0
    )

    assert found.readings == ()
    assert found.found == (False,)


SIMPLE: dict[str, Any] = {
    "values": [{"oid": "1.3.1", "metric": "hsm_clients"}, {"oid": "1.3.2", "metric": "hsm_load_percent"}]
}


def test_what_the_operator_asks_for_and_the_appliance_has_not_is_unavailable_with_the_reason() -> None:
    own = Profile.model_validate(
        {
            "values": [
                {"oid": "1.3.6.1.4.1.32473.1.0", "metric": "custom_jobs", "resource": "queue"},
                {"oid": "1.3.6.1.4.1.32473.2.0", "metric": "custom_fans"},
                {"oid": "1.3.6.1.4.1.32473.3.0", "metric": "custom_doors"},
                {"oid": "1.3.6.1.4.1.32473.4.0", "name": "size"},
                {"oid": "1.3.6.1.4.1.32473.5.0", "metric": "custom_part", "read": "number", "states": {"none": None}},
            ]
        }
    )
    there: dict[Oid, RawValue] = {own.values[2].oid: 2, own.values[4].oid: b"none"}
    failed = {own.values[1].oid: "the appliance refuses it: genErr"}

    found = parse(
        ApplianceAnswers(values=there, rows={}, failed=failed), (own,), ApplianceMemory(), source="a", now=0.0, own=own
    )

    assert shown(found) == {
        ("queue", "custom_jobs"): "the appliance reports nothing under 1.3.6.1.4.1.32473.1.0",
        ("", "custom_fans"): "the appliance refuses it: genErr",
        ("", "custom_doors"): 2,
    }


def test_what_was_there_and_is_not_is_unavailable_with_the_reason() -> None:
    first = parsed(SIMPLE, ApplianceAnswers(values={(1, 3, 1): 4, (1, 3, 2): 5}, rows={}))

    gone = parsed(SIMPLE, ApplianceAnswers(values={(1, 3, 1): 4}, rows={}), first.known)
    silent = parsed(
        SIMPLE, ApplianceAnswers(values={(1, 3, 1): 4}, rows={}, failed={(1, 3, 2): "no answer"}), gone.known
    )
    back = parsed(SIMPLE, ApplianceAnswers(values={(1, 3, 1): 4, (1, 3, 2): 5}, rows={}), silent.known)

    load = ("", "hsm_load_percent")
    assert [shown(each)[load] for each in (first, gone, silent, back)] == [
        5,
        "the appliance does not report it any more",
        "no answer",
        5,
    ]


def test_what_is_missed_does_not_pile_up_for_ever() -> None:
    known = ApplianceMemory()
    for turn in range(6):
        there: dict[Oid, dict[Oid, RawValue]] = {(turn, row): {(3,): row} for row in range(300)}
        known = parsed({"tables": [ROWS]}, ApplianceAnswers(values={}, rows={ENTRY: there}), known).known

    assert len(known.series.facts) == 300 + 1000
    assert {place.split(".")[0] for place, _, _ in known.series.facts} == {"5", "4", "3", "2", "1"}


def test_a_table_that_is_not_answered_makes_its_rows_unavailable() -> None:
    first = parsed({"tables": [ROWS]}, ApplianceAnswers(values={}, rows=rows(((1,), {1: b"a", 3: 5}))))

    silent = parsed({"tables": [ROWS]}, ApplianceAnswers(values={}, rows={}, failed={ENTRY: "no answer"}), first.known)

    assert shown(silent) == {("a", "token_objects"): "no answer"}


def test_the_content_of_an_info_is_not_its_identity() -> None:
    fields = {
        "values": [{"oid": "1.3.1", "name": "version", "read": "text"}],
        "infos": [{"metric": "hsm_firmware_info", "labels": {"version": "version"}}],
    }
    first = parsed(fields, ApplianceAnswers(values={(1, 3, 1): b"7.4"}, rows={}))

    second = parsed(fields, ApplianceAnswers(values={(1, 3, 1): b"7.7"}, rows={}), first.known)

    assert [(each.value, each.labels) for each in second.readings] == [(1, (("version", "7.7"),))]


SHARE: dict[str, Any] = {
    "values": [{"oid": "1.3.1", "name": "used"}, {"oid": "1.3.2", "name": "all"}, {"oid": "1.3.3", "name": "cache"}],
    "shares": [{"metric": "host_memory_used_percent", "part": "used", "less": ["cache"], "whole": "all"}],
}


@pytest.mark.parametrize(
    ("used", "whole", "cache", "said"),
    [
        (60, 100, 10, 50.0),
        (60, 0, 10, "the size is 0"),
        (60, -5, 10, "'all' is -5, which is no size"),
        (6, 100, 10, "'used' less cache is -4, which is no size"),
        (160, 100, 10, "the values contradict each other: 150 of 100 in use"),
        (60, 100, b"x", "'cache': the appliance says 'x', which is not a number that is known here"),
        (60, 100, Undecodable("INTEGER of 9 octets"), "'cache': the appliance sent what cannot be decoded: INTEGER"),
        (60, 100, None, "the appliance does not report 'cache' of it"),
        (60, None, 10, "the appliance does not report 'all' of it"),
        (None, 100, 10, "the appliance does not report 'used' of it"),
        (None, None, 10, None),
    ],
)
def test_a_share_is_a_percentage_or_says_why_there_is_none(
    used: RawValue | None, whole: RawValue | None, cache: RawValue | None, said: float | str | None
) -> None:
    given = {(1, 3, 1): used, (1, 3, 2): whole, (1, 3, 3): cache}
    found = parsed(SHARE, ApplianceAnswers(values={oid: raw for oid, raw in given.items() if raw is not None}, rows={}))

    found_said = shown(found).get(("", "host_memory_used_percent"))
    assert str(found_said).startswith(str(said))


def test_a_share_without_an_answer_to_one_of_its_parts_says_so() -> None:
    answers = ApplianceAnswers(
        values={(1, 3, 1): 60, (1, 3, 2): 100}, rows={}, failed={(1, 3, 3): "no answer within 5 s"}
    )

    assert shown(parsed(SHARE, answers)) == {("", "host_memory_used_percent"): "no answer within 5 s"}


def test_a_share_in_a_table_that_was_not_read_to_its_end_says_so() -> None:
    fields = {"tables": [{**SHARE, "oid": "1.3.9"}]}
    answers = ApplianceAnswers(
        values={}, rows={(1, 3, 9): {(7,): {(1, 3, 1): 60}}}, failed={(1, 3, 9): "no answer within 5 s"}
    )

    assert shown(parsed(fields, answers)) == {("7", "host_memory_used_percent"): "no answer within 5 s"}


@pytest.mark.parametrize(
    ("size", "used", "said"),
    [
        pytest.param(-(2**31), -(2**31), 100.0, id="a size of 2^31"),
        pytest.param(-1, 2**31 - 1, 50.0, id="a size of nearly 2^32"),
        pytest.param(-1, -(2**30), 75.0, id="both negative"),
        pytest.param(100, -1, "the values contradict each other: 4294967295 of 100 in use", id="no size at all"),
    ],
)
def test_a_negative_size_is_a_number_of_32_bits_without_sign(size: int, used: int, said: float | str) -> None:
    fields: dict[str, Any] = {
        "values": [
            {"oid": "1.3.1", "name": "size", "read": "unsigned"},
            {"oid": "1.3.2", "name": "used", "read": "unsigned"},
        ],
        "shares": [{"metric": "host_disk_used_percent", "part": "used", "whole": "size"}],
    }
    found = shown(parsed(fields, ApplianceAnswers(values={(1, 3, 1): size, (1, 3, 2): used}, rows={})))

    value = found["", "host_disk_used_percent"]
    assert value == said if isinstance(said, str) else value == pytest.approx(said)


def test_a_share_of_growth_begins_anew_with_its_counters_and_waits_for_news() -> None:
    fields = {
        **SHARE,
        "shares": [{"metric": "hsm_utilization_percent", "part": "used", "whole": "all", "change": True}],
    }
    known, seen = ApplianceMemory(), []
    for used, whole in ((10, 100), (20, 150), (20, 150), (30, 160), (5, 170), (6, 180), (0, 5)):
        found = parsed(fields, ApplianceAnswers(values={(1, 3, 1): used, (1, 3, 2): whole}, rows={}), known)
        known = found.known
        seen.append(shown(found).get(("", "hsm_utilization_percent")))

    anew = "its counters began anew"
    assert seen == [None, 20.0, 20.0, 100.0, anew, 10.0, anew]


def test_a_value_brings_its_own_limit() -> None:
    fields = {
        "values": [{"oid": "1.3.1", "metric": "sensor_celsius", "limit": "most"}, {"oid": "1.3.2", "name": "most"}]
    }
    found = parsed(fields, ApplianceAnswers(values={(1, 3, 1): 20, (1, 3, 2): 80}, rows={}))
    alone = parsed(fields, ApplianceAnswers(values={(1, 3, 1): 20}, rows={}))

    assert [each.limit for each in (*found.readings, *alone.readings)] == [80, None]


def test_a_state_that_is_a_text_is_no_number() -> None:
    fields = {"values": [{"oid": "1.3.1", "metric": "sensor_well", "states": {"1": "fine"}}]}

    assert shown(parsed(fields, ApplianceAnswers(values={(1, 3, 1): 1}, rows={}))) == {
        ("", "sensor_well"): "'fine' is a text, not a number"
    }
