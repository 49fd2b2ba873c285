"""The encoded rows of one table, and the segments of a view brought up to date with those that changed."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.serve.snmp.view import Render, Segment, varbind
from hsm_agent.wire.snmp import ber, mib
from hsm_agent.wire.snmp.mib import Syntax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.serve.snmp.rows import Cells, Row
    from hsm_agent.state.row_indexes import MibRowKey
    from hsm_agent.wire.snmp.ber import Oid


_RENDERS: dict[str, Render] = {
    "hsmSourceSecondsSinceSuccess": lambda since, moment: ber.encode_gauge32(int(moment.monotonic - since)),
    "hsmReadingAgeSeconds": lambda since, moment: ber.encode_gauge32(int(moment.wall - since)),
}
"""Columns whose cell is a moment and whose value is an age, true when answered."""


class EncodedRow(NamedTuple):
    """A row with its cells encoded: whole variable bindings, or names where the value is rendered when answered."""

    row: Row
    cells: tuple[bytes | None, ...]


EncodedChanges = dict[int, EncodedRow | None]
"""Rows by index as they are now, None for those that are gone."""


class EncodedTable:
    """One table's rows. `groups` tells which rows came from which source, to see which of them are gone."""

    def __init__(self, table: mib.Table, base: Oid) -> None:
        self.table = table
        self.prefixes = tuple(table.prefix(base, column) for column in table.columns)
        self.renders = tuple(_RENDERS.get(column.name) for column in table.columns)
        self._moment = next((number for number, render in enumerate(self.renders) if render), None)
        self.rows: dict[int, EncodedRow] = {}
        self.groups: dict[str, dict[MibRowKey, int]] = {}
        # An encoded OID is tag, length, content; the length is written anew for each row's index.
        self._heads = tuple(map(ber.oid_content, self.prefixes))

    def blank(self) -> dict[Oid, Segment]:
        """Empty segments for all columns."""
        columns = zip(self.table.columns, self.prefixes, self.renders, strict=True)
        return {
            prefix: Segment(render=render, counter64=column.syntax in {Syntax.COUNTER64, Syntax.GAUGE64})
            for column, prefix, render in columns
        }

    def encode(self, index: int, row: Row) -> EncodedRow:
        """The row encoded; cells that stayed as they are shown are taken over."""
        before = self.rows.get(index)
        if before is not None and self._only_moments_differ(before.row.cells, row.cells):
            return before if before.row == row else EncodedRow(row, before.cells)
        old: Sequence[mib.CellValue | None] = before.row.cells if before else (None,) * len(row.cells)
        encoded: Sequence[bytes | None] = before.cells if before else (None,) * len(row.cells)
        cells: list[bytes | None] = []
        for number, (value, was, cell) in enumerate(zip(row.cells, old, encoded, strict=True)):
            if value is None:
                cells.append(None)
            elif cell is not None and (value == was or self.renders[number]):
                cells.append(cell)
            else:
                cells.append(self._encode_cell(index, number, value))
        return EncodedRow(row, tuple(cells))

    def _only_moments_differ(self, was: Cells, now: Cells) -> bool:
        if self._moment is None:
            return was == now
        at = self._moment
        return was[:at] == now[:at] and was[at + 1 :] == now[at + 1 :] and (was[at] is None) == (now[at] is None)

    def _encode_cell(self, index: int, number: int, value: mib.CellValue) -> bytes:
        content = self._heads[number] + ber.encode_subids((index,))
        name = b"\x06" + ber.encode_length(len(content)) + content
        if self.renders[number]:
            return name
        return varbind(name, mib.encode_value(self.table.columns[number].syntax, value))

    def newly_encoded(self, changes: EncodedChanges) -> EncodedChanges:
        """Those of the changes that are more than another moment."""
        rows = self.rows
        return {
            index: one
            for index, one in changes.items()
            if one is None or index not in rows or one.cells is not rows[index].cells
        }

    def apply(self, changes: EncodedChanges) -> None:
        """Make the changes the rows that are shown."""
        for index, encoded in changes.items():
            if encoded is None:
                self.rows.pop(index, None)
            else:
                self.rows[index] = encoded


def patch(segment: Segment, column: int, changes: Mapping[int, EncodedRow | None]) -> Segment:
    """The segment with the changed rows' cells of one column; the same object if none of them differs."""
    rows, cells, numbers = segment.rows, list(segment.cells), list(segment.numbers)
    differs = False
    for index, encoded in changes.items():
        position = bisect_left(rows, index)
        is_present = position < len(rows) and rows[position] == index
        cell = encoded.cells[column] if encoded else None
        if is_present != (cell is not None):
            return _merge(segment, column, changes)
        if cell is None or encoded is None:
            continue
        if cells[position] != cell:
            cells[position] = cell
            differs = True
        if segment.render and numbers[position] != (number := _number(encoded, column)):
            numbers[position] = number
            differs = True
    return Segment(rows, cells, numbers, segment.render, segment.counter64) if differs else segment


def _merge(segment: Segment, column: int, changes: Mapping[int, EncodedRow | None]) -> Segment:
    """The same where rows come or go."""
    numbers: Sequence[float] = segment.numbers if segment.render else [0.0] * len(segment.rows)
    merged = dict(zip(segment.rows, zip(segment.cells, numbers, strict=True), strict=True))
    for index, encoded in changes.items():
        cell = encoded.cells[column] if encoded else None
        if cell is None or encoded is None:
            merged.pop(index, None)
        else:
            merged[index] = (cell, _number(encoded, column) if segment.render else 0.0)
    rows = sorted(merged)
    cells = [merged[index][0] for index in rows]
    kept = [merged[index][1] for index in rows] if segment.render else []
    return Segment(rows, cells, kept, segment.render, segment.counter64)


def _number(encoded: EncodedRow, column: int) -> float:
    value = encoded.row.cells[column]
    assert isinstance(value, int | float), "a rendered column holds moments"
    return value
