"""A reader that does not read: nobody waits for it, and what it missed is counted and said."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from hsm_agent.log import LineWriter

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pipe:
    """Both ends of a pipe."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.writers: list[LineWriter] = []

    def read_until(self, last: bytes) -> bytes:
        """All there is, up to a line that ends so."""
        found = b""
        while not found.endswith(last):
            found += os.read(self.read_end, 65536)
        return found

    def close(self) -> None:
        """Both, once nothing is written any more: another test's pipe may get the same number."""
        os.close(self.read_end)
        for writer in self.writers:
            assert writer.flush(5.0)
        os.close(self.write_end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def _writer(pipe: Pipe, most_waiting_bytes: int = 1_000_000) -> LineWriter:
    writer = LineWriter(pipe.write_end, notice=lambda count: f"{count} dropped", most_waiting_bytes=most_waiting_bytes)
    pipe.writers.append(writer)
    return writer


def test_lines_come_in_order_and_whole(pipe: Pipe) -> None:
    writer = _writer(pipe)

    for number in range(1000):
        writer.write(f"line {number} größe")

    assert writer.flush(5.0)
    assert pipe.read_until(b"line 999 gr\xc3\xb6\xc3\x9fe\n").decode().splitlines() == [
        f"line {number} größe" for number in range(1000)
    ]


def test_a_pipe_nobody_reads_costs_no_time_and_what_it_lost_is_told_once_it_flows(pipe: Pipe) -> None:
    writer = _writer(pipe, most_waiting_bytes=100_000)
    line = "x" * 999
    began = time.monotonic()
    for _ in range(500):
        writer.write(line)
    assert time.monotonic() - began < 5.0
    assert not writer.flush(0.02)

    kept, dropped = 0, 0
    while kept + dropped < 500:
        for text in pipe.read_until(b"\n").decode().splitlines():
            assert text == line or text.endswith(" dropped")
            kept += text == line
            dropped += int(text.split()[0]) if text != line else 0

    assert (kept + dropped, writer.dropped_total) == (500, dropped)
    assert kept >= 100
    assert dropped > 0
    writer.write("and on")
    assert pipe.read_until(b"and on\n") == b"and on\n"


def test_the_notice_stands_where_the_lines_are_missing(pipe: Pipe) -> None:
    writer = _writer(pipe, most_waiting_bytes=100_000)
    for _ in range(300):
        writer.write("x" * 999)

    read = pipe.read_until(b"\n")
    while b"after" not in read:
        read += os.read(pipe.read_end, 65536)
        writer.write("after")

    said = read.decode().splitlines()
    position = next(place for place, text in enumerate(said) if text.endswith("dropped"))
    assert said.index("after") > position
    assert all(text.startswith("x") for text in said[:position])


def test_a_pipe_without_a_reader_is_no_error_and_is_counted() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    writer = LineWriter(write_end, notice=lambda count: f"{count} dropped")

    writer.write("one")
    writer.write("two")

    assert writer.flush(5.0)
    fresh_read, fresh_write = os.pipe()
    os.dup2(fresh_write, write_end)
    writer.write("three")
    assert writer.flush(5.0)
    assert os.read(fresh_read, 4096) == b"2 dropped\nthree\n"
    for each in (fresh_read, fresh_write, write_end):
        os.close(each)


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.write_end, False)
    writer = _writer(pipe)
    for number in range(300):
        writer.write(f"{number} {'x' * 1000}")
    writer.write("last")

    said = pipe.read_until(b"last\n").decode().splitlines()

    assert len(said) == 301


def test_who_logs_from_many_threads_tears_no_line(pipe: Pipe) -> None:
    writer = _writer(pipe)

    def speak() -> None:
        for _ in range(200):
            writer.write("y" * 50)

    threads = [threading.Thread(target=speak) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    writer.write("last")

    assert pipe.read_until(b"last\n").decode().splitlines() == ["y" * 50] * 800 + ["last"]
