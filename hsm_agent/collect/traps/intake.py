"""Where datagrams come in: who may speak, what is believed, what waits to be judged; everything else is counted.

Called by the socket for each datagram; raises nothing, whatever comes, and bounds everything that a sender can make
grow: the queue, the log, what is remembered of senders. An inform is acknowledged by whoever fetched what it said,
once that is safe; until then its repetitions are left unanswered, and they are never taken for news.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.collect.traps.alarms import Happening
from hsm_agent.model import Reading
from hsm_agent.wire.snmp_trap import Drop
from hsm_agent.wire.snmp_trap_receiver import Dropped, Heard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hsm_agent.collect.traps.maps import Maps
    from hsm_agent.serve.snmp_settings import Network
    from hsm_agent.wire.snmp_trap_receiver import TrapReceiver

log = logging.getLogger(__name__)

MOST_WAITING = 1000
"""Changes that wait to be judged. More are dropped, and their informs not acknowledged: the sender repeats them."""
QUIET_SECONDS = 60.0
MOST_SENDERS = 64
"""Senders that are spoken of in a minute: addresses of datagrams can be forged."""
_REMEMBERED_ADDRESSES = 1024
_REMEMBERED_INFORMS = 1000

Send = Callable[[bytes], None]
_Inform = tuple[str, int, int]


class Waiting(NamedTuple):
    """Something that happened and is to be fetched; `acknowledge` is called when it is safe, None for a trap."""

    happening: Happening
    acknowledge: Callable[[], None] | None = None


class Intake:
    """Takes datagrams and keeps what they said until it is fetched."""

    def __init__(
        self,
        source: str,
        *,
        receiver: TrapReceiver,
        maps: Maps,
        networks: Sequence[Network],
        wake: Callable[[], None],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`wake` is called when there is something to fetch."""
        self.receiver = receiver
        self.waiting: deque[Waiting] = deque()
        self.received = 0
        self.unmapped = 0
        self.dropped = dict.fromkeys(Drop, 0)
        self._source = source
        self._maps = maps
        self._networks = tuple(networks)
        self._wake = wake
        self._monotonic = monotonic
        self._wall = wall
        self._names: dict[str, str | None] = {}
        self._spoken: dict[str, float] = {}
        self._informs: dict[_Inform, bool] = {}
        """The last informs, and whether each was acknowledged."""

    def handle(self, datagram: bytes, address: str, send: Send) -> None:
        """Take a datagram; `send` answers it, at once or later."""
        sender = self._sender(address)
        if sender is None:
            self.drop(Drop.SENDER, address)
            return
        outcome = self.receiver.receive(datagram, address, self._monotonic())
        if isinstance(outcome, Heard):
            self.received += 1
            self._hear(outcome, sender, send)
            return
        if isinstance(outcome, Dropped):
            self.drop(outcome.why, address, outcome.detail)
        if outcome.answer is not None:
            send(outcome.answer)

    def _hear(self, heard: Heard, sender: str, send: Send) -> None:
        trap, answer = heard
        changes = self._maps.read(trap)
        if not changes:
            self.unmapped += 1
            self._say(sender, f"trap {'.'.join(map(str, trap.oid))} means nothing here: name it in maps")
            if answer is not None:
                send(answer)
            return
        inform = (sender, trap.request_id, hash((trap.oid, trap.varbinds)))
        if answer is not None and inform in self._informs:
            if self._informs[inform]:  # the acknowledgement was lost on its way
                send(answer)
            return
        if len(self.waiting) + len(changes) > MOST_WAITING:
            self.drop(Drop.QUEUE, sender)
            return
        now = self._wall()
        self.waiting.extend(Waiting(Happening(address=sender, change=change, time=now)) for change in changes)
        if answer is not None:
            last = self.waiting.pop()
            self.waiting.append(last._replace(acknowledge=self._acknowledgement(inform, answer, send)))
        self._wake()

    def _acknowledgement(self, inform: _Inform, answer: bytes, send: Send) -> Callable[[], None]:
        while len(self._informs) >= _REMEMBERED_INFORMS:
            del self._informs[next(iter(self._informs))]
        self._informs[inform] = False

        def acknowledge() -> None:
            self._informs[inform] = True
            send(answer)

        return acknowledge

    def drop(self, why: Drop, address: str, detail: str = "") -> None:
        """Count what came to nothing, and say so."""
        self.dropped[why] += 1
        self._say(address, f"a datagram was dropped: {why.value}{f' ({detail})' if detail else ''}")

    def _say(self, address: str, what: str) -> None:
        """One line a minute and sender; the counters know the rest."""
        now = self._monotonic()
        if now - self._spoken.get(address, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        if len(self._spoken) >= MOST_SENDERS:
            self._spoken = {one: at for one, at in self._spoken.items() if now - at < QUIET_SECONDS}
        if len(self._spoken) < MOST_SENDERS or address in self._spoken:
            self._spoken[address] = now
            log.warning("source %s: %s: %s", self._source, address, what)

    def readings(self, source: str, now: float) -> list[Reading]:
        """The counters."""
        plain = {"traps_received_total": self.received, "traps_unmapped_total": self.unmapped}
        found = [
            Reading(source=source, resource="", metric=metric, value=value, time=now) for metric, value in plain.items()
        ]
        metric = "traps_dropped_total"
        for reason, count in self.dropped.items():
            labels = (("reason", reason.value),)
            found.append(Reading(source=source, resource="", metric=metric, value=count, time=now, labels=labels))
        return found

    def _sender(self, address: str) -> str | None:
        if address not in self._names:
            if len(self._names) >= _REMEMBERED_ADDRESSES:
                self._names.clear()
            self._names[address] = permitted(address, self._networks)
        return self._names[address]


def permitted(address: str, networks: Iterable[Network]) -> str | None:
    """A sender's address in its one spelling; None for one that may not speak."""
    try:
        sender = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(sender, IPv6Address) and sender.ipv4_mapped:
        sender = sender.ipv4_mapped
    return str(sender) if any(sender in network for network in networks) else None
