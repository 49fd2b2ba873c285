"""AWS CloudHSM's audit log in all its spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.collect.trails.chain import TrailVerdict
from hsm_agent.collect.trails.cloudhsm import CloudHsmChain
from hsm_agent.collect.trails.formats import EventRecords, recognised, records_of
from tests.peers.trails import CratonWriter, DocumentedWriter, cloudhsm_event


def _fed(*events: bytes) -> CloudHsmChain:
    chain = CloudHsmChain()
    chain.feed_all([event.rstrip(b"\n") for event in events])
    return chain


@pytest.mark.parametrize("colon", [" : ", ": ", " :", ":"])
@pytest.mark.parametrize("end", ["\n", "\r\n", " ", ", "], ids=["lines", "CRLF", "one line", "one line with commas"])
def test_every_spelling_is_read(colon: str, end: str) -> None:
    event = cloudhsm_event(
        0x1F,
        response="163:HSM Error: RET_USER_LOGIN_FAILURE",
        colon=colon,
        end=end,
        user="alice",
        seconds=1_700_000_000.25,
    )
    chain = _fed(event)
    entry = chain.decode(event)

    assert (entry.operation, entry.result, entry.session) == ("CN_LOGIN", "RET_USER_LOGIN_FAILURE", "0x1004001")
    assert (entry.time, entry.detail) == (1_700_000_000.25, "alice")
    assert (chain.state.newest, chain.state.anchor, chain.state.entries) == ("0x1f/0xe8", "0x1f", 1)


@pytest.mark.parametrize(
    ("response", "result"),
    [
        ("0:HSM Return: SUCCESS", "SUCCESS"),
        ("157:HSM Error: user isn't initialized or login failed", "error 157"),
        ("163 : HSM Error: RET_USER_LOGIN_FAILURE", "RET_USER_LOGIN_FAILURE"),
        ("", "no response"),
        ("odd", "odd"),
    ],
)
def test_a_response_is_a_symbol_or_a_number(response: str, result: str) -> None:
    event = cloudhsm_event(1, response=response)

    assert _fed(event).decode(event).result == result


def test_a_user_called_like_a_field_changes_nothing() -> None:
    event = cloudhsm_event(3, user="x Response : 163:HSM Error: RET_USER_LOGIN_FAILURE", end=" ")

    assert _fed(event).decode(event).result == "SUCCESS"


@pytest.mark.parametrize(
    ("numbers", "verdict", "breaks"),
    [
        ([0, 1, 2], TrailVerdict.INTACT, 0),
        ([5, 6, 7], TrailVerdict.ANCHOR_UNKNOWN, 0),
        ([0, 1, 3, 4], TrailVerdict.BROKEN, 1),
        ([0, 1, 1], TrailVerdict.BROKEN, 1),
        ([0, 5, 9], TrailVerdict.BROKEN, 2),
    ],
)
def test_a_gap_is_a_break(numbers: list[int], verdict: TrailVerdict, breaks: int) -> None:
    chain = _fed(*map(cloudhsm_event, numbers))

    assert (chain.verdict, chain.state.breaks) == (verdict, breaks)


def test_a_break_says_the_line_and_both_numbers() -> None:
    broken = _fed(cloudhsm_event(0), cloudhsm_event(2)).state.broken

    assert broken is not None
    assert (broken.line, broken.expected, broken.found) == (9, "0x1", "0x2")


def test_a_restarted_hsm_may_count_from_0_again() -> None:
    assert _fed(cloudhsm_event(0), cloudhsm_event(1), cloudhsm_event(0, reboots=0xE9)).verdict is TrailVerdict.INTACT
    assert _fed(cloudhsm_event(0), cloudhsm_event(1), cloudhsm_event(0)).verdict is TrailVerdict.BROKEN


def test_certificate_events_have_no_number() -> None:
    event = b'{"object_handle":"0x1","op_code":"CN_CREATE_CERT","response":"FAIL","timestamp":1700000000500}'
    chain = _fed(cloudhsm_event(0), event, cloudhsm_event(1))

    assert (chain.verdict, chain.state.entries) == (TrailVerdict.INTACT, 3)
    assert (chain.decode(event).operation, chain.decode(event).result) == ("CN_CREATE_CERT", "FAIL")
    assert chain.decode(event).time == 1_700_000_000.5


@given(st.lists(st.integers(1, 200), max_size=8), st.booleans())
def test_events_are_cut_the_same_wherever_a_block_ends(cuts: list[int], single: bool) -> None:
    events = [cloudhsm_event(number, end=" " if single else "\n") for number in range(4)]
    data, records, found = b"".join(events), EventRecords(), []
    for cut in cuts:
        found += records.push(data[:cut])
        data = data[cut:]
    found += [*records.push(data), records.rest]

    assert [each.rstrip(b"\n") for each in found] == [event.rstrip(b"\n") for event in events]


@given(st.binary(max_size=400))
def test_no_event_makes_the_chain_fail(data: bytes) -> None:
    chain = _fed(data, b"Time: " + data, b"{" + data)

    assert chain.state.entries + chain.state.bad_lines == 3


def test_an_endless_line_takes_no_memory() -> None:
    for name in ("craton", "cloudhsm"):
        records = records_of(name)
        for _ in range(40):
            records.push(b"x" * 100_000)
        assert len(records.rest) <= 1 << 21


def test_a_format_is_recognised_by_its_lines() -> None:
    assert recognised([b"", b"# note", *CratonWriter().lines(1)]) == "craton"
    assert recognised([line.rstrip() for line in DocumentedWriter().lines(1)]) == "craton-documented"
    assert recognised(cloudhsm_event(0).split(b"\n")) == "cloudhsm"
    assert recognised([b"{}", b"nothing", b'{"a":1}']) is None
