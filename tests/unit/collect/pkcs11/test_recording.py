from __future__ import annotations

import json
import struct

import pytest

from hsm_agent.collect.pkcs11.parse import parse
from hsm_agent.collect.pkcs11.poll_state import ParseOptions, PollMemory
from hsm_agent.collect.pkcs11.recording import Library, PollAnswers, RawPoll, Result, SlotListing, library, mask
from tests.unit.collect.luna_answers import young
from tests.unit.collect.pkcs11_raws import asked, info_hex, raw, recorded, swept

ALPHA, BETA = ("alpha", "S1", -1), ("beta", "S2", -1)


def test_masking_takes_out_labels_serials_paths_and_texts_and_keeps_what_collides() -> None:
    taken = recorded(
        swept(1, label="payments", serial="447712"),
        swept(2, label="payments", serial="447713"),
        swept(3, label="", serial=""),
        asked("audit", 1, "CA_LogGetStatus", [1, 0, 0, 1, 7]),
        failed=[["alive", 1, "payments: broken"]],
        fill={"error": "/srv/payments: gone"},
        notes=["payments restarted"],
        functions=["CA_LogGetStatus"],
    )
    masked = mask(taken)
    said = json.dumps(masked)

    for secret in ("payments", "447712", "447713", "/opt/vendor", "/srv"):
        assert secret not in said
        assert secret.encode().hex() not in said
    readings = parse(RawPoll.from_json(masked), ParseOptions(name="hsm"), PollMemory()).readings
    present = {reading.resource for reading in readings if reading.metric == "token_present"}
    assert present == {"token-1", "serial-3", "slot 3"}
    assert taken["results"][0][4] != masked["results"][0][4]


def test_masking_takes_out_the_serials_of_an_ha_group_and_keeps_whose_they_are() -> None:
    group = asked("ha", 1, "CA_GetHAState", None)
    group[4] = young({"447712": 0, "447713": 0x30}, serial="4477")
    masked = mask(recorded(swept(1), swept(2, label="beta", serial="447712"), group, functions=["CA_GetHAState"]))
    parsed = parse(RawPoll.from_json(masked), ParseOptions(name="hsm"), PollMemory())

    assert b"4477".hex() not in json.dumps(masked)
    assert parsed.remarks == ()  # the member is still known to be watched
    assert [reading.value for reading in parsed.readings if reading.metric == "ha_member_up"] == [1, 0]


def test_masking_hides_slot_ids_that_are_made_of_serials_and_keeps_counted_ones() -> None:
    derived, other = 0x171E1B06, 0x56726F02
    taken = recorded(swept(derived), swept(1), swept(other, label="beta"), failed=[["audit", derived, "it hung"]])
    masked = mask(taken)

    assert masked["slots"] == [2, 1, 3]
    assert [result[1] for result in masked["results"]] == [2, 1, 3]
    assert masked["failed"] == [["audit", 2, "masked"]]
    for slot in (derived, other):
        assert str(slot) not in json.dumps(masked)


def test_a_recording_replays_as_what_was_read() -> None:
    read = raw(
        swept(1), failed=[["audit", 1, "it hung"]], functions=["CA_LogGetStatus"], fill={"bytes": 5}, notes=["n"]
    )

    assert RawPoll.from_json(json.loads(json.dumps(read.to_json()))) == read


def test_masking_twice_changes_nothing_more() -> None:
    once = mask(recorded(swept(1), fill={"bytes": 5}))

    assert mask(once) == once
    assert once["fill"] == {"bytes": 5}


def test_a_session_that_does_not_close_is_no_failure_of_its_step() -> None:
    taken = recorded(
        ["alive", 1, 0.0, [["C_OpenSession", 0, 1], ["C_GenerateRandom", 0, 1], ["C_CloseSession", 0x30, 1]], [0]],
        sweep=False,
    )

    assert RawPoll.from_json(taken).results["alive", 1].failure is None


def test_a_list_that_grew_between_its_two_calls_was_read() -> None:
    calls = [["CA_GetHSMPolicySet", value, 1] for value in (0, 0x150, 0, 0)]
    read, failed = (
        (raw(["policies", 1, 0.0, made, None], sweep=False)).results["policies", 1].failure
        for made in (calls, calls[:2])
    )

    assert read is None
    assert failed is not None
    assert failed.value == 0x150


