from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.collect.pkcs11.luna_ha import HaState, decode, ha_facts, mask
from tests.unit.collect.luna_answers import SIZE, UNTOUCHED, old, young

UP, DOWN = 0, 0x30


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(young({"1001": UP, "1002": DOWN}), id="serials are text"),
        pytest.param(old({1001: UP, 1002: DOWN}), id="serials are numbers"),
        pytest.param(old({1001: UP, 1002: DOWN}, short=True), id="and the count is a short"),
    ],
)
def test_each_layout_is_known_by_what_was_written(answer: str) -> None:
    assert decode(bytes.fromhex(answer), 8) == HaState("1000", (("1001", UP), ("1002", DOWN)))


def test_a_full_list_is_read_to_its_end() -> None:
    members = {str(1000 + n): UP for n in range(32)}
    numbers = {1000 + n: UP for n in range(32)}

    assert decode(bytes.fromhex(young(members)), 8) == HaState("1000", tuple(members.items()))
    assert decode(bytes.fromhex(old(numbers)), 8) == HaState("1000", tuple(members.items()))


def test_a_group_without_members() -> None:
    assert decode(bytes.fromhex(young({})), 8) == HaState("1000", ())


def test_words_of_32_bits() -> None:
    data = bytearray(UNTOUCHED * 792)
    data[0:20] = b"1000".ljust(20, b"\0")
    data[20:44] = b"1001".ljust(20, b"\0") + struct.pack("=I", DOWN)
    struct.pack_into("=I", data, 20 + 24 * 32, 1)

    assert decode(bytes(data), 4) == HaState("1000", (("1001", DOWN),))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(young({"1001": UP}, count=33), id="more members than there is room for"),
        pytest.param(young({"1001": UP}, count=2), id="a member that was not written"),
        pytest.param(young({"1001": UP}, serial="\x01\x02"), id="a serial that is no text"),
        pytest.param(old({1001: UP}, count=2), id="a number that was not written"),
        pytest.param((UNTOUCHED * SIZE).hex(), id="nothing written"),
        pytest.param((b"\0" * SIZE).hex()[:100], id="less than a layout"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_fits_no_layout_is_not_read(answer: str) -> None:
    assert decode(bytes.fromhex(answer), 8) is None


@given(st.binary(max_size=1100), st.sampled_from((4, 8)))
def test_whatever_the_library_wrote_is_read_or_refused(data: bytes, word: int) -> None:
    state = decode(data, word)

    assert state is None or len(state.members) <= 32
    assert len(mask(data, word, lambda _: 1)) == len(data)


def test_facts_of_a_group() -> None:
    facts = ha_facts(HaState("1000", (("1001", UP), ("1002", DOWN))), known=["1001", "1003"])

    assert [(fact.metric, fact.value, fact.limit, dict(fact.labels).get("member")) for fact in facts] == [
        ("ha_members_up", 1, 1, None),
        ("ha_members_expected", 2, None, None),
        ("ha_member_up", 1, None, "1001"),
        ("ha_member_up", 0, None, "1002"),
        ("ha_member_up", None, None, "1003"),
    ]
    assert facts[-1].reason == "no longer a member of the group"


@pytest.mark.parametrize(
    "answer", [young({"770011": UP, "770022": DOWN}, serial="77"), old({770011: UP, 770022: DOWN})]
)
def test_a_masked_answer_reads_the_same_but_for_its_serials(answer: str) -> None:
    numbers: dict[bytes, int] = {}
    masked = mask(bytes.fromhex(answer), 8, lambda serial: numbers.setdefault(serial, len(numbers) + 1))
    state = decode(masked, 8)

    assert state is not None
    assert [status for _, status in state.members] == [UP, DOWN]
    assert b"77" not in masked
    assert {serial.removeprefix("serial-") for serial, _ in state.members} == {"2", "3"}


def test_an_answer_that_cannot_be_read_is_masked_whole() -> None:
    assert mask(b"770011" * 10, 8, lambda _: 1) == UNTOUCHED * 60
