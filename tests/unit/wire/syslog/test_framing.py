"""Octet counting, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.wire.syslog.framing import FramingError, Unframer, frame

CASES = [
    (b"a", b"1 a"),
    (b"<14>1 - - - - - -", b"17 <14>1 - - - - - -"),
    (b"12 34", b"5 12 34"),
    (b"\n", b"1 \n"),
    ("漢".encode(), b"3 \xe6\xbc\xa2"),
    (b"x" * 1000, b"1000 " + b"x" * 1000),
]


@pytest.mark.parametrize(("message", "framed"), CASES)
def test_one_table_both_ways(message: bytes, framed: bytes) -> None:
    assert frame(message) == framed
    assert Unframer(max_bytes=1000).receive(framed) == [message]


def test_byte_by_byte_and_with_octets_to_spare() -> None:
    stream = b"".join(framed for _, framed in CASES)
    slow = Unframer(max_bytes=1000)

    found = [message for octet in stream for message in slow.receive(bytes([octet]))]

    assert found == [message for message, _ in CASES]
    assert not slow.pending
    assert Unframer(max_bytes=1000).receive(stream + b"3 ab") == found


def test_a_frame_cut_short_is_pending() -> None:
    unframer = Unframer(max_bytes=10)

    assert unframer.receive(b"3 ab") == []
    assert unframer.pending


@pytest.mark.parametrize("broken", [b" a", b"0 ", b"01 a", b"x", b"<14>1", b"-1 a", b"1234567890", b"11 "])
def test_what_is_no_frame_is_an_error(broken: bytes) -> None:
    with pytest.raises(FramingError):
        Unframer(max_bytes=10).receive(broken)


def test_an_empty_message_has_no_frame() -> None:
    with pytest.raises(FramingError):
        frame(b"")


@given(st.lists(st.binary(min_size=1, max_size=50)), st.integers(1, 7))
def test_any_messages_in_any_pieces(messages: list[bytes], piece: int) -> None:
    stream = b"".join(frame(message) for message in messages)
    unframer = Unframer(max_bytes=50)

    found: list[bytes] = []
    for start in range(0, len(stream), piece):
        found += unframer.receive(stream[start : start + piece])

    assert found == messages


@given(st.binary())
def test_random_octets_are_frames_or_an_error(octets: bytes) -> None:
    try:
        found = Unframer(max_bytes=100).receive(octets)
    except FramingError:
        return
    assert octets.startswith(b"".join(frame(message) for message in found))
