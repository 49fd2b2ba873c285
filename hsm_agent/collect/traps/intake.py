"""Where datagrams come in: who may speak, what is believed, what waits to be judged; everything else is counted.

Called by the socket for each datagram; raises nothing, whatever comes, and bounds everything that a sender can make
grow: the queue, the log, what is remembered of senders. An inform is acknowledged by whoever fetched what it said,
once that is safe; until then its repetitions are left unanswered, and they are never taken for news. What a sender
says waits in a queue of its own: one that says much holds up nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.collect.traps.held_alarms import Happening, Sent
from hsm_agent.collect.traps.parsed_text import Heard, Place
from hsm_agent.collect.traps.trap_maps import damage
from hsm_agent.collect.traps.waiting import Notice, WaitingRoom
from hsm_agent.model import Reading
from hsm_agent.wire.snmp import trap_receiver as receiving
from hsm_agent.wire.snmp.trap import Drop
from hsm_agent.wire.snmp.trap_receiver import Dropped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hsm_agent.collect.traps.trap_maps import Maps
    from hsm_agent.model import Labels
    from hsm_agent.settings.snmp import Network
    from hsm_agent.wire.snmp.trap import Trap
    from hsm_agent.wire.snmp.trap_receiver import TrapReceiver

log = logging.getLogger(__name__)

OTHER_SENDERS = "other"
"""All senders named neither in `devices` nor, by their own address, in `from`.

