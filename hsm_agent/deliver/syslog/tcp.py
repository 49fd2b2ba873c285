"""Syslog over TCP (RFC 6587, octet counting) and TLS (RFC 5425): best effort.

The protocol has no acknowledgement. Accepted means here: the receiver's kernel has acknowledged the octets. What its
program had not read yet when it died is lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hsm_agent.deliver.base import Retry
from hsm_agent.deliver.syslog.message import MESSAGES_A_TURN, Stamp
from hsm_agent.model import Guarantee
from hsm_agent.net.address import describe
from hsm_agent.wire.syslog.framing import frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.model import Event
    from hsm_agent.net.streams import Connection, Route

_WINDOW = 64


class CountedSink:
    """Sends events over one connection that is kept between calls."""

    guarantee = Guarantee.BEST_EFFORT
    window = _WINDOW

    def __init__(self, *, name: str, route: Route, stamp: Stamp) -> None:
        self.name = name
        self.kind = f"syslog {route.address.scheme}"
        self._route = route
        self._stamp = stamp
        self._connection: Connection | None = None
        self._proved = False

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """Send in order. A new connection takes one event first, so that an end is blamed on the right one."""
        connection = await self._ready()
        start = 0
        while start < len(events):
            part = events[start:] if self._proved else events[start : start + 1]
            await self._send(connection, part)
            self._proved = True
            start += len(part)
            for event in part:
                accepted(event)

    async def _send(self, connection: Connection, events: Sequence[Event]) -> None:
        whole = False
        try:
            async with asyncio.timeout(self._route.timeout):
                for start in range(0, len(events), MESSAGES_A_TURN):
                    turn = events[start : start + MESSAGES_A_TURN]
                    connection.write(b"".join(frame(self._stamp.message(event)) for event in turn))
                    await asyncio.sleep(0)
                await connection.acknowledged()
            whole = True
        except TimeoutError as error:
            raise Retry(f"{self._route.address}: nothing acknowledged within {self._route.timeout:g} s") from error
        except OSError as error:
            raise Retry(f"{self._route.address}: {describe(error)}", sent=True) from error
        finally:
            if not whole:
                self._drop()

    async def _ready(self) -> Connection:
        if self._connection is not None and not self._connection.broken:
            return self._connection
        self._drop()
        try:
            self._connection = await self._route.connect(keep=False)
        except OSError as error:
            raise Retry(f"{self._route.address}: {describe(error)}") from error
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort("given up")
        self._connection = None
        self._proved = False

    async def close(self) -> None:
        """Close the connection in good order."""
        connection, self._connection = self._connection, None
        self._proved = False
        if connection is not None:
            await connection.close()
