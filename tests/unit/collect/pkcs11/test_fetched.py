from __future__ import annotations

from typing import Any

from hsm_agent.collect.pkcs11.fetched import Fetched, Listing
from hsm_agent.collect.pkcs11.recording import typed

ALPHA, BETA = ("alpha", "S1", -1), ("beta", "S2", -1)
READ = ["slot", "token"]


def _token(slot: int, payload: Any = READ) -> list[Any]:
    return ["token", slot, 1.0, [], payload]


def test_calls_are_counted_and_the_slowest_is_kept() -> None:
    fetched = Fetched()
    fetched.count([["C_GetSlotInfo", 0, 5], ["C_GetTokenInfo", 0x30, 900]])
    fetched.count([["C_GetSlotInfo", 0, 7]])

    assert fetched.calls == {"C_GetSlotInfo": 2, "C_GetTokenInfo": 1}
    assert fetched.slowest_microseconds == 900


def test_what_it_becomes_can_be_read_back() -> None:
    fetched = Fetched(answers={("audit", ALPHA): ["audit", 7, 2.5, [["CA_LogGetStatus", 0, 9]], [1, 0, 0, 1, 4]]})
    raw = typed(fetched.raw("/m.so", {"functions": {"CA_LogGetStatus"}, "info": ""}, word=8, known={ALPHA: 1}))

    assert raw.slots is None
    assert raw.luna
    assert raw.results["audit", 1].payload == [1, 0, 0, 1, 4]


def test_what_was_asked_in_one_process_is_told_by_the_slots_of_the_one_that_read_most() -> None:
    first = Listing(1, [1, 2], {1: _token(1)}, {2: "it hung"}, {ALPHA: 1})
    second = Listing(2, [5, 6], {5: _token(5), 6: _token(6)}, {}, {BETA: 5, ALPHA: 6})
    third = Listing(3, [8], {}, {8: "it hung"})
    fetched = Fetched([first, second, third], answers={("audit", ALPHA): ["audit", 1, 1.0, [], [1]]})
    fetched.failed["audit", BETA] = "no"
    raw = fetched.raw("/m.so", {}, word=8)

    assert (raw["process"], raw["slots"]) == (2, [5, 6])
    assert raw["results"] == [_token(5), _token(6), ["audit", 6, 1.0, [], [1]]]
    assert raw["failed"] == [["audit", 5, "no"]]


def test_every_slot_that_was_not_read_has_a_reason_the_one_that_failed_first() -> None:
    first = Listing(1, [1, 2, 3, 4], {}, {4: "it crashed"})
    second = Listing(2, [1, 2, 3, 4], {3: _token(3)}, {2: "it hung"})
    fetched = Fetched([first, second], trouble="it crashed")

    assert fetched.raw("/m.so", {}, word=8)["failed"] == [
        ["token", 2, "it hung"],
        ["token", 1, "not reached in this poll, because it crashed"],
        ["token", 4, "it crashed"],
    ]


def test_a_later_listing_is_as_good_as_an_earlier_one_with_as_many_tokens() -> None:
    listings = [Listing(number, [1], {1: _token(1)}) for number in (1, 2)]

    assert Fetched(listings).fullest() is listings[1]
    assert Fetched().fullest() is None
