from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.collect.pipes import MOST_ANSWER_BYTES, Lines, Pipes, Throttle


def pipes(asked: int = 3, **keys: str) -> Pipes:
    made = Pipes("x", **keys)
    made.asked = asked
    return made


def test_lines_come_whole_however_they_are_cut_up() -> None:
    lines = Lines(100)

    assert lines.feed(b"on") == []
    assert lines.feed(b"e\ntwo\nth") == [(b"one", 0), (b"two", 0)]
    assert lines.feed(b"ree\n\n") == [(b"three", 0), (b"", 0)]
    assert lines.end() == []


def test_a_long_line_keeps_its_beginning_and_counts_the_rest() -> None:
    lines = Lines(4)

    assert lines.feed(b"abcdefgh\nij") == [(b"abcd", 4)]
    assert lines.too_long == b""
    assert lines.feed(b"klm") == []
    assert lines.too_long == b"ijkl"
    assert lines.end() == [(b"ijkl", 1)]


@given(st.lists(st.binary(max_size=40)), st.integers(1, 10))
def test_pieces_make_no_difference(pieces: list[bytes], most: int) -> None:
    lines = Lines(most)
    found = [line for piece in pieces for line in lines.feed(piece)]

    assert found == Lines(most).feed(b"".join(pieces))


async def test_answers_are_taken_as_they_come() -> None:
    taken = pipes()
    taken.pipe_data_received(1, b'[{"a":1}]\n[2,')
    taken.pipe_data_received(1, b"3]\n")

    assert list(taken.answers) == [{"a": 1}, 2, 3]
    assert taken.news.is_set()
    assert not taken.ended


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"hello\n", "hello"),
        (b"\n", "an empty line"),
        (b"{}\n", "{}"),
        (b"[1,2,3,4]\n", "[1,2,3,4]"),
        (b"\xff\x00\n", "\ufffd\ufffd"),
        (b"[" * 200_000 + b"\n", "[" * 60),
        (b"9" * 5000 + b"\n", "9" * 60),
        (b"x" * (MOST_ANSWER_BYTES + 1), "x" * 60),
        (b"x" * (MOST_ANSWER_BYTES + 1) + b"\n", "x" * 60),
    ],
    ids=["text", "nothing", "no array", "too many", "bytes", "deep", "a number", "endless", "too long"],
)
async def test_what_nobody_asked_for_ends_the_reading(written: bytes, shown: str) -> None:
    taken = pipes()
    taken.pipe_data_received(1, written)
    taken.pipe_data_received(1, b"[1]\n")

    assert taken.not_an_answer == shown
    assert taken.ended
    assert not taken.answers


async def test_answers_before_nonsense_count() -> None:
    taken = pipes()
    taken.pipe_data_received(1, b"[1]\nnoise\n[2]\n")

    assert (list(taken.answers), taken.not_an_answer) == ([1], "noise")


async def test_flooding_with_what_looks_like_answers_does_not_grow_it() -> None:
    taken = pipes(asked=2)
    for _ in range(1000):
        taken.pipe_data_received(1, b"[1]\n" * 1000)

    assert list(taken.answers) == [1, 1]
    assert taken.not_an_answer == "[1]"


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_prints_are_logged_line_by_line_the_last_one_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    taken = pipes()
    taken.pipe_data_received(2, b"one\ntw")
    taken.pipe_data_received(2, b"o\x1b[31m\nlast words")
    taken.pipe_connection_lost(2, None)

    assert _said(caplog) == [f"module of x says: {text}" for text in ("one", "two\ufffd[31m", "last words")]
    assert list(taken.stderr)[-1] == "last words"
    assert not taken.ended


async def test_a_long_line_is_cut_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    taken = pipes()
    taken.pipe_data_received(2, b"x" * 5000 + b"\n" + b"y" * 301 + b"\n")

    assert _said(caplog) == [
        f"module of x says: {'x' * 300} … (cut; the line has 5000 bytes)",
        f"module of x says: {'y' * 300} … (cut; the line has 301 bytes)",
    ]


