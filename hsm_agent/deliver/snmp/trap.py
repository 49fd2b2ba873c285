"""Traps: each event once, and nobody answers. Best effort."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

from hsm_agent.deliver.base import Refused, Retry
from hsm_agent.model import Guarantee
from hsm_agent.net.udp_client import Link, LinkError
from hsm_agent.wire.snmp.client_engine import TooBigError
from hsm_agent.wire.snmp.notification import encode_notification

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.deliver.snmp.peer import Peer
    from hsm_agent.model import Event
    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.client_engine import Originator

_WINDOW = 32
_GRACE_SECONDS = 0.02
"""How long a refusal (ICMP port unreachable) is waited for: it takes a round trip, and most networks eat it."""
_LOOK_UP_EVERY_SECONDS = 60.0
"""A receiver that moved to another address would never be noticed otherwise."""


class TrapSink:
    """Sends SNMPv2-Trap PDUs.

    A trap is told once it left the host and no refusal came back. A receiver whose host says that nobody listens
    is a failure like any other: what was lost that way can be seen, so it is sent again.
    """

    guarantee = Guarantee.BEST_EFFORT
    window = _WINDOW
    kind = "snmp trap"

    def __init__(self, *, name: str, peer: Peer) -> None:
        self.name = name
        self._peer = peer
        self._originator: Originator = peer.originator()
        self._link: Link | None = None
        self._opened_at = 0.0
        self._refusals = 0

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """Send all, then listen for a refusal: without one, all count as accepted."""
        refused: Refused | None = None
        told = []
        try:
            link = await self._ready()
            for event in events:
                refused = self._send(link, event)
                if refused is not None:
                    break
                told.append(event)
            await asyncio.sleep(_GRACE_SECONDS)
            link.check()
        except LinkError as error:
            self._refusals += 1
            self._drop()
            raise Retry(f"{self._peer.address}: {error}") from error
        for event in told:
            accepted(event)
        if refused is not None:
            raise refused

    def _send(self, link: Link, event: Event) -> Refused | None:
        try:
            varbinds = self._peer.varbinds(event)
            link.send(self._originator.encode_trap(varbinds, asyncio.get_running_loop().time()))
        except ValueError as error:  # TooBigError is a ValueError
            why = f"{self._peer.address}: no notification can carry it: {error}"
            return Refused(event.event_id, why, certain=True)
        except LinkError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            return Refused(event.event_id, f"{self._peer.address}: too long for a datagram on this path")
        return None

    async def notify(self, oid: Oid, varbinds: Sequence[bytes] = ()) -> None:
        """Send a notification that is not spooled, such as coldStart. Raises Retry; nobody need try again."""
        now = asyncio.get_running_loop().time()
        listed = encode_notification(oid, varbinds, up_seconds=self._peer.up_seconds(now))
        try:
            link = await self._ready()
            link.send(self._originator.encode_trap(listed, now))
        except (LinkError, TooBigError) as error:
            self._drop()
            raise Retry(f"{self._peer.address}: {error}") from error

    async def _ready(self) -> Link:
        now = asyncio.get_running_loop().time()
        if self._link is not None and now - self._opened_at < _LOOK_UP_EVERY_SECONDS:
            return self._link
        link = await self._peer.open(self._refusals)
        self._drop()
        self._link, self._opened_at = link, now
        return link

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None

    async def close(self) -> None:
        """Close the socket. Nobody is told: UDP has no goodbye."""
        self._drop()
