"""Receives datagrams: checks the sender, verifies, maps and queues notifications; counts everything that is dropped.

Called by the socket for each datagram; raises nothing, and bounds everything that a sender can make grow: queues, log
lines, records of senders. An inform is acknowledged by the consumer of the queue when its change is on disk; until then
its repetitions are neither answered nor applied again. Each sender has a queue of its own, so that none delays another.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.collect.traps.duplicates import DuplicateFilter, TrapProgress
from hsm_agent.collect.traps.held_alarms import SentAt, TrapEvent
from hsm_agent.collect.traps.trap_maps import damage
from hsm_agent.log import SparingLog
from hsm_agent.model import Reading
from hsm_agent.text import ip_of
from hsm_agent.wire.snmp.trap_receiver import AcceptedTrap, Drop, DroppedTrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hsm_agent.collect.traps.trap_maps import TrapTable
    from hsm_agent.model import Labels
    from hsm_agent.settings.snmp import Network
    from hsm_agent.wire.snmp.trap_receiver import Trap, TrapReceiver

log = logging.getLogger(__name__)

OTHER_SENDERS = "other"
"""All senders named neither in `devices` nor, by their own address, in `from`.

Their addresses may be forged, so a counter for each would be unbounded.
"""
MOST_SENDERS = 64
"""Senders with a log line in a minute: addresses of datagrams can be forged."""
_REMEMBERED_ADDRESSES = 1024
_REFUSED = tuple(why for why in Drop if why.value.startswith("auth-"))
_LOST = (Drop.QUEUE, Drop.ALARMS)
_DAMAGED = frozenset({Drop.MALFORMED, Drop.TOO_LONG})
"""A notification may have been lost in it."""

MOST_PENDING = 1000
"""Queued changes in all. More are dropped, and their informs not acknowledged: the sender repeats them."""
MOST_PENDING_EACH = 250
"""Of one sender."""

Send = Callable[[bytes], None]


@dataclass(slots=True, eq=False)
class PendingNotification:
    """The alarm changes of one notification. `acknowledge` is to be called when they are on disk; None for a trap."""

    sender: str
    trap: Trap
    events: tuple[TrapEvent, ...]
    duplicates: DuplicateFilter
    acknowledge: Callable[[], None] | None = None

    def record(self, now: float, progress: TrapProgress) -> None:
        """Record the notification's progress, to recognise its duplicates."""
        self.duplicates.record(self.sender, self.trap, now, progress)

    def refuse(self) -> None:
        """It was not applied: a repetition is not a duplicate."""
        self.duplicates.forget(self.sender, self.trap)


