"""What notifications said, while it waits to be judged: a queue for each sender, all of them bounded. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hsm_agent.collect.traps.held_alarms import Happening
    from hsm_agent.collect.traps.parsed_text import Heard, Place
    from hsm_agent.wire.snmp.trap import Trap

MOST_WAITING = 1000
"""Changes that wait to be judged. More are dropped, and their informs not acknowledged: the sender repeats them."""
MOST_WAITING_EACH = 250
"""Of one sender."""


class Notice:
    """What one notification said. Whoever fetches it says whether it was taken; an inform is owed its answer then."""

    def __init__(self, sender: str, trap: Trap, happenings: tuple[Happening, ...], heard: Heard) -> None:
        self.sender = sender
        self.happenings = happenings
        self.acknowledge: Callable[[], None] | None = None
        """To be called once what it said is on disk; None for a trap."""
        self._trap = trap
        self._heard = heard

    def note(self, now: float, place: Place) -> None:
        """Remember how far it came."""
        self._heard.note(self.sender, self._trap, now, place)

    def refuse(self) -> None:
        """It was not taken: when it is repeated it is news."""
        self._heard.forget(self.sender, self._trap)


class WaitingRoom:
    """Notices in the order of each sender; so many, and so many of one sender."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Notice]] = {}
        self._changes: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Notice]:
        return (notice for queue in self._queues.values() for notice in queue)

    def senders(self) -> list[str]:
        """Who is to be listened to, those first that wait longest."""
        return list(self._queues)

    def first(self, sender: str) -> Notice | None:
        """What a sender said first."""
        queue = self._queues.get(sender)
        return queue[0] if queue else None

    def leave(self, sender: str) -> Notice:
        """Take the first notice of a sender out."""
        return self._out(sender, last=False)

    def enter(self, notice: Notice) -> Notice | None:
        """Let a notice wait. What has no room is handed back: itself, or the last word of who speaks most."""
        own, size = self._changes.get(notice.sender, 0), len(notice.happenings)
        if own + size > MOST_WAITING_EACH:
            return notice
        pushed = None
        if sum(self._changes.values()) + size > MOST_WAITING:
            noisiest = max(self._changes, key=self._changes.__getitem__)
            if self._changes[noisiest] <= own + size:
                return notice
            pushed = self._out(noisiest, last=True)
        self._queues.setdefault(notice.sender, deque()).append(notice)
        self._changes[notice.sender] = own + size
        return pushed

    def _out(self, sender: str, *, last: bool) -> Notice:
        queue = self._queues[sender]
        notice = queue.pop() if last else queue.popleft()
        self._changes[sender] -= len(notice.happenings)
        if not queue:
            del self._queues[sender], self._changes[sender]
        return notice
