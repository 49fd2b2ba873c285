"""Opening a socket that is given up at any step leaves no transport and no descriptor behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

import hsm_agent.net.streams
import hsm_agent.net.udp
from hsm_agent.net.address import Address, Endpoint
from hsm_agent.net.streams import Route
from hsm_agent.net.tls import TlsSettings
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


async def test_tls_that_is_given_up_at_any_step_closes_no_descriptor_of_another_connection(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    tls = await asyncio.to_thread(TlsSettings.model_validate, {"ca": str(tmp_path / "ca.pem")})
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    address = _address("tcp", server.sockets[0].getsockname()[1])
    route = Route(address=address, bind=None, timeout_seconds=5, tls=tls)
    gone: list[asyncio.Task[Connection]] = []
    for steps in range(_MOST_STEPS):
        task = asyncio.ensure_future(route.connect(keep=False))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        gone.append(task)
    await asyncio.wait(gone)
    found = [task.exception() for task in gone if not task.cancelled()]
    assert not [error for error in found if error is not None and not isinstance(error, OSError)]
    server.close()


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