class PendingQueue:
    """A bounded queue of notifications for each sender."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[PendingNotification]] = {}
        self._changes: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[PendingNotification]:
        return (one for queue in self._queues.values() for one in queue)

    def senders(self) -> list[str]:
        """Senders with queued notifications, the longest waiting first."""
        return list(self._queues)

    def first(self, sender: str) -> PendingNotification | None:
        """The oldest notification of a sender; None without any."""
        queue = self._queues.get(sender)
        return queue[0] if queue else None

    def pop(self, sender: str) -> PendingNotification:
        """Remove and return the oldest notification of a sender."""
        return self._out(sender, last=False)

    def add(self, pending: PendingNotification) -> PendingNotification | None:
        """Queue it. Returns what found no room: this one, or the newest of the sender with the most changes."""
        own, size = self._changes.get(pending.sender, 0), len(pending.events)
        if own + size > MOST_PENDING_EACH:
            return pending
        evicted = None
        if sum(self._changes.values()) + size > MOST_PENDING:
            noisiest = max(self._changes, key=self._changes.__getitem__)
            if self._changes[noisiest] <= own + size:
                return pending
            evicted = self._out(noisiest, last=True)
        self._queues.setdefault(pending.sender, deque()).append(pending)
        self._changes[pending.sender] = own + size
        return evicted

    def _out(self, sender: str, *, last: bool) -> PendingNotification:
        queue = self._queues[sender]
        pending = queue.pop() if last else queue.popleft()
        self._changes[sender] -= len(pending.events)
        if not queue:
            del self._queues[sender], self._changes[sender]
        return pending


class Intake:
    """Turns datagrams into pending notifications."""

    def __init__(
        self,
        source: str,
        *,
        receiver: TrapReceiver,
        maps: TrapTable,
        networks: Sequence[Network],
        wake: Callable[[], None],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        devices: Mapping[str, str] | None = None,
        duplicates: DuplicateFilter | None = None,
    ) -> None:
        """`wake` is called when a notification was queued; `devices` are names by address."""
        self.receiver = receiver
        self.pending = PendingQueue()
        self.duplicates = duplicates or DuplicateFilter()
        self._devices = {**_alone(networks), **(devices or {})}
        self.counts = dict.fromkeys(_counters((*sorted(set(self._devices.values())), OTHER_SENDERS)), 0)
        """By metric and labels. Each is there from the beginning, so that its first increase is seen."""
        self._source = source
        self._maps = maps
        self._networks = tuple(networks)
        self._wake = wake
        self._monotonic = monotonic
        self._wall = wall
        self._names: dict[str, str | None] = {}
        self._device_log = SparingLog(log, most_peers=MOST_SENDERS, clock=monotonic)
        self._other_log = SparingLog(log, most_peers=MOST_SENDERS, clock=monotonic)
        self._unread = 0

    def handle(self, datagram: bytes, address: str, send: Send) -> None:
        """Process a datagram; `send` sends the answer, at once or later."""
        sender = self._sender(address)
        if sender is None:
            self.drop(Drop.SENDER, address)
            return
        outcome = self.receiver.receive(datagram, address, self._monotonic())
        if isinstance(outcome, AcceptedTrap):
            self._count("traps_received_total")
            self._accept(outcome, sender, send)
            return
        if isinstance(outcome, DroppedTrap):
            self.drop(outcome.why, sender, outcome.detail)
            if outcome.why in _DAMAGED:
                self._note_damage(sender, authentic=outcome.authentic)
        if outcome.answer is not None:
            send(outcome.answer)

    def _accept(self, accepted: AcceptedTrap, sender: str, send: Send) -> None:
        trap, answer = accepted
        now = self._wall()
        if trap.inform and (place := self.duplicates.inform_progress(sender, trap, now)) is not None:
            if place is TrapProgress.STORED and answer is not None:  # the acknowledgement was lost on its way
                send(answer)
            return
        if trap.origin is not None and self.duplicates.has_message(trap.origin):
            self.drop(Drop.REPEATED, sender)
            return
        changes = self._maps.read(trap)
        damaged, name = damage(trap), ".".join(map(str, trap.oid))
        if damaged:
            self._note_damage(sender, authentic=True)
            self._log(sender, f"a value of trap {name} cannot be decoded: {damaged}")
        if not changes:
            if not damaged:
                self._count("traps_unmapped_total")
                self._log(sender, f"trap {name} means nothing here: name it in maps")
            if answer is not None:
                send(answer)
            return
        origin = trap.origin
        sent = None
        if origin is not None and not trap.inform:  # an inform carries an estimate of our time, which may go back
            sent = SentAt(origin.engine_id.hex(), origin.boots, origin.time)
        events = tuple(
            TrapEvent(address=sender, change=change, time=now, authentic=origin is not None, sent=sent)
            for change in changes
        )
        acknowledge = None if answer is None else partial(send, answer)
        self._queue(PendingNotification(sender, trap, events, self.duplicates, acknowledge))

    def _queue(self, pending: PendingNotification) -> None:
        evicted = self.pending.add(pending)
        if evicted is not pending:
            pending.record(self._wall(), TrapProgress.PENDING)
            self._wake()
        if evicted is not None:
            evicted.refuse()
            self.drop(Drop.QUEUE, evicted.sender)

    def note_unread(self, counts: Sequence[int]) -> None:
        """Datagrams that the kernel dropped unread, by socket, since each was bound."""
        unread = sum(counts)
        if unread > self._unread:
            reason = Drop.SOCKET.value
            self._count("traps_dropped_total", by=unread - self._unread, reason=reason)
            self._count("traps_lost_total", by=unread - self._unread, reason=reason, sender=OTHER_SENDERS)
            self._log("any address", f"{unread - self._unread} datagrams came faster than they could be read")
        self._unread = unread

    def _note_damage(self, sender: str, *, authentic: bool) -> None:
        device = self._devices.get(sender, OTHER_SENDERS)
        self._count("traps_malformed_total", authentic="yes" if authentic else "no", sender=device)

    def drop(self, why: Drop, address: str, detail: str = "") -> None:
        """Count a dropped datagram, and log it sparingly."""
        reason, device = why.value, self._devices.get(address, OTHER_SENDERS)
        self._count("traps_dropped_total", reason=reason)
        if why in _REFUSED:
            self._count("traps_refused_total", reason=reason, sender=device)
        if why in _LOST:
            self._count("traps_lost_total", reason=reason, sender=device)
        self._log(address, f"a datagram was dropped: {reason}{f' ({detail})' if detail else ''}")

    def _count(self, metric: str, *, by: int = 1, **labels: str) -> None:
        """Count for a metric; `labels` are in alphabetical order."""
        self.counts[metric, tuple(labels.items())] += by

    def _log(self, address: str, what: str) -> None:
        """One line a minute and sender."""
        # Apart: forged addresses must not use up the lines of a configured device.
        sparing_log = self._device_log if address in self._devices else self._other_log
        sparing_log.warning("source %s: %s: %s", self._source, address, what, peer=address)

    def readings(self, now: float) -> list[Reading]:
        """The counters."""
        return [
            Reading(source=self._source, resource="", metric=metric, value=count, time=now, labels=labels)
            for (metric, labels), count in self.counts.items()
        ]

    def _sender(self, address: str) -> str | None:
        if address not in self._names:
            if len(self._names) >= _REMEMBERED_ADDRESSES:
                self._names.clear()
            self._names[address] = permitted(address, self._networks)
        return self._names[address]


def _counters(senders: Sequence[str]) -> Iterator[tuple[str, Labels]]:
    """All counters, by metric and labels.

    What is refused, lost or damaged is counted by device, so that other senders' failures do not hide a device's.
    """
    yield "traps_received_total", ()
    yield "traps_unmapped_total", ()
    yield from (("traps_dropped_total", (("reason", why.value),)) for why in Drop)
    for metric, reasons in (("traps_refused_total", _REFUSED), ("traps_lost_total", _LOST)):
        yield from ((metric, (("reason", why.value), ("sender", sender))) for sender in senders for why in reasons)
    # Whose datagrams the kernel dropped is not known.
    yield "traps_lost_total", (("reason", Drop.SOCKET.value), ("sender", OTHER_SENDERS))
    # Also by authenticity, so that forged garbage does not hide what a device really sent.
    for sender in senders:
        yield from (("traps_malformed_total", (("authentic", each), ("sender", sender))) for each in ("yes", "no"))


def _alone(networks: Iterable[Network]) -> dict[str, str]:
    """Senders that `from` names by a single address, as names by address; bounded, because each costs counters."""
    named = (str(one.network_address) for one in networks if one.num_addresses == 1)
    return {address: address for address in islice(named, MOST_SENDERS)}


def permitted(address: str, networks: Iterable[Network]) -> str | None:
    """The canonical address of a permitted sender; None for any other."""
    sender = ip_of(address)
    return str(sender) if sender and any(sender in network for network in networks) else None