async def test_many_lines_are_logged_once_and_the_last_ones_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    taken = pipes()
    for start in range(0, 3000, 1000):
        taken.pipe_data_received(2, b"".join(b"%d\n" % number for number in range(start, start + 1000)))

    assert len(_said(caplog)) == 101
    assert _said(caplog)[-1] == "module of x says more; the rest of this process's output is not logged"
    assert list(taken.stderr) == [str(number) for number in range(2980, 3000)]


async def test_one_chunk_of_many_lines_is_logged_from_its_beginning_and_kept_from_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    taken = pipes()
    taken.pipe_data_received(2, b"half")
    for start in range(0, 60_000, 30_000):
        taken.pipe_data_received(2, b"".join(b"%d\n" % number for number in range(start, start + 30_000)) + b"half")

    assert _said(caplog)[:2] == ["module of x says: half0", "module of x says: 1"]
    assert len(_said(caplog)) == 101
    assert list(taken.stderr) == [str(number) for number in range(59_980, 60_000)]
    taken.pipe_data_received(2, b"way\n")
    assert taken.stderr[-1] == "halfway"


def test_skipping_leaves_the_last_lines_and_forgets_what_came_before() -> None:
    lines = Lines(100)
    lines.feed(b"old")

    assert lines.skip(b"a\nb\nc", 2) == b"a\nb\nc"
    assert lines.skip(b"a\nb\nc\nd", 2) == b"b\nc\nd"
    assert lines.feed(b"b\nc\nd") == [(b"b", 0), (b"c", 0)]
    assert lines.end() == [(b"d", 0)]


async def test_what_is_to_be_hidden_is_not_cut_in_two(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    taken = pipes(hide="471108")
    taken.pipe_data_received(2, "\U0001f511".encode() * 298 + b"471108\n")
    taken.pipe_data_received(1, b"x" * 57 + b"471108\n")

    assert "4711" not in caplog.text
    assert taken.not_an_answer == f"{'x' * 57}(hi"


async def test_what_is_to_be_hidden_is_hidden_is_hidden_also_in_nonsense(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    taken = pipes(hide="4711")
    taken.pipe_data_received(2, b"PIN 4711\n")
    taken.pipe_data_received(1, b"PIN 4711\n")

    assert _said(caplog) == ["module of x says: PIN (hidden)"]
    assert taken.not_an_answer == "PIN (hidden)"


class Pipe(asyncio.ReadTransport):
    """A pipe's reading end that notes whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.resumed = asyncio.Event()
        self.pauses = 0
        self.closed = False

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.pauses += 1

    def resume_reading(self) -> None:
        self.resumed.set()


async def test_what_is_never_silent_is_read_with_pauses() -> None:
    pipe, throttle = Pipe(), Throttle(free_bytes=100)
    throttle.took(100, pipe)
    assert pipe.pauses == 0

    throttle.took(1, pipe)
    assert pipe.pauses == 1
    await asyncio.wait_for(pipe.resumed.wait(), 5)


async def test_a_pipe_that_is_closed_is_left_alone() -> None:
    pipe, throttle = Pipe(), Throttle(free_bytes=0)
    throttle.took(1, pipe)
    pipe.closed = True
    throttle.took(1, pipe)
    throttle.took(1, None)
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, later.set)
    await asyncio.wait_for(later.wait(), 5)

    assert pipe.pauses == 1
    assert not pipe.resumed.is_set()


def test_every_line_of_json_is_an_answer_or_nonsense_never_an_exception() -> None:
    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
    def holds(value: Any) -> None:
        taken = Pipes("x")
        taken.asked = 5
        taken.pipe_data_received(1, json.dumps(value).encode() + b"\n")
        well = isinstance(value, list) and len(value) <= 5
        assert bool(taken.not_an_answer) is not well

    holds()
