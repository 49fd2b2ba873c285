from __future__ import annotations

import errno
import json
import os
import queue
import select
from typing import TYPE_CHECKING

import pytest

from hsm_agent.workers.isolation import AnswerSender, Requests

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


class Loss:
    """What a thread says of a pipe it lost."""

    def __init__(self) -> None:
        self._errors: queue.SimpleQueue[OSError] = queue.SimpleQueue()

    def __call__(self, error: OSError) -> None:
        self._errors.put(error)

    def number(self) -> int | None:
        return self._errors.get(timeout=5).errno


def _read(descriptor: int) -> bytes:
    assert select.select([descriptor], [], [], 5)[0]
    return os.read(descriptor, 1 << 20)


def test_requests_are_lines_until_the_end_of_the_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n")
    os.close(writing)

    assert list(Requests(reading, Loss())) == [b"one\n", b"two\n"]
    os.close(reading)


def test_a_pipe_that_somebody_closed_is_told_and_ends_the_requests() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)
    loss = Loss()

    assert list(Requests(reading, loss)) == []
    assert loss.number() == errno.EBADF


def test_what_is_flushed_is_sent_when_flush_returns(pipe: tuple[int, int]) -> None:
    sender = AnswerSender(pipe[1], Loss(), gather_seconds=60)
    sender.add(1)
    sender.add(2)
    sender.flush()

    assert select.select([pipe[0]], [], [], 0)[0]
    assert b"".join(_read(pipe[0]).split()) in {b"[1,2]", b"[1][2]"}


def test_what_nobody_flushes_is_sent_all_the_same(pipe: tuple[int, int]) -> None:
    AnswerSender(pipe[1], Loss()).add("x")

    assert _read(pipe[0]) == b'["x"]\n'


def test_values_are_sent_in_order_through_a_pipe_that_is_full(pipe: tuple[int, int]) -> None:
    sender = AnswerSender(pipe[1], Loss())
    wanted = [f"{number:04d}{'x' * 1000}" for number in range(200)]
    for value in wanted:
        sender.add(value)
    found: list[str] = []
    rest = b""
    while len(found) < len(wanted):
        *lines, rest = (rest + _read(pipe[0])).split(b"\n")
        found += [value for line in lines for value in json.loads(line)]

    assert found == wanted


def test_a_pipe_that_cannot_be_written_is_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    loss = Loss()
    sender = AnswerSender(writing, loss)
    sender.add(1)
    sender.flush()
    os.close(writing)

    assert loss.number() == errno.EPIPE


def test_answers_gather_into_one_line(pipe: tuple[int, int]) -> None:
    sender = AnswerSender(pipe[1], Loss(), gather_seconds=60)
    for number in range(3):
        sender.add(["token", number])
    sender.flush()

    lines = [json.loads(line) for line in _read(pipe[0]).splitlines()]
    assert lines == [[["token", 0], ["token", 1], ["token", 2]]]


def test_a_sender_without_answers_sends_nothing(pipe: tuple[int, int]) -> None:
    AnswerSender(pipe[1], Loss()).flush()

    assert select.select([pipe[0]], [], [], 0)[0] == []
