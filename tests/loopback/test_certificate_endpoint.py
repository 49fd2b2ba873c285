"""Certificates of TLS servers: expired, self-signed, behind client authentication, by both families, and no server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import CollectorContext, Poll, SourceFailure
from hsm_agent.collect.certificate.source import CertificateCollector, CertificateSettings
from tests.peers import pki

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.peers.pki import Identity, Pki


@pytest.fixture
def made(tmp_path: Path) -> Pki:
    return pki.make(tmp_path)


@contextlib.asynccontextmanager
async def server(
    identity: Identity, *, host: str = "127.0.0.1", client_ca: Path | None = None, latest: ssl.TLSVersion | None = None
) -> AsyncIterator[tuple[int, list[str | None]]]:
    """A TLS server; its port, and the names it was asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if latest is not None:
        context.maximum_version = latest
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    names: list[str | None] = []
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    running = await asyncio.start_server(lambda _reader, writer: writer.close(), host, 0, ssl=context)
    try:
        yield running.sockets[0].getsockname()[1], names
    finally:
        running.close()
        await running.wait_closed()


def collector(*certificates: dict[str, Any], timeout: str = "5s") -> CertificateCollector:
    tree = {"name": "certs", "kind": "certificate", "timeout": timeout, "certificates": list(certificates)}
    return CertificateCollector(CertificateSettings.model_validate(tree))


def left(poll: Poll) -> dict[str, float | None]:
    return {r.resource: r.value for r in poll.readings if r.metric == "certificate_seconds_left"}


async def test_an_expired_certificate_is_read_and_asked_for_by_name(made: Pki) -> None:
    async with server(made.expired_server) as (port, names):
        endpoint = f"127.0.0.1:{port}"
        poll = await collector({"endpoint": endpoint, "server_name": "hsm.example.net", "name": "hsm"}).poll()

    assert left(poll)["hsm"] == pytest.approx(-86400, abs=60)
    assert names == ["hsm.example.net"]


async def test_a_chain_that_is_sent_has_a_reading_of_its_own(made: Pki, tmp_path: Path) -> None:
    with made.server.certificate.open("ab") as chain:
        chain.write(made.expired_server.certificate.read_bytes())  # as if an intermediate one had ended
    async with server(made.server) as (port, _):
        found = left(await collector({"endpoint": f"localhost:{port}"}).poll())

    assert (found[f"localhost:{port}"] or 0) > 0
    assert (found[f"localhost:{port}/chain"] or 0) < 0


async def test_an_address_of_the_other_family_will_do(made: Pki) -> None:
    try:
        async with server(made.server, host="::1") as (port, _):
            poll = await collector({"endpoint": f"[::1]:{port}"}).poll()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")

    assert set(left(poll)) == {f"[::1]:{port}"}


@pytest.mark.parametrize("latest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_asks_who_calls_is_shown_the_client_certificate(made: Pki, latest: ssl.TLSVersion) -> None:
    client = {"certificate": str(made.agent.certificate), "key": str(made.agent.key)}
    async with server(made.server, client_ca=made.ca, latest=latest) as (port, _):
        watching = await asyncio.to_thread(collector, {"endpoint": f"127.0.0.1:{port}", "client": client})
        poll = await watching.poll()

    assert (left(poll)[f"127.0.0.1:{port}"] or 0) > 0


async def test_a_server_that_refuses_strangers_in_the_handshake_says_what_is_missing(made: Pki) -> None:
    async with server(made.server, client_ca=made.ca, latest=ssl.TLSVersion.TLSv1_2) as (port, _):
        with pytest.raises(
            SourceFailure, match=r"(TLS handshake failed|ended the connection) .*whether it wants a client certificate"
        ):
            await collector({"endpoint": f"127.0.0.1:{port}"}).poll()


async def test_one_that_refuses_does_not_hide_another_and_what_it_had_is_unavailable(made: Pki) -> None:
    async with server(made.server) as (port, _):
        async with server(made.other_server) as (other, _):
            both = collector({"endpoint": f"127.0.0.1:{port}"}, {"endpoint": f"127.0.0.1:{other}"})
            await both.poll()
        poll = await both.poll()

    assert (left(poll)[f"127.0.0.1:{port}"] or 0) > 0
    assert left(poll)[f"127.0.0.1:{other}"] is None
    (error,) = poll.errors
    assert error.endswith(f"127.0.0.1:{other} refuses the connection: check that the service runs, and the port")


async def test_a_server_that_does_not_speak_tls_or_does_not_answer_is_said_to_within_the_time() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.net ESMTP\r\n")
        await writer.drain()
        writer.close()

    running = await asyncio.start_server(talk, "127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(SourceFailure, match=r"TLS handshake failed|ended the connection"):
            await collector({"endpoint": f"127.0.0.1:{running.sockets[0].getsockname()[1]}"}).poll()
        with pytest.raises(SourceFailure, match="no TLS handshake within"):
            await collector({"endpoint": f"127.0.0.1:{silent.getsockname()[1]}"}, timeout="500ms").poll()
    running.close()
    await running.wait_closed()

    assert time.monotonic() - began < 3


async def test_a_name_nobody_knows_is_said_to_be_one() -> None:
    with pytest.raises(SourceFailure, match=r"the name cannot be resolved|cannot be reached|no TLS handshake"):
        await collector({"endpoint": "hsm.invalid:443"}, timeout="3s").poll()
    with pytest.raises(SourceFailure, match="not a name TLS can ask for"):
        await collector({"endpoint": "a..b:443"}, timeout="3s").poll()


async def test_building_needs_no_state(made: Pki, tmp_path: Path) -> None:
    tree = {"name": "certs", "kind": "certificate", "certificates": [{"file": str(made.ca)}]}
    built = CertificateSettings.model_validate(tree).build(CollectorContext(state_directory=tmp_path / "none"))

    assert (await built.poll()).errors == ()