Their addresses may be forged, and a counter for each would have no end.
"""
QUIET_SECONDS = 60.0
MOST_SENDERS = 64
"""Senders that are spoken of in a minute: addresses of datagrams can be forged."""
_REMEMBERED_ADDRESSES = 1024
_REFUSED = tuple(why for why in Drop if why.value.startswith("auth-"))
_LOST = (Drop.QUEUE, Drop.ALARMS)
_DAMAGED = frozenset({Drop.MALFORMED, Drop.TOO_LONG})
"""A notification may have been lost in it."""

Send = Callable[[bytes], None]


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
        devices: Mapping[str, str] | None = None,
        heard: Heard | None = None,
    ) -> None:
        """`wake` is called when there is something to fetch; `devices` are names by address."""
        self.receiver = receiver
        self.waiting = WaitingRoom()
        self.heard = heard or Heard()
        self.received = 0
        self.unmapped = 0
        self.dropped = dict.fromkeys(Drop, 0)
        self._devices = {**_alone(networks), **(devices or {})}
        senders = (*sorted(set(self._devices.values())), OTHER_SENDERS)
        self.refused = dict.fromkeys(((sender, why) for sender in senders for why in _REFUSED), 0)
        """By device: what strangers send hides nothing that a device is refused for."""
        self.lost = dict.fromkeys(((sender, why) for sender in senders for why in _LOST), 0)
        self.lost[OTHER_SENDERS, Drop.SOCKET] = 0
        """By device, but for what the kernel dropped: whose that was nobody knows."""
        self.malformed = dict.fromkeys(((sender, authentic) for sender in senders for authentic in (True, False)), 0)
        """By device and authenticity: nobody can hide what a device really sent behind garbage in its name."""
        self._source = source
        self._maps = maps
        self._networks = tuple(networks)
        self._wake = wake
        self._monotonic = monotonic
        self._wall = wall
        self._names: dict[str, str | None] = {}
        self._spoken: dict[str, float] = {}
        self._unread = 0

    def handle(self, datagram: bytes, address: str, send: Send) -> None:
        """Take a datagram; `send` answers it, at once or later."""
        sender = self._sender(address)
        if sender is None:
            self.drop(Drop.SENDER, address)
            return
        outcome = self.receiver.receive(datagram, address, self._monotonic())
        if isinstance(outcome, receiving.Heard):
            self.received += 1
            self._hear(outcome, sender, send)
            return
        if isinstance(outcome, Dropped):
            self.drop(outcome.why, sender, outcome.detail)
            if outcome.why in _DAMAGED:
                self._note_damage(sender, authentic=outcome.authentic)
        if outcome.answer is not None:
            send(outcome.answer)

    def _hear(self, heard: receiving.Heard, sender: str, send: Send) -> None:
        trap, answer = heard
        now = self._wall()
        if trap.inform and (place := self.heard.inform(sender, trap, now)) is not None:
            if place is Place.STORED and answer is not None:  # the acknowledgement was lost on its way
                send(answer)
            return
        if trap.origin is not None and self.heard.message(trap.origin):
            self.drop(Drop.REPEATED, sender)
            return
        changes = self._maps.read(trap)
        damaged, name = damage(trap), ".".join(map(str, trap.oid))
        if damaged:
            self._note_damage(sender, authentic=True)
            self._say(sender, f"a value of trap {name} cannot be decoded: {damaged}")
        if not changes:
            if not damaged:
                self.unmapped += 1
                self._say(sender, f"trap {name} means nothing here: name it in maps")
            if answer is not None:
                send(answer)
            return
        sent = _sent(trap)
        authentic = trap.origin is not None
        happenings = tuple(
            Happening(address=sender, change=change, time=now, authentic=authentic, sent=sent) for change in changes
        )
        self._let_wait(Notice(sender, trap, happenings, self.heard), answer, send)

    def _let_wait(self, notice: Notice, answer: bytes | None, send: Send) -> None:
        if answer is not None:
            notice.acknowledge = partial(send, answer)
        pushed = self.waiting.enter(notice)
        if pushed is not notice:
            notice.note(self._wall(), Place.WAITING)
            self._wake()
        if pushed is not None:
            pushed.refuse()
            self.drop(Drop.QUEUE, pushed.sender)

    def note_unread(self, counts: Sequence[int]) -> None:
        """Datagrams that the kernel dropped unread, by socket, since each was bound: nobody knows what they said."""
        unread = sum(counts)
        if unread > self._unread:
            self.dropped[Drop.SOCKET] += unread - self._unread
            self.lost[OTHER_SENDERS, Drop.SOCKET] += unread - self._unread
            self._say("any address", f"{unread - self._unread} datagrams came faster than they could be read")
        self._unread = unread

    def _note_damage(self, sender: str, *, authentic: bool) -> None:
        self.malformed[self._devices.get(sender, OTHER_SENDERS), authentic] += 1

    def drop(self, why: Drop, address: str, detail: str = "") -> None:
        """Count what came to nothing, and say so."""
        self.dropped[why] += 1
        if why in _REFUSED:
            self.refused[self._devices.get(address, OTHER_SENDERS), why] += 1
        if why in _LOST:
            self.lost[self._devices.get(address, OTHER_SENDERS), why] += 1
        self._say(address, f"a datagram was dropped: {why.value}{f' ({detail})' if detail else ''}")

    def _say(self, address: str, what: str) -> None:
        """One line a minute and sender; the counters know the rest. Forged senders silence none that has a name."""
        now = self._monotonic()
        if now - self._spoken.get(address, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        if len(self._spoken) >= MOST_SENDERS:
            self._spoken = {one: at for one, at in self._spoken.items() if now - at < QUIET_SECONDS}
        if len(self._spoken) < MOST_SENDERS or address in self._spoken or address in self._devices:
            self._spoken[address] = now
            log.warning("source %s: %s: %s", self._source, address, what)

    def readings(self, source: str, now: float) -> list[Reading]:
        """The counters."""
        counted: list[tuple[str, int, Labels]] = [
            ("traps_received_total", self.received, ()),
            ("traps_unmapped_total", self.unmapped, ()),
            *(("traps_dropped_total", count, (("reason", why.value),)) for why, count in self.dropped.items()),
            *(
                (metric, count, (("reason", why.value), ("sender", sender)))
                for metric, counts in (("traps_refused_total", self.refused), ("traps_lost_total", self.lost))
                for (sender, why), count in counts.items()
            ),
            *(
                ("traps_malformed_total", count, (("authentic", "yes" if authentic else "no"), ("sender", sender)))
                for (sender, authentic), count in self.malformed.items()
            ),
        ]
        return [
            Reading(source=source, resource="", metric=metric, value=value, time=now, labels=labels)
            for metric, value, labels in counted
        ]

    def _sender(self, address: str) -> str | None:
        if address not in self._names:
            if len(self._names) >= _REMEMBERED_ADDRESSES:
                self._names.clear()
            self._names[address] = permitted(address, self._networks)
        return self._names[address]


def _alone(networks: Iterable[Network]) -> dict[str, str]:
    """Senders that `from` names by their own address are known by it, but for a limit: each costs counters."""
    named = (str(one.network_address) for one in networks if one.num_addresses == 1)
    return {address: address for address in islice(named, MOST_SENDERS)}


def permitted(address: str, networks: Iterable[Network]) -> str | None:
    """A sender's address in its one spelling; None for one that may not speak."""
    try:
        sender = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(sender, IPv6Address) and sender.ipv4_mapped:
        sender = sender.ipv4_mapped
    return str(sender) if any(sender in network for network in networks) else None


def _sent(trap: Trap) -> Sent | None:
    """When a v3 trap was sent. An inform bears what its sender takes for our time, which may go back a little."""
    origin = trap.origin
    return None if origin is None or trap.inform else Sent(origin.engine_id.hex(), origin.boots, origin.time)
