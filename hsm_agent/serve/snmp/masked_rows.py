"""Rows as a view that hides names shows them. Keys and owners stay: row numbers and scopes are those of all views."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsm_agent.serve.hide import Mask
    from hsm_agent.serve.snmp.rows import Row
    from hsm_agent.wire.snmp import mib

_OWN_NAMES = frozenset(
    {
        *("hsmSourceName", "hsmSourceKind", "hsmSinkName", "hsmSinkKind"),
        *("hsmTokenSource", "hsmAuditSource", "hsmReadingSource", "hsmActiveSource"),
        *("hsmReadingMetric", "hsmReadingValue", "hsmReadingUnit"),
        *("hsmActiveMetric", "hsmActiveValue", "hsmActiveThreshold", "hsmActiveRule"),
        *("hsmActiveEventId", "hsmActiveAlarmId"),
    }
)
"""Text columns without a name of a token; a column that is not among them is masked."""
_FOREIGN = frozenset({"hsmSourceLastError", "hsmSinkLastError"})


def masked_row(row: Row, mask: Mask) -> Row:
    """The row without the names that the mask hides."""
    cells = zip(row.table.columns, row.cells, strict=True)
    return row._replace(cells=tuple(_cell(column.name, value, mask) for column, value in cells))


def _cell(column: str, value: mib.CellValue | None, mask: Mask) -> mib.CellValue | None:
    if not isinstance(value, str) or column in _OWN_NAMES:
        return value
    return mask.foreign_text(value) if column in _FOREIGN else mask.name(value)
