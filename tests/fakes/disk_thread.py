"""A disk's thread that answers when and what the test says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from hsm_agent.spool.disk import Disk, DiskTrouble, StoredSpool
from hsm_agent.threads import ThreadOf

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsm_agent.spool.tables import RowChanges

T = TypeVar("T")
_TURNS = 20


class ScriptedDisk:
    """The last thing it was asked; applies what succeeds to `rows`."""

    def __init__(self) -> None:
        self.rows: RowChanges = {}
        self.is_open = True
        self.trouble = ""
        self.stored: StoredSpool | None = None
        self.asked: list[str] = []

    def open(self) -> StoredSpool:
        self._ask("open")
        assert self.stored is not None
        self.is_open = True
        return self.stored

    def apply(self, changes: RowChanges, *, durable: bool) -> None:
        self._ask("apply durably" if durable else "apply")
        self.rows.update(changes)

    def apply_releases(self, changes: RowChanges) -> RowChanges:
        self.rows.update({key: row for key, row in changes.items() if row is None})
        return {key: row for key, row in changes.items() if row is not None}

    def require_room(self, _: RowChanges) -> None:
        self._ask("require room")

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.trouble:
            raise DiskTrouble(self.trouble)


class ScriptedThread(ThreadOf[Disk]):
    """Keeps each call until `answer` is called, but those that cost no disk access."""

    def __init__(self) -> None:
        self.disk = ScriptedDisk()
        self._waiting: list[tuple[Callable[[Disk], Any], asyncio.Future[Any]]] = []

    async def run(self, work: Callable[[Disk], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        return await done

    async def answer(self, trouble: str = "", *, is_open: bool = True, stored: StoredSpool | None = None) -> None:
        """Have the disk do what it was asked up to the next access to it; then let the caller go on."""
        self.disk.trouble, self.disk.stored = trouble, stored
        before = len(self.disk.asked)
        while len(self.disk.asked) == before:
            await turns(until=self._waiting)
            work, done = self._waiting.pop(0)
            try:
                result = work(cast("Disk", self.disk))
            except DiskTrouble as error:
                self.disk.is_open = is_open
                done.set_exception(error)
            else:
                done.set_result(result)
        await turns()

    async def recover(self, trouble: str = "") -> None:
        """Have a recovery find room and write, or be refused the room."""
        await self.answer(trouble)
        if not trouble:
            await self.answer()


async def turns(*, until: list[Any] | None = None) -> None:
    """Let the loop go round until something is asked, or a few times."""
    for _ in range(_TURNS):
        if until:
            return
        await asyncio.sleep(0)
    assert until is None, "the disk is asked for nothing"
