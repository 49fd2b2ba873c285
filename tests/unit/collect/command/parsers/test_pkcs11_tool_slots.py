from __future__ import annotations

import pytest

from hsm_agent.collect.command.parsers.pkcs11_tool_slots import parse_slots
from hsm_agent.collect.command.parsers.text import Malformed
from hsm_agent.collect.identity import ObjectIdentity
from tests.unit.collect.shell_samples import labels, read, reasons, sample, values


def test_a_token_an_uninitialised_one_and_an_empty_slot() -> None:
    parsed = read("pkcs11_tool_slots")

    found = values(parsed, "payments")
    assert {name: found[name] for name in found if "pin" not in name} == {
        "token_present": 1,
        "token_initialized": 1,
        "token_info": 1,
        "slot_info": 1,
    }
    assert values(parsed, "slot 1") == {"token_initialized": 0, "slot_info": 1}
    assert values(parsed, "slot 2") == {"slot_info": 1}
    assert labels(parsed, "token_info", "payments")["serial"] == "2c61068325"
    assert labels(parsed, "slot_info", "payments") == {"description": "Network slot A", "slot_id": "630394957"}
    assert parsed.whole


@pytest.mark.parametrize("line", ["(token not recognized)", "C_GetTokenInfo() failed: rv = CKR_DEVICE_ERROR (0x30)"])
def test_a_token_that_cannot_be_read_leaves_it_open_whether_all_are_there(line: str) -> None:
    parsed = parse_slots(sample("pkcs11_tool_slots").replace("token state:   uninitialized", line))

    assert reasons(parsed) == {"token_initialized": f"the token cannot be read: {line}"}
    assert values(parsed, "slot 1")["token_initialized"] is None
    assert not parsed.whole


def test_tokens_of_one_label_are_told_apart_by_serial_number() -> None:
    text = sample("pkcs11_tool_slots").replace("  (empty)", "  token label  : payments\n  serial num   : 77")

    assert values(parse_slots(text), "77")["token_present"] == 1
    assert parse_slots(text).tokens == {
        "payments": ObjectIdentity("payments", "2c61068325", "slot 630394957"),
        "77": ObjectIdentity("payments", "77", "slot 2"),
    }


def test_a_slot_without_a_label_line_is_not_taken_for_a_token() -> None:
    text = sample("pkcs11_tool_slots").replace("  token label        : payments\n", "")

    assert "no line 'token label'" in reasons(parse_slots(text))["token_initialized"]
    assert not parse_slots(text).whole


def test_the_flags_of_a_verbose_listing() -> None:
    text = sample("pkcs11_tool_slots").replace("rng, token initialized, PIN", "rng, PIN")

    assert values(parse_slots(text), "payments")["token_initialized"] == 0


def test_no_slot_at_all_is_an_answer() -> None:
    assert parse_slots("Available slots:\n") == parse_slots("Available slots:\r\n")
    assert parse_slots("Available slots:\n").whole
    assert parse_slots("No slots.\n") == parse_slots("Available slots:\n")


@pytest.mark.parametrize(
    "text", ["", "error: Failed to load pkcs11 module\n", "Available slots:\nerror: PKCS11 function failed\n"]
)
def test_an_output_that_is_none_fails_as_a_whole(text: str) -> None:
    with pytest.raises(Malformed, match="this is not what pkcs11-tool"):
        parse_slots(text)


PINS = ("token_pin_count_low", "token_pin_final_try", "token_pin_locked", "token_pin_state")
SO_PINS = tuple(name.replace("token_pin", "token_so_pin") for name in PINS)


@pytest.mark.parametrize(
    ("flags", "user", "officer"),
    [
        ("", (0, 0, 0, 0), (0, 0, 0, 0)),
        ("user PIN count low, ", (1, 0, 0, 1), (0, 0, 0, 0)),
        ("user PIN count low, final user PIN try, ", (1, 1, 0, 2), (0, 0, 0, 0)),
        ("user PIN locked, SO PIN count low, ", (0, 0, 1, 3), (1, 0, 0, 1)),
        ("final SO PIN try, ", (0, 0, 0, 0), (0, 1, 0, 2)),
        ("SO PIN locked, ", (0, 0, 0, 0), (0, 0, 1, 3)),
    ],
)
def test_how_near_the_pins_are_to_being_locked(flags: str, user: tuple[int, ...], officer: tuple[int, ...]) -> None:
    found = values(
        parse_slots(sample("pkcs11_tool_slots").replace("login required, ", f"login required, {flags}")), "payments"
    )

    assert tuple(found[name] for name in PINS) == user
    assert tuple(found[name] for name in SO_PINS) == officer


