from __future__ import annotations

import pytest

from hsm_agent.collect.shell.slots import parse
from hsm_agent.collect.shell.text import Malformed
from tests.unit.collect.shell_samples import labels, read, reasons, sample, values


def test_a_token_an_uninitialised_one_and_an_empty_slot() -> None:
    parsed = read("pkcs11_tool_slots")

    assert values(parsed, "payments") == {"token_present": 1, "token_initialized": 1, "token_info": 1, "slot_info": 1}
    assert values(parsed, "slot 1") == {"token_initialized": 0, "slot_info": 1}
    assert values(parsed, "slot 2") == {"slot_info": 1}
    assert labels(parsed, "token_info", "payments")["serial"] == "2c61068325"
    assert labels(parsed, "slot_info", "payments") == {"description": "Network slot A", "slot_id": "630394957"}
    assert parsed.whole


@pytest.mark.parametrize("line", ["(token not recognized)", "C_GetTokenInfo() failed: rv = CKR_DEVICE_ERROR (0x30)"])
def test_a_token_that_cannot_be_read_leaves_it_open_whether_all_are_there(line: str) -> None:
    parsed = parse(sample("pkcs11_tool_slots").replace("token state:   uninitialized", line))

    assert reasons(parsed) == {"token_initialized": f"the token cannot be read: {line}"}
    assert values(parsed, "slot 1")["token_initialized"] is None
    assert not parsed.whole


def test_tokens_of_one_label_are_told_apart_by_serial_number() -> None:
    text = sample("pkcs11_tool_slots").replace("  (empty)", "  token label  : payments\n  serial num   : 77")

    assert values(parse(text), "77")["token_present"] == 1


def test_a_slot_without_a_label_line_is_not_taken_for_a_token() -> None:
    text = sample("pkcs11_tool_slots").replace("  token label        : payments\n", "")

    assert "no line 'token label'" in reasons(parse(text))["token_initialized"]


def test_the_flags_of_a_verbose_listing() -> None:
    text = sample("pkcs11_tool_slots").replace("rng, token initialized, PIN", "rng, PIN")

    assert values(parse(text), "payments")["token_initialized"] == 0


def test_no_slot_at_all_is_an_answer() -> None:
    assert parse("Available slots:\n") == parse("Available slots:\r\n")
    assert parse("Available slots:\n").whole


@pytest.mark.parametrize("text", ["", "error: Failed to load pkcs11 module\n"])
def test_an_output_that_is_none_fails_as_a_whole(text: str) -> None:
    with pytest.raises(Malformed, match="this is not what pkcs11-tool"):
        parse(text)
