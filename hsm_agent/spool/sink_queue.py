"""Where one sink stands: what waits for it, in order, and of which alarms it was told.

Pure memory: no I/O, no clock. A *run* is what one sink is to be told of one alarm, from raise to clear.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from hsm_agent.model import Event, Severity
    from hsm_agent.spool.changes import NewRow, Pending, Row

_TRANSITIONS = {EventKind.RAISED, EventKind.CHANGED, EventKind.CLEARED}


@dataclass(slots=True)
class Run:
    """One alarm as one sink hears of it.

    `told`: the sink accepted an event of it, or may have: one was sent to it and the answer got lost.
    `open`: no clear is queued or told yet. `seqs`: what waits, in order.
    """

    alarm_id: str
    told: bool = False
    open: bool = True
    seqs: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Place:
    """One entry's place in the queue of one sink."""

    run: Run | None
    attempts: int = 0


class Cursor:
    """The queue of one sink. Sequence numbers only ever rise, so insertion order is sending order."""

    def __init__(self, name: str, minimum: Severity | None, changes: Pending, *, dropped: int, buried: int) -> None:
        self.name = name
        self.minimum = minimum
        self.dropped = dropped
        self.buried = buried
        self.waiting: OrderedDict[int, Place] = OrderedDict()
        self.runs: dict[str, Run] = {}
        self.in_flight: frozenset[int] = frozenset()
        self._changes = changes
        # What may be dropped when the spool is full, each in the order in which it became droppable.
        self._closed: OrderedDict[str, Run] = OrderedDict()
        self._superseded: OrderedDict[int, None] = OrderedDict()
        self._loose: OrderedDict[int, None] = OrderedDict()

    def wants(self, event: Event) -> bool:
        """Whether this sink is to be told: the event, or one it was told of the same alarm, reaches its minimum.

        Clears follow their raise; what is no transition of an alarm (a test, a notice) always goes.
        """
        if event.kind not in _TRANSITIONS:
            return True
        if event.alarm_id in self.runs:
            return True
        if event.kind is EventKind.CLEARED:
            return False
        return self.minimum is None or event.severity.rank >= self.minimum.rank

    def append(self, seq: int, kind: EventKind, alarm_id: str, *, attempts: int = 0) -> None:
        """Queue an entry at the end."""
        run = self.runs.setdefault(alarm_id, Run(alarm_id)) if alarm_id and kind in _TRANSITIONS else None
        self.waiting[seq] = Place(run, attempts)
        if run is None:
            self._loose[seq] = None
            return
        # The first event of an alarm the sink knows nothing of is its raise: nothing later stands for it.
        if run.seqs and (run.told or len(run.seqs) > 1):
            self._superseded[run.seqs[-1]] = None
        run.seqs.append(seq)
        run.open = kind is not EventKind.CLEARED
        self._place(run)

    def queue(self, seq: int, event: Event) -> None:
        """Queue a new entry at the end, and have that stored."""
        self.append(seq, event.kind, event.alarm_id)
        self.store_place(seq)
        run = self.waiting[seq].run
        if run is not None:
            self.store_run(run)

    def take(self, limit: int, upto: int, aside: Collection[int] = ()) -> list[tuple[int, int]]:
        """The first entries up to a sequence number, as (seq, attempts); they are in flight until given back.

        Those set aside are passed over, and with each what comes after it of the same alarm: its events keep their
        order.
        """
        free = (seq for seq in self.waiting if seq <= upto)
        if aside:
            held = {seq for each in aside for seq in self._from(each)}
            free = (seq for seq in self.waiting if seq <= upto and seq not in held)
        return self._fly(islice(free, limit))

    def take_one(self, seq: int) -> list[tuple[int, int]]:
        """One entry, wherever it stands; nothing if it is gone."""
        return self._fly([seq] if seq in self.waiting else [])

    def _fly(self, seqs: Iterable[int]) -> list[tuple[int, int]]:
        taken = [(seq, self.waiting[seq].attempts) for seq in seqs]
        self.in_flight = frozenset(seq for seq, _ in taken)
        return taken

    def _from(self, seq: int) -> Iterable[int]:
        """An entry, and what waits behind it of the same alarm."""
        place = self.waiting.get(seq)
        if place is None or place.run is None:
            return (seq,)
        return (each for each in place.run.seqs if each >= seq)

    def give_back(self, seqs: Iterable[int], *, sent: bool) -> None:
        """Entries come back unaccepted. If they were sent, the receiver may have them all the same."""
        self.in_flight = frozenset()
        for seq in seqs:
            place = self.waiting.get(seq)
            if place is None or not sent:
                continue
            place.attempts += 1
            self.store_place(seq)
            if place.run is not None:
                self._tell(place.run)

    def remove(self, seq: int, *, told: bool) -> bool:
        """An entry leaves the queue: accepted (`told`), or given up. False if it was not there."""
        place = self.waiting.pop(seq, None)
        if place is None:
            return False
        self.in_flight -= {seq}
        self._superseded.pop(seq, None)
        self._loose.pop(seq, None)
        self._changes.erase("waiting", (self.name, seq))
        if place.run is not None:
            place.run.seqs.remove(seq)
            if told:
                self._tell(place.run)
            self._settle(place.run)
        return True

    def restore_run(self, alarm_id: str, *, told: bool, is_open: bool) -> None:
        """Take in a stored run, before its entries."""
        self.runs[alarm_id] = Run(alarm_id, told, is_open)

    def settle_all(self) -> None:
        """After taking in what was stored: forget runs that are over."""
        for run in list(self.runs.values()):
            self._settle(run)

    def untold_runs(self) -> Iterator[list[int]]:
        """Entries of each alarm that came and went without a word to this sink, oldest first."""
        for run in self._closed.values():
            if self.in_flight.isdisjoint(run.seqs):
                yield run.seqs

    def superseded(self) -> Iterator[list[int]]:
        """Each entry that a later one of the same alarm makes obsolete, oldest first."""
        return ([seq] for seq in self._superseded if seq not in self.in_flight)

    def loose(self) -> Iterator[list[int]]:
        """Each entry that belongs to no alarm, oldest first."""
        return ([seq] for seq in self._loose if seq not in self.in_flight)

    def store(self) -> None:
        """Have the sink itself stored."""
        self._changes.put("sink", (self.name,), self._row())

    def store_place(self, seq: int) -> None:
        """Have the place of one entry stored."""
        self._changes.put("waiting", (self.name, seq), (self.waiting[seq].attempts,))

    def store_run(self, run: Run) -> None:
        """Have one run stored."""
        self._changes.put("run", (self.name, run.alarm_id), (int(run.told), int(run.open)))

    def rows(self) -> Iterator[NewRow]:
        """Every row of this sink. What changes while this goes on is left to whoever stores changes."""
        yield ("sink", (self.name,)), self._row()
        for seq in list(self.waiting):
            if (place := self.waiting.get(seq)) is not None:
                yield ("waiting", (self.name, seq)), (place.attempts,)
        for alarm_id in list(self.runs):
            if (run := self.runs.get(alarm_id)) is not None:
                yield ("run", (self.name, alarm_id)), (int(run.told), int(run.open))

    def erase(self) -> None:
        """The sink is gone: its row and its runs are too. The entries are the ledger's to release."""
        for alarm_id in self.runs:
            self._changes.erase("run", (self.name, alarm_id))
        self._changes.erase("sink", (self.name,))

    def _row(self) -> Row:
        return (self.minimum.value if self.minimum else "", self.dropped, self.buried)

    def _tell(self, run: Run) -> None:
        if not run.told:
            run.told = True
            self.store_run(run)
            self._place(run)

    def _place(self, run: Run) -> None:
        if run.open or run.told:
            self._closed.pop(run.alarm_id, None)
        else:
            self._closed[run.alarm_id] = run

    def _settle(self, run: Run) -> None:
        if not run.open and not run.seqs:
            self.runs.pop(run.alarm_id, None)
            self._closed.pop(run.alarm_id, None)
            self._changes.erase("run", (self.name, run.alarm_id))
