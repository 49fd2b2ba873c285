from __future__ import annotations

import json
import struct

import pytest

from hsm_agent.collect.pkcs11.parse import parse
from hsm_agent.collect.pkcs11.poll_state import Known, Watch
from hsm_agent.collect.pkcs11.recording import Library, library, mask, typed
from tests.unit.collect.luna_answers import young
from tests.unit.collect.pkcs11_raws import asked, info_hex, raw, swept


def test_masking_takes_out_labels_serials_paths_and_texts_and_keeps_what_collides() -> None:
    recorded = raw(
        swept(1, label="payments", serial="447712"),
        swept(2, label="payments", serial="447713"),
        swept(3, label="", serial=""),
        asked("audit", 1, "CA_LogGetStatus", [1, 0, 0, 1, 7]),
        failed=[["alive", 1, "payments: broken"]],
        fill={"error": "/srv/payments: gone"},
        notes=["payments restarted"],
        functions=["CA_LogGetStatus"],
    )
    masked = mask(recorded)
    said = json.dumps(masked)

    for secret in ("payments", "447712", "447713", "/opt/vendor", "/srv"):
        assert secret not in said
        assert secret.encode().hex() not in said
    readings = parse(masked, Watch(source="hsm"), Known()).readings
    present = {reading.resource for reading in readings if reading.metric == "token_present"}
    assert present == {"token-1", "serial-3", "slot 3"}
    assert recorded["results"][0][4] != masked["results"][0][4]


def test_masking_takes_out_the_serials_of_an_ha_group_and_keeps_whose_they_are() -> None:
    group = asked("ha", 1, "CA_GetHAState", None)
    group[4] = young({"447712": 0, "447713": 0x30}, serial="4477")
    masked = mask(raw(swept(1), swept(2, label="beta", serial="447712"), group, functions=["CA_GetHAState"]))
    parsed = parse(masked, Watch(source="hsm"), Known())

    assert b"4477".hex() not in json.dumps(masked)
    assert parsed.remarks == ()  # the member is still known to be watched
    assert [reading.value for reading in parsed.readings if reading.metric == "ha_member_up"] == [1, 0]


def test_masking_hides_slot_ids_that_are_made_of_serials_and_keeps_counted_ones() -> None:
    derived, other = 0x171E1B06, 0x56726F02
    recorded = raw(swept(derived), swept(1), swept(other, label="beta"), failed=[["audit", derived, "it hung"]])
    masked = mask(recorded)

    assert masked["slots"] == [2, 1, 3]
    assert [result[1] for result in masked["results"]] == [2, 1, 3]
    assert masked["failed"] == [["audit", 2, "masked"]]
    for slot in (derived, other):
        assert str(slot) not in json.dumps(masked)


def test_masking_twice_changes_nothing_more() -> None:
    once = mask(raw(swept(1), fill={"bytes": 5}))

    assert mask(once) == once
    assert once["fill"] == {"bytes": 5}


def test_a_session_that_does_not_close_is_no_failure_of_its_step() -> None:
    recorded = raw(
        ["alive", 1, 0.0, [["C_OpenSession", 0, 1], ["C_GenerateRandom", 0, 1], ["C_CloseSession", 0x30, 1]], [0]],
        sweep=False,
    )

    assert typed(recorded).results["alive", 1].failure is None


def test_a_list_that_grew_between_its_two_calls_was_read() -> None:
    calls = [["CA_GetHSMPolicySet", value, 1] for value in (0, 0x150, 0, 0)]
    read, failed = (
        typed(raw(["policies", 1, 0.0, made, None], sweep=False)).results["policies", 1].failure
        for made in (calls, calls[:2])
    )

    assert read is None
    assert failed is not None
    assert failed.value == 0x150


def test_luna_is_known_by_its_functions_or_its_maker() -> None:
    assert not typed(raw()).luna
    assert typed(raw(functions=["CA_LogGetStatus"])).luna
    assert typed(raw(info=info_hex("SafeNet"))).luna


def test_what_is_left_behind_a_blank_name_is_masked_as_well() -> None:
    recorded = raw(swept(1, label=b"\0payments", serial=b"S1\0payments"), fill={"bytes": 3, "parts": {"payments": 3}})

    assert b"payments".hex() not in json.dumps(mask(recorded))
    assert mask(recorded)["fill"] == {"bytes": 3}


@pytest.mark.parametrize("word", [4, 8])
def test_what_a_module_says_of_itself(word: int) -> None:
    order = "Q" if word == 8 else "I"
    info = struct.pack(f"@2B32s{order}32s2B", 2, 40, b"Vendor".ljust(32), 0, b"Client\0left over".ljust(32), 10, 4)

    assert library({"info": info.hex(), "ulong": word, "slots": [1, 2]}) == Library(
        cryptoki="2.40", manufacturer="Vendor", description="Client", version="10.4", slots=2
    )
    assert library(None) == Library(cryptoki="", manufacturer="", description="", version="", slots=0)
