from __future__ import annotations

import calendar
import struct
from typing import Any

import pytest

from hsm_agent.collect.pkcs11.parse import NO_LIMIT, clock_fact, memory_facts, pin_facts, session_facts
from hsm_agent.collect.pkcs11.token import NOT_REPORTED, Token, count, decode_slot, decode_token, limit, text
from tests.unit.collect.pkcs11_raws import ALL_ONES, slot_hex, token_hex


def test_decodes_a_token_of_a_64_bit_module() -> None:
    token = decode_token(bytes.fromhex(token_hex(label="vault", sessions=3, free_private=9, utc_time="x")), 8)

    assert (token.label, token.manufacturer, token.model, token.serial) == ("vault", "Vendor", "Model", "S1")
    assert (token.sessions, token.free_private, token.hardware, token.firmware) == (3, 9, "2.6", "7.10")
    assert token.initialized


def test_decodes_a_token_of_a_32_bit_module() -> None:
    data = struct.pack("<32s32s16s16s11I4B16s", b"a", b"b", b"c", b"d", *range(1, 12), 1, 2, 3, 4, b"")
    token = decode_token(data, 4)

    assert (token.flags, token.max_sessions, token.free_private) == (1, 2, 11)
    assert not token.initialized


def test_decodes_a_slot() -> None:
    slot = decode_slot(bytes.fromhex(slot_hex()), 8)

    assert (slot.description, slot.manufacturer, slot.hardware, slot.firmware) == ("a slot", "a vendor", "1.2", "3.4")


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (b"prod  ", "prod"),
        (b"prod\0\0\0", "prod"),
        (b"   ", ""),
        ("schlüssel".encode(), "schlüssel"),
        (b"\xff\xc3 ", "\ufffd\ufffd"),
        (b"a\nb", "a\ufffdb"),
    ],
)
def test_text_is_trimmed_and_never_fails(field: bytes, shown: str) -> None:
    assert text(field) == shown


@pytest.mark.parametrize(
    ("value", "word", "counted", "limited"),
    [
        pytest.param(ALL_ONES, 8, None, None, id="unavailable by the standard"),
        pytest.param(ALL_ONES - 1, 8, None, None, id="opencryptoki"),
        pytest.param(2**32 - 1, 4, None, None, id="32-bit module"),
        pytest.param(2**32 - 1, 8, None, None, id="half a word filled"),
        pytest.param(0, 8, 0, None, id="zero is no limit, but a count"),
        pytest.param(1024, 8, 1024, 1024, id="a number"),
    ],
)
def test_every_spelling_of_nothing(value: int, word: int, counted: int | None, limited: int | None) -> None:
    assert count(value, word) == counted
    assert limit(value, word) == limited


def _memory(*arguments: Any) -> list[Any]:
    return [fact.value for fact in memory_facts("private", *arguments)]


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        pytest.param((1000, 250), [1000, 250, 750, 75.0], id="reported"),
        pytest.param((1000, 0), [1000, 0, 1000, 100.0], id="full"),
        pytest.param((0, 0), [None] * 4, id="0 of 0 says nothing"),
        pytest.param((1, 1), [None] * 4, id="1 of 1 says nothing"),
        pytest.param((None, None), [None] * 4, id="unavailable"),
        pytest.param((1000, None), [1000, None, None, None], id="total only"),
        pytest.param((None, 250), [None, 250, None, None], id="free only"),
        pytest.param((100, 250), [None] * 4, id="more free than there is"),
        pytest.param((None, 250, 1000), [1000, 250, 750, 75.0], id="total given"),
        pytest.param((500, 250, 1000), [1000, 750, 250, 25.0], id="used as reported, measured against the total given"),
        pytest.param((100, 250, 1000), [1000, 250, 750, 75.0], id="total given, the reported one less than is free"),
        pytest.param((1000, 100, 500), [500, 0, 900, 180.0], id="more used than the total given allows for"),
        pytest.param((1, 250, 1000), [1000, 250, 750, 75.0], id="total given, the reported one a dummy"),
        pytest.param((0, 0, 1000), [1000, None, None, None], id="total given, free a dummy"),
        pytest.param((None, 2000, 1000), [1000, None, None, None], id="total given too small"),
    ],
)
def test_memory_never_invents_a_percentage(arguments: tuple[Any, ...], values: list[Any]) -> None:
    assert _memory(*arguments) == values


def test_memory_without_a_value_says_why() -> None:
    assert {fact.reason for fact in memory_facts("public", None, None)} == {NOT_REPORTED}
    assert "250 bytes free of 100 cannot be" in {fact.reason for fact in memory_facts("public", 100, 250)}


def _sessions(scope: str = "token", given_max: int | None = None, **fields: Any) -> dict[str, tuple[Any, str]]:
    token = decode_token(bytes.fromhex(token_hex(**fields)), 8)
    facts = session_facts(token, scope=scope, given_max=given_max)
    return {fact.metric.removeprefix("token_"): (fact.value, fact.reason) for fact in facts}


def test_sessions_with_a_limit() -> None:
    found = _sessions(sessions=30, max_sessions=120, rw_sessions=10, max_rw_sessions=60)

    assert found["sessions"] == (30, "")
    assert found["sessions_used_percent"] == (25.0, "")
    assert found["rw_sessions"] == (10, "")
    assert found["rw_sessions_max"] == (60, "")