@pytest.mark.parametrize("lengths", ["  pin min/max        : 0/0\n", ""])
def test_a_token_that_needs_no_log_in_has_no_pin_that_could_be_locked(lengths: str) -> None:
    text = sample("pkcs11_tool_slots").replace("login required, rng", "rng, SO PIN locked")
    parsed = parse_slots(text.replace("  pin min/max        : 4/255\n", lengths))

    found = values(parsed, "payments")
    assert {found[name] for name in (*PINS, *SO_PINS)} == {None}
    assert reasons(parsed)["token_so_pin_state"] == "the token needs no log-in and has no PINs"


def test_a_token_with_pins_may_lock_them_though_it_can_be_used_without() -> None:
    found = values(
        parse_slots(sample("pkcs11_tool_slots").replace("login required, rng", "rng, SO PIN locked")), "payments"
    )

    assert found["token_so_pin_state"] == 3


def test_a_user_pin_that_was_never_set_has_no_state() -> None:
    text = sample("pkcs11_tool_slots").replace(", PIN initialized", ", user PIN locked, SO PIN locked")

    assert values(parse_slots(text), "payments")["token_pin_state"] is None
    assert values(parse_slots(text), "payments")["token_so_pin_state"] == 3


@pytest.mark.parametrize("label", ["(empty)", "(token not recognized)", "x (empty)"])
def test_a_label_does_not_pass_for_a_state_of_the_slot(label: str) -> None:
    parsed = parse_slots(sample("pkcs11_tool_slots").replace(": payments", f": {label}"))

    assert values(parsed, label)["token_present"] == 1
    assert parsed.whole


@pytest.mark.parametrize(
    ("printed", "label"),
    [("  ePass   ", "ePass"), ("ePass\0\0\0\0/var/run", "ePass"), ("e\x07P\x1b[31mass", "e\ufffdPass"), ("ePass\u202e", "ePass\ufffd")],
)  # fmt: skip
def test_a_label_ends_at_a_nul_and_has_no_padding(printed: str, label: str) -> None:
    parsed = parse_slots(sample("pkcs11_tool_slots").replace(": payments", f": {printed}"))

    assert labels(parsed, "token_info", label)["label"] == label


def test_a_label_of_nothing_but_padding_is_blank() -> None:
    assert "2c61068325" in parse_slots(sample("pkcs11_tool_slots").replace(": payments", ": \0\0rubbish")).tokens


def test_a_slot_that_cannot_be_asked_leaves_it_open_whether_all_are_there() -> None:
    text = sample("pkcs11_tool_slots").replace(
        "Network slot B\n  token state:   uninitialized", "(GetSlotInfo failed, CKR_GENERAL_ERROR)"
    )

    assert not parse_slots(text).whole
    assert reasons(parse_slots(text))["token_initialized"].startswith(
        "the token cannot be read: Slot 1 (0x1): (GetSlotInfo failed"
    )


def test_one_slot_twice_is_two_resources() -> None:
    text = sample("pkcs11_tool_slots")
    block = text[text.index("Slot 0") : text.index("Slot 1")]

    tokens = parse_slots(text.replace(block, block * 4)).tokens
    assert [*tokens] == ["payments", "2c61068325", "slot 630394957", "slot 630394957 (2)"]


@pytest.mark.parametrize(
    "lost", ["Slot 1 (0x1): A key ring of a key server\n", "Slot 2 (0x2): A key ring of a key server\n"]
)
def test_where_the_line_is_lost_that_begins_a_slot_nobody_is_declared_gone(lost: str) -> None:
    text = sample("pkcs11_tool_slots_one_label")
    assert lost in text

    assert parse_slots(text).whole
    assert not parse_slots(text.replace(lost, "")).whole


@pytest.mark.parametrize("state", ["  (empty)", "  token state:   uninitialized"])
def test_a_token_and_none_in_one_slot_are_two_slots_whose_border_is_lost(state: str) -> None:
    parsed = parse_slots(sample("pkcs11_tool_slots_one_label") + state + "\n")

    assert not parsed.whole
    assert values(parsed, "signing")["token_present"] == 1
    assert reasons(parsed)["token_initialized"] == "the output shows a token and none for this slot"
