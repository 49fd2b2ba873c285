from __future__ import annotations

import json
import os
import select
from typing import TYPE_CHECKING

import pytest

from hsm_agent.workers.pkcs11.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def _lines(descriptor: int) -> list[object]:
    assert select.select([descriptor], [], [], 5)[0]
    return [json.loads(line) for line in os.read(descriptor, 1 << 20).splitlines()]


def test_answers_gather_into_one_line(pipe: tuple[int, int]) -> None:
    outbox = Outbox(pipe[1])
    for number in range(3):
        outbox.add(["token", number])
    outbox.flush()

    assert _lines(pipe[0]) == [[["token", 0], ["token", 1], ["token", 2]]]


def test_an_answer_that_nobody_flushes_is_sent_all_the_same(pipe: tuple[int, int]) -> None:
    Outbox(pipe[1]).add({"slots": []})

    assert _lines(pipe[0]) == [[{"slots": []}]]


def test_an_empty_outbox_sends_nothing(pipe: tuple[int, int]) -> None:
    Outbox(pipe[1]).flush()

    assert select.select([pipe[0]], [], [], 0)[0] == []