def test_luna_is_known_by_its_functions_or_its_maker() -> None:
    assert not (raw()).luna
    assert (raw(functions=["CA_LogGetStatus"])).luna
    assert (raw(info=info_hex("SafeNet"))).luna


def test_what_is_left_behind_a_blank_name_is_masked_as_well() -> None:
    taken = recorded(swept(1, label=b"\0payments", serial=b"S1\0payments"), fill={"bytes": 3, "parts": {"payments": 3}})

    assert b"payments".hex() not in json.dumps(mask(taken))
    assert mask(taken)["fill"] == {"bytes": 3}


@pytest.mark.parametrize("word", [4, 8])
def test_what_a_module_says_of_itself(word: int) -> None:
    order = "Q" if word == 8 else "I"
    info = struct.pack(f"@2B32s{order}32s2B", 2, 40, b"Vendor".ljust(32), 0, b"Client\0left over".ljust(32), 10, 4)

    assert library({"info": info.hex(), "ulong": word, "slots": [1, 2]}) == Library(
        cryptoki="2.40", manufacturer="Vendor", description="Client", version="10.4", slots=2
    )
    assert library({}) == Library(cryptoki="", manufacturer="", description="", version="", slots=0)


def _token(slot: int) -> Result:
    return Result("token", slot, 1.0, (), ["slot", "token"], 8)


def test_calls_are_counted_and_the_slowest_is_kept() -> None:
    answers = PollAnswers()
    answers.count([["C_GetSlotInfo", 0, 5], ["C_GetTokenInfo", 0x30, 900]])
    answers.count([["C_GetSlotInfo", 0, 7]])

    assert answers.calls == {"C_GetSlotInfo": 2, "C_GetTokenInfo": 1}
    assert answers.slowest_microseconds == 900


def test_answers_about_a_token_have_the_slot_of_the_last_sweep() -> None:
    answers = PollAnswers(answers={("audit", ALPHA): Result("audit", 7, 2.5, (), [1, 0, 0, 1, 4], 8)})
    raw = answers.raw("/m.so", {"functions": {"CA_LogGetStatus"}, "info": ""}, ulong_bytes=8, known={ALPHA: 1})

    assert raw.slots is None
    assert raw.luna
    assert raw.results["audit", 1].payload == [1, 0, 0, 1, 4]


def test_what_was_asked_in_one_process_is_told_by_the_slots_of_the_one_that_read_most() -> None:
    first = SlotListing(1, [1, 2], {1: _token(1)}, {2: "it hung"}, {ALPHA: 1})
    second = SlotListing(2, [5, 6], {5: _token(5), 6: _token(6)}, {}, {BETA: 5, ALPHA: 6})
    third = SlotListing(3, [8], {}, {8: "it hung"})
    answers = PollAnswers([first, second, third], answers={("audit", ALPHA): Result("audit", 1, 1.0, (), [1], 8)})
    answers.failed["audit", BETA] = "no"
    raw = answers.raw("/m.so", {}, ulong_bytes=8)

    assert (raw.process, raw.slots) == (2, (5, 6))
    assert [*raw.results.values()] == [_token(5), _token(6), Result("audit", 6, 1.0, (), [1], 8)]
    assert raw.failed == {("audit", 5): "no"}


def test_every_slot_that_was_not_read_has_a_reason_the_one_that_failed_first() -> None:
    first = SlotListing(1, [1, 2, 3, 4], {}, {4: "it crashed"})
    second = SlotListing(2, [1, 2, 3, 4], {3: _token(3)}, {2: "it hung"})
    answers = PollAnswers([first, second], trouble="it crashed")

    assert answers.raw("/m.so", {}, ulong_bytes=8).to_json()["failed"] == [
        ["token", 2, "it hung"],
        ["token", 1, "not reached in this poll, because it crashed"],
        ["token", 4, "it crashed"],
    ]


def test_a_later_listing_is_as_good_as_an_earlier_one_with_as_many_tokens() -> None:
    listings = [SlotListing(number, [1], {1: _token(1)}) for number in (1, 2)]

    assert PollAnswers(listings).fullest() is listings[1]
    assert PollAnswers().fullest() is None
