"""A disk's thread that answers when and what the test says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.spool.disk_thread import DiskThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsm_agent.spool.changes import Changes
    from hsm_agent.spool.disk import DiskTrouble, Loaded
    from hsm_agent.spool.records import SpoolError


class ScriptedThread(DiskThread):
    """Keeps each question until `answer_*` is called; applies what succeeds to `rows`."""

    def __init__(self) -> None:
        self.rows: Changes = {}
        self.writes: list[tuple[Changes, bool, Callable[[str, bool], None]]] = []
        self.recoveries: list[tuple[Changes, Callable[[str, Changes, bool], None]]] = []
        self.opens: list[Callable[[Loaded | DiskTrouble | SpoolError], None]] = []

    def write(self, changes: Changes, *, durable: bool, done: Callable[[str, bool], None]) -> None:
        self.writes.append((changes, durable, done))

    def recover(self, changes: Changes, *, done: Callable[[str, Changes, bool], None]) -> None:
        self.recoveries.append((changes, done))

    def open(self, done: Callable[[Loaded | DiskTrouble | SpoolError], None]) -> None:
        self.opens.append(done)

    def answer_write(self, trouble: str = "", *, file_open: bool = True) -> None:
        changes, _, done = self.writes.pop(0)
        if not trouble:
            self.rows.update(changes)
        done(trouble, file_open)

    def answer_recovery(self, trouble: str = "", *, file_open: bool = True) -> None:
        changes, done = self.recoveries.pop(0)
        left: Changes = {key: row for key, row in changes.items() if trouble and row is not None}
        self.rows.update({key: row for key, row in changes.items() if key not in left})
        done(trouble, left, file_open)

    def answer_open(self, loaded: Loaded | DiskTrouble) -> None:
        self.opens.pop(0)(loaded)
