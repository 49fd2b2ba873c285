"""A trap listener on a free port, and its readings in short. The secrets come from the environment; see `secrets`."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from hsm_agent.collect.base import CollectorContext, Poll
from hsm_agent.collect.traps.source import SnmpTrapListenerSettings, TrapListener
from hsm_agent.wire.snmp.pdu import PduType
from tests.fakes.traps import ASSERTED, DEASSERTED, FAN, LUNA, REFERENCE, notification_pdu, text, v2c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

COMMUNITY, AUTH, PRIVACY = "traps-only", "authentic-1", "encrypted-1"
AUTH_SECRET, PRIVACY_SECRET = {"env": "TEST_AUTH"}, {"env": "TEST_PRIVACY"}
RAISE = v2c(notification_pdu(FAN, text(REFERENCE, ASSERTED)))
CLEAR = v2c(notification_pdu(FAN, text(REFERENCE, DEASSERTED)))
DISK = v2c(notification_pdu((*LUNA, 5), text(REFERENCE, ASSERTED)))
INFORM = v2c(notification_pdu(FAN, text(REFERENCE, ASSERTED), kind=PduType.INFORM))
ENGINE_ID = "80001f88046170706c69616e6365"


def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the secrets where the settings look."""
    monkeypatch.setenv("TEST_COMMUNITY", COMMUNITY)
    monkeypatch.setenv("TEST_AUTH", AUTH)
    monkeypatch.setenv("TEST_PRIVACY", PRIVACY)


def settings(**keys: Any) -> SnmpTrapListenerSettings:
    """A listener for loopback that a community and two users may speak to."""
    given = {
        "name": "traps",
        "kind": "snmp_trap_listener",
        "listen": ["udp:127.0.0.1:0"],
        "communities": [{"name": {"env": "TEST_COMMUNITY"}}],
        "users": [
            {"name": "plain", "engine_ids": [ENGINE_ID], "auth": {"protocol": "SHA", "secret": AUTH_SECRET}},
            {
                "name": "luna",
                "engine_ids": [ENGINE_ID],
                "auth": {"protocol": "SHA-256", "secret": AUTH_SECRET},
                "privacy": {"protocol": "AES-128", "secret": PRIVACY_SECRET},
            },
        ],
        "devices": {"127.0.0.1": "luna-a", "::1": "luna-6"},
        "every": "30s",
        **keys,
    }
    return SnmpTrapListenerSettings.model_validate(given)


def listener(state: Path, *, wall: Callable[[], float] = time.time, **keys: Any) -> TrapListener:
    """The collector, which listens from its first poll on."""
    return TrapListener(settings(**keys), CollectorContext(state_directory=state), wall=wall)


@contextmanager
def sender(family: int = socket.AF_INET) -> Iterator[socket.socket]:
    """A socket that sends, and can wait for an answer."""
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as own:
        yield own


def send(to: TrapListener, *messages: bytes) -> None:
    """Send to where it listens first."""
    host, port = to.addresses[0]
    with sender(socket.AF_INET6 if ":" in host else socket.AF_INET) as own:
        for message in messages:
            own.sendto(message, (host, port))


async def received(by: TrapListener, count: int, *, seconds: float = 10.0) -> None:
    """Wait until so many notifications were received, without a poll. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while by._intake is None or by._intake.counts["traps_received_total", ()] < count:
            await asyncio.sleep(0.001)


class Polled:
    """A listener that is polled all the time, as the runner does. `async with`."""

    def __init__(self, state: Path, **keys: Any) -> None:
        self.listener = listener(state, **keys)
        self.polls: list[Poll] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def _run(self) -> None:
        while True:
            self.polls.append(await next_poll(self.listener))
            self._news.set()

    async def until(self, holds: Callable[[Poll], bool], *, seconds: float = 10.0) -> Poll:
        """The latest poll, once it is as asked. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not (self.polls and holds(self.polls[-1])):
                self._news.clear()
                await self._news.wait()
        return self.polls[-1]

    async def received(self, count: int) -> Poll:
        """The poll by which that many notifications were received."""
        return await self.until(lambda poll: counted(poll).get("received", 0) >= count)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        await self.until(lambda _: True)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.listener.close()


def levels(poll: Poll) -> dict[str, int]:
    """`resource alarm` and its level."""
    return {
        f"{reading.resource} {dict(reading.labels)['alarm']}": int(reading.value or 0)
        for reading in poll.readings
        if reading.metric == "vendor_alarm"
    }


def counted(poll: Poll) -> dict[str, int]:
    """The counters that are not 0: received, unmapped, and what was dropped by its reason."""
    found = {}
    for reading in poll.readings:
        if reading.metric.startswith("traps_") and reading.value:
            name = dict(reading.labels).get("reason", reading.metric.removeprefix("traps_").removesuffix("_total"))
            found[name] = int(reading.value)
    return found


async def next_poll(listener: TrapListener) -> Poll:
    """Wait as the runner does, then poll."""
    await listener.wait()
    return await listener.poll()
