"""What is stored, table by table, and the changes that are still to be stored.

A change replaces or erases one whole row, so applying it twice, or after a COMMIT of unknown outcome, is harmless.
"""

from __future__ import annotations

from typing import Any, Literal

Table = Literal["sink", "entry", "waiting", "dead", "run", "state", "tally"]
Key = tuple[str | int, ...]
Row = tuple[Any, ...]
NewRow = tuple[tuple[Table, Key], Row]
"""A row with its table and key."""
Rows = dict[tuple[Table, Key], Row]
"""Rows by table and key."""
Changes = dict[tuple[Table, Key], Row | None]
"""New rows by table and key; None erases."""

COLUMNS: dict[Table, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sink": (("name",), ("minimum_severity", "dropped", "buried")),
    "entry": (("seq",), ("payload",)),
    "waiting": (("sink", "seq"), ("attempts",)),
    "dead": (("sink", "seq"), ("reason", "time")),
    "run": (("sink", "alarm_id"), ("told", "open")),
    "state": (("key",), ("value",)),
    "tally": (("name",), ("value",)),
}
"""Key columns and other columns of each table."""


class Pending:
    """Changes not yet handed to the disk; the last one of a row counts."""

    def __init__(self) -> None:
        self._changes: Changes = {}

    def put(self, table: Table, key: Key, row: Row) -> None:
        """The row is this from now on."""
        self._changes[table, key] = row

    def erase(self, table: Table, key: Key) -> None:
        """The row is gone."""
        self._changes[table, key] = None

    def take(self) -> Changes:
        """All changes since the last time."""
        taken, self._changes = self._changes, {}
        return taken


def text_bytes(changes: Changes) -> int:
    """About how many bytes the new rows are, without SQLite's own."""
    values = (value for (_, key), row in changes.items() if row is not None for value in (*key, *row))
    return sum(len(value) for value in values if isinstance(value, str | bytes))
