"""Opening a socket that is given up at any step leaves no transport and no descriptor behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hsm_agent.net.streams
import hsm_agent.net.udp
from hsm_agent.net.address import Address, Endpoint
from hsm_agent.net.streams import Route
from hsm_agent.net.udp import open_link

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from hsm_agent.net.streams import Connection
    from hsm_agent.net.udp import UdpLink

_MOST_STEPS = 60


def _descriptors() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def _resolved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is known without a thread, so that each attempt has the same steps."""

    async def endpoints(address: Address, *, kind: int, bind: str | None) -> list[Endpoint]:
        return [Endpoint(family=socket.AF_INET, remote=("127.0.0.1", address.port), local=None)]

    for module in (hsm_agent.net.udp, hsm_agent.net.streams):
        monkeypatch.setattr(module, "endpoints", endpoints)


async def _given_up_at_each_step(opening: Callable[[], Coroutine[None, None, UdpLink | Connection]]) -> int:
    """The number of steps of the loop at which it was cancelled before it was open."""
    for steps in range(_MOST_STEPS):
        task = asyncio.ensure_future(opening())
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.done():
            closing = task.result().close()
            if closing is not None:
                await closing
            return steps
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
    raise AssertionError("it is never open")


@pytest.mark.parametrize("strays", [False, True])
async def test_a_link_given_up_at_any_step_is_closed(port: int, strays: bool) -> None:
    await _check(lambda: open_link(_address("udp", port), bind=None, turn=0, timeout_seconds=5, strays=strays))


async def test_a_stream_given_up_at_any_step_is_closed(port: int) -> None:
    route = Route(address=_address("tcp", port), bind=None, timeout_seconds=5, tls=None)
    await _check(lambda: route.connect(keep=False))


def _address(scheme: str, port: int) -> Address:
    return Address.parse(f"{scheme}:127.0.0.1:{port}", (scheme,))


async def _check(opening: Callable[[], Coroutine[None, None, UdpLink | Connection]]) -> None:
    gc.collect()
    before = _descriptors()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        steps = await _given_up_at_each_step(opening)
        await asyncio.sleep(0)
        gc.collect()

    assert steps >= 2
    assert [str(each.message) for each in caught] == []
    assert _descriptors() == before
