"""collect.snmp: rows keep their names whatever their neighbours do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.snmp.parse import ApplianceAnswers, ApplianceMemory, ParsedAnswers, parse
from hsm_agent.collect.snmp.profile import Profile
from hsm_agent.wire.snmp.ber import Undecodable

if TYPE_CHECKING:
    from hsm_agent.collect.snmp.values import RawValue
    from hsm_agent.wire.snmp.ber import Oid

ENTRY = (1, 3, 9, 1)
GONE = "the appliance does not report it any more"
TABLE: dict[str, Any] = {
    "oid": "1.3.9.1",
    "resource": ["label", "serial"],
    "values": [
        {"oid": 1, "name": "label", "read": "text"},
        {"oid": 2, "name": "serial", "read": "text"},
        {"oid": 3, "metric": "token_objects"},
    ],
}
PLAIN: dict[str, Any] = {"oid": "1.3.9.1", "resource": ["label"], "values": [TABLE["values"][0], TABLE["values"][2]]}
FIRST: tuple[Oid, tuple[RawValue, RawValue, RawValue]] = ((1,), (b"keys", b"11", 1))
SECOND: tuple[Oid, tuple[RawValue, RawValue, RawValue]] = ((2,), (b"keys", b"22", 2))


def polled(
    *rows: tuple[Oid, tuple[RawValue, RawValue, RawValue]],
    known: ApplianceMemory | None = None,
    table: dict[str, Any] = TABLE,
) -> ParsedAnswers:
    by_column: dict[Oid, dict[Oid, RawValue]] = {
        index: {(1,): label, (2,): serial, (3,): objects} for index, (label, serial, objects) in rows
    }
    profile = Profile.model_validate({"tables": [table]})
    answers = ApplianceAnswers(values={}, rows={ENTRY: by_column})
    return parse(answers, (profile,), known or ApplianceMemory(), source="a", now=0.0)


def shown(found: ParsedAnswers) -> dict[str, object]:
    return {each.resource: each.reason or each.value for each in found.readings}


def restarted(found: ParsedAnswers) -> ApplianceMemory:
    return ApplianceMemory(rows=found.known.rows, is_restored=True)


@pytest.mark.parametrize("table", [TABLE, PLAIN], ids=["by serial number", "by index"])
@pytest.mark.parametrize("is_restart", [False, True])
def test_of_two_rows_of_one_label_each_keeps_its_name_when_the_other_goes(
    table: dict[str, Any], *, is_restart: bool
) -> None:
    later = "22" if table is TABLE else "keys 2"
    both = polled(FIRST, SECOND, table=table)
    assert shown(both) == {"keys": 1, later: 2}

    def known() -> ApplianceMemory:
        return restarted(both) if is_restart else both.known

    assert shown(polled(SECOND, known=known(), table=table)) == {"keys": GONE, later: 2}
    assert shown(polled(FIRST, known=known(), table=table)) == {"keys": 1, later: GONE}
    back = polled(SECOND, FIRST, known=polled(SECOND, known=known(), table=table).known, table=table)
    assert shown(back) == {"keys": 1, later: 2}


def test_a_row_that_comes_later_takes_nobodys_name_not_even_that_of_one_that_is_missing() -> None:
    alone = polled(FIRST)
    both = polled(FIRST, SECOND, known=alone.known)
    empty = polled(known=alone.known)

    assert shown(both) == {"keys": 1, "22": 2}
    assert shown(polled(SECOND, known=empty.known)) == {"keys": GONE, "22": 2}


def test_a_row_in_another_place_is_known_by_its_serial_number() -> None:
    both = polled(FIRST, SECOND)

    moved = polled(((1,), (b"keys", b"22", 2)), ((2,), (b"keys", b"11", 1)), known=both.known)

    assert shown(moved) == {"keys": 1, "22": 2}


def test_a_row_with_a_new_label_is_told_under_it_and_missed_under_none() -> None:
    before = polled(FIRST)

    after = polled(((1,), (b"web", b"11", 1)), known=before.known)

    assert shown(after) == {"web": 1}
    assert after.gone == ("keys",)
    assert shown(polled(((1,), (b"web", b"11", 1)), known=after.known)) == {"web": 1}


def test_a_name_that_another_table_bears_is_not_told_as_gone() -> None:
    tables = [TABLE, {**PLAIN, "oid": "1.3.9.2", "values": [PLAIN["values"][0], {"oid": 3, "metric": "sensor_volts"}]}]
    profile = Profile.model_validate({"tables": tables})

    def turn(label: bytes, known: ApplianceMemory) -> ParsedAnswers:
        rows: dict[Oid, dict[Oid, dict[Oid, RawValue]]] = {
            ENTRY: {(1,): {(1,): label, (2,): b"11", (3,): 1}},
            (1, 3, 9, 2): {(1,): {(1,): b"keys", (3,): 5}},
        }
        return parse(ApplianceAnswers(values={}, rows=rows), (profile,), known, source="a", now=0.0)

    found = turn(b"web", turn(b"keys", ApplianceMemory()).known)

    assert shown(found) == {"web": 1, "keys": 5}
    assert found.gone == ()


def test_a_name_stays_though_another_row_shows_the_same_serial_number() -> None:
    both = polled(FIRST, SECOND)

    three = polled(FIRST, SECOND, ((3,), (b"web", b"22", 3)), known=both.known)

    assert shown(three) == {"keys": 1, "22": 2, "web": 3}


@pytest.mark.parametrize("table", [TABLE, PLAIN], ids=["by serial number", "by index"])
def test_a_label_that_cannot_be_decoded_costs_no_name(table: dict[str, Any]) -> None:
    both = polled(FIRST, SECOND, table=table)
    damaged: list[tuple[Oid, tuple[RawValue, RawValue, RawValue]]] = [
        (index, (Undecodable("OCTET STRING of 9 octets"), serial, objects))
        for index, (_, serial, objects) in (FIRST, SECOND)
    ]

    assert shown(polled(*damaged, known=both.known, table=table)) == shown(both)


def test_what_is_remembered_of_rows_that_come_and_go_is_bounded() -> None:
    known = ApplianceMemory()
    for turn in range(5):
        rows: list[tuple[Oid, tuple[RawValue, RawValue, RawValue]]] = [
            ((turn, row), (f"{turn}.{row}".encode(), b"", 1)) for row in range(300)
        ]
        known = polled(*rows, known=known).known

    assert len(known.rows[0]) == 300 + 1024


def test_what_is_forgotten_is_forgotten_with_its_prefix() -> None:
    table = {**TABLE, "prefix": "hsm "}
    both = polled(FIRST, SECOND, table=table)

    kept = both.known.without({"hsm keys"}, ["hsm "])

    assert [*kept.rows[0]] == ["22"]
    alone = polled(SECOND, known=kept, table=table)
    assert shown(alone) == {"hsm keys": 2}
    assert alone.gone == ("hsm 22",)