@pytest.mark.parametrize(("most", "why"), [(0, NO_LIMIT), (ALL_ONES - 1, "the module reports no limit")])
def test_sessions_without_a_limit_have_no_percentage(most: int, why: str) -> None:
    found = _sessions(sessions=30, max_sessions=most)

    assert found["sessions"] == (30, "")
    assert found["sessions_max"] == found["sessions_used_percent"] == (None, why)


def test_a_configured_limit_outranks_the_reported_one() -> None:
    assert _sessions(sessions=30, max_sessions=1000, given_max=40)["sessions_used_percent"] == (75.0, "")


def test_own_sessions_only_are_no_reading_but_their_limit_is() -> None:
    found = _sessions("application", sessions=1, rw_sessions=0, max_sessions=1024)

    assert found["sessions"] == (None, "the module counts this application's own sessions only")
    assert found["sessions_used_percent"][0] is None
    assert found["sessions_max"] == (1024, "")


LOGIN, USER_PIN = 0x4, 0x8


def _decoded(**fields: Any) -> Token:
    return decode_token(bytes.fromhex(token_hex(**fields)), 8)


@pytest.mark.parametrize(
    ("flags", "user", "officer"),
    [
        (0, [0, 0, 0, 0], [0, 0, 0, 0]),
        (0x10000, [1, 0, 0, 1], [0, 0, 0, 0]),
        (0x20000, [0, 1, 0, 2], [0, 0, 0, 0]),
        (0x70000, [1, 1, 1, 3], [0, 0, 0, 0]),
        (0x400000, [0, 0, 0, 0], [0, 0, 1, 3]),
        (0x500000, [0, 0, 0, 0], [1, 0, 1, 3]),
    ],
)
@pytest.mark.parametrize("needs", [{"flags": LOGIN, "max_pin": 0}, {"flags": 0, "max_pin": 8}], ids=["login", "PINs"])
def test_pin_states(flags: int, user: list[int], officer: list[int], needs: dict[str, int]) -> None:
    facts = pin_facts(_decoded(flags=needs["flags"] | USER_PIN | flags, max_pin=needs["max_pin"]))

    assert [fact.value for fact in facts] == [*user, *officer]


@pytest.mark.parametrize("max_pin", [0, ALL_ONES])
def test_a_token_without_pins_has_none_that_could_be_locked(max_pin: int) -> None:
    facts = pin_facts(_decoded(flags=0x400000 | USER_PIN, max_pin=max_pin))

    assert {fact.value for fact in facts} == {None}
    assert {fact.reason for fact in facts} == {"the token needs no log-in and has no PINs"}


def test_a_user_pin_that_is_not_initialised_says_nothing() -> None:
    facts = pin_facts(_decoded(flags=LOGIN | 0x40000 | 0x200000))

    assert [fact.value for fact in facts] == [None, None, None, None, 0, 1, 0, 2]
    assert {fact.reason for fact in facts[:4]} == {"the user PIN is not initialised"}


@pytest.mark.parametrize(
    ("utc_time", "offset"),
    [
        (b"2023111422132000", 0),
        (b"2023111422141000", 50),
        (b"2023111422121000", -70),
        (b"20231114221320\0\0", None),
        (b"2023111422132001", None),
        (b"2023131422132000", None),
        (b"04:14:05        ", None),
        (b" 023111422132000", None),
        (b"\0" * 16, None),
        (b"\xff" * 16, None),
    ],
)
def test_clock_offset_is_parsed_strictly(utc_time: bytes, offset: int | None) -> None:
    at = calendar.timegm((2023, 11, 14, 22, 13, 20)) + 0.9
    fact = clock_fact(_decoded(utc_time=utc_time), at)

    assert fact.value == offset
    assert bool(fact.reason) == (offset is None)


@pytest.mark.parametrize(("flags", "offset"), [(0, None), (0x40, -86401)])
def test_a_date_far_off_is_a_clock_s_only_where_the_token_says_that_it_has_one(flags: int, offset: int | None) -> None:
    fact = clock_fact(_decoded(utc_time=b"2023111322131900", flags=flags), calendar.timegm((2023, 11, 14, 22, 13, 20)))

    assert fact.value == offset
    assert bool(fact.reason) == (offset is None)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (b"alpha".ljust(32), "alpha"),
        (b"alpha" + b"\0" * 27, "alpha"),
        (b"alpha\0 left over from before    ", "alpha"),
        (b"  alpha \0x", "alpha"),
        (b"\0left over", ""),
        (b" " * 32, ""),
        (b"a\tb", "a\ufffdb"),
    ],
)
def test_text_ends_at_the_first_nul_and_is_free_of_padding(field: bytes, name: str) -> None:
    assert text(field) == name


@pytest.mark.parametrize(
    ("flags", "initialized"), [(0, False), (LOGIN, False), (0x400, True), (LOGIN | USER_PIN, True)]
)
def test_a_token_with_a_user_pin_was_initialised_whatever_it_says(flags: int, *, initialized: bool) -> None:
    assert _decoded(flags=flags).initialized is initialized
