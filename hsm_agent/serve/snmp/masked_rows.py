"""Rows as a view that hides names shows them. Keys and owners stay: row numbers and scopes are those of all views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.model import Severity
from hsm_agent.wire.snmp import mib

if TYPE_CHECKING:
    from hsm_agent.serve.hide import Mask
    from hsm_agent.serve.snmp.rows import Row

_OWN_NAMES = frozenset(
    {
        *("hsmSourceName", "hsmSourceKind", "hsmSinkName", "hsmSinkKind"),
        *("hsmTokenSource", "hsmAuditSource", "hsmReadingSource", "hsmActiveSource"),
        *("hsmReadingMetric", "hsmReadingValue", "hsmReadingUnit"),
        *("hsmActiveMetric", "hsmActiveValue", "hsmActiveThreshold", "hsmActiveRule"),
        *("hsmActiveEventId", "hsmActiveAlarmId"),
        *("hsmMemberName", "hsmMemberVersion"),
    }
)
"""Text columns without a name of a token; a column that is not among them is masked."""
_FOREIGN = frozenset({"hsmSourceLastError", "hsmSinkLastError"})


_MASKED = {
    table.name: tuple(
        (number, column.name in _FOREIGN)
        for number, column in enumerate(table.columns)
        if column.syntax is mib.Syntax.TEXT and column.name not in _OWN_NAMES
    )
    for table in mib.TABLES
}
"""By table: the columns that are masked, and whether somebody else's words are in them."""

_TEXT, _METRIC, _SEVERITY, _THRESHOLD = (
    [column.name for column in mib.ACTIVE.columns].index(f"hsmActive{name}")
    for name in ("Text", "Metric", "Severity", "Threshold")
)
_UNKNOWN = Severity.INDETERMINATE.number


def masked_row(row: Row, mask: Mask) -> Row:
    """The row without the names that the mask hides."""
    cells = list(row.cells)
    for number, is_foreign in _MASKED[row.table.name]:
        value = cells[number]
        if value and isinstance(value, str):
            cells[number] = mask.foreign_text(value) if is_foreign else mask.name(value)
    if row.table is mib.ACTIVE:
        text, metric, is_unknown = row.cells[_TEXT], str(row.cells[_METRIC] or ""), row.cells[_SEVERITY] == _UNKNOWN
        cells[_TEXT] = mask.alarm_text(str(text or ""), metric, is_unknown=is_unknown)
        cells[_THRESHOLD] = mask.threshold(metric, str(row.cells[_THRESHOLD] or ""))
    return row._replace(cells=tuple(cells))
