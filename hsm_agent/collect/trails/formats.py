"""The formats of trails by name, how a file is cut into records, and which format its lines have. Pure."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from hsm_agent.collect.trails import cloudhsm
from hsm_agent.collect.trails.chain import LONGEST_LINE_BYTES, Chain
from hsm_agent.collect.trails.cloudhsm import CloudHsmChain
from hsm_agent.collect.trails.craton import CratonChain, CratonDocumentedChain

if TYPE_CHECKING:
    from collections.abc import Iterable

Format = Literal["craton", "craton-documented", "cloudhsm"]
FORMATS: dict[Format, type[Chain]] = {
    "craton": CratonChain,
    "craton-documented": CratonDocumentedChain,
    "cloudhsm": CloudHsmChain,
}


def known_format(name: str) -> Format:
    """The format of this name. Raises ValueError."""
    for known in FORMATS:
        if known == name:
            return known
    raise ValueError(f"no format {name!r}; there are {', '.join(FORMATS)}")


class LineRecords:
    """Cuts a file into lines. `rest` is what has no line end yet; it is never longer than the longest line."""

    def __init__(self) -> None:
        self.rest = b""
        self.is_within = False
        """Whether the next block goes on with a line that was too long: what is left of it is dropped."""

    def push(self, block: bytes) -> list[bytes]:
        """Records that the next block of the file completes, without their line ends. One that is too long is cut."""
        if self.is_within:
            _, line_end, block = block.partition(b"\n")
            if not line_end:
                return []
            self.is_within = False
        data = self.rest + block if self.rest else block
        records = data.split(b"\n")
        self.rest = records.pop()
        if len(self.rest) > LONGEST_LINE_BYTES:
            records.append(self.rest[:LONGEST_LINE_BYTES])
            self.rest, self.is_within = b"", True
        return records


class EventRecords(LineRecords):
    """Cuts a file into events of several lines; the last one may still grow and stays in `rest`."""

    def push(self, block: bytes) -> list[bytes]:
        """Events that the next block of the file completes."""
        self.is_within = False
        data = self.rest + block if self.rest else block
        starts = [match.start() for match in cloudhsm.BEGINS.finditer(data)]
        if starts and data[: starts[0]].strip():
            starts.insert(0, 0)
        records = [data[start:end].rstrip(b"\n") for start, end in pairwise(starts)]
        self.rest = data[starts[-1] :] if starts else data
        if len(self.rest) > LONGEST_LINE_BYTES:
            records.append(self.rest)
            self.rest = b""
        return records


def records_of(format_name: str) -> LineRecords:
    """What cuts a file of this format."""
    return EventRecords() if format_name == CloudHsmChain.format else LineRecords()


def recognised(lines: Iterable[bytes]) -> Format | None:
    """The format that the lines have; None where none of them is an entry of any."""
    for line in filter(bytes.strip, lines):
        for name in ("craton", "craton-documented"):
            if FORMATS[name]().feed(line.rstrip(b"\r\n")):
                return name
        if cloudhsm.BEGINS.match(line) and (not line.lstrip().startswith(b"{") or _has_op_code(line)):
            return "cloudhsm"
    return None


def _has_op_code(line: bytes) -> bool:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "op_code" in found
