"""A worker's answers on their way to the parent: each line is a JSON array of those that were ready."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from hsm_agent.workers.supervisor.lines import Sender

if TYPE_CHECKING:
    from collections.abc import Callable

_GATHER_SECONDS = 0.005
_FULL_CHARACTERS = 256 * 1024
"""A line ends with the answer that reaches it: the parent takes no endless ones."""
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _lines(answers: list[Any]) -> bytes:
    lines: list[str] = []
    line: list[str] = []
    length = 0
    for answer in answers:
        line.append(_encode(answer))
        length += len(line[-1])
        if length >= _FULL_CHARACTERS:
            lines.append(f"[{','.join(line)}]\n")
            line, length = [], 0
    if line:
        lines.append(f"[{','.join(line)}]\n")
    return "".join(lines).encode()


def end(error: OSError) -> None:
    """Without a way to answer there is nothing left to do."""
    del error
    os._exit(1)


class Outbox(Sender):
    """Answers for one pipe, from one thread, in order."""

    def __init__(self, descriptor: int, lost: Callable[[OSError], None] = end) -> None:
        super().__init__(descriptor, _lines, lost, gather_seconds=_GATHER_SECONDS)
