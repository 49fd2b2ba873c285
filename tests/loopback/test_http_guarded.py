"""The HTTP side behind TLS, client certificates and passwords."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import bcrypt
import pytest

from hsm_agent.net.certificates import pem_blocks
from hsm_agent.serve.http import server as http
from hsm_agent.serve.http.connection import HttpTimeouts
from hsm_agent.serve.http.exposition import exposition
from tests.fakes.http_client import get, request, running
from tests.fakes.present import known_snapshot, make_reading
from tests.peers.pki import Pki, make

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.serve.http.server import HttpServer


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make(tmp_path_factory.mktemp("pki"))


def web_config(folder: Path, pki: Pki, more: str = "") -> Path:
    path = folder / "web.yml"
    path.write_text(f"tls_server_config:\n  cert_file: {pki.server.certificate}\n  key_file: {pki.server.key}\n{more}")
    return path


def trusting(pki: Pki) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pki.ca))


async def test_tls_is_served_and_ended_at_once(tmp_path: Path, pki: Pki) -> None:
    async with running(web_config=web_config(tmp_path, pki)) as server, asyncio.timeout(5):
        assert (await get(server, "/healthz", trusting(pki))).status == 200


async def test_a_large_answer_is_whole_over_tls(tmp_path: Path, pki: Pki) -> None:
    many = [make_reading("token_objects", n, resource=f"token {n}") for n in range(5000)]
    present = replace(known_snapshot(), readings=many)
    async with running(web_config=web_config(tmp_path, pki), present=present) as server, asyncio.timeout(20):
        answer = await get(server, "/metrics", trusting(pki))

    assert answer.body == exposition(present, "")[0]


async def test_a_client_that_does_not_read_over_tls_is_cut(tmp_path: Path, pki: Pki) -> None:
    many = [make_reading("token_objects", n, resource=f"token {n}" * 10) for n in range(20_000)]
    present = replace(known_snapshot(), readings=many)
    timeouts = HttpTimeouts(answer_seconds=1.5)
    async with running(web_config=web_config(tmp_path, pki), present=present, timeouts=timeouts) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.address)
        client.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=client, ssl=trusting(pki), server_hostname="localhost", limit=1024
        )
        writer.write(request("/metrics"))
        await asyncio.sleep(2.5)

        with contextlib.suppress(ConnectionError):
            assert len(await reader.read()) < len(exposition(present, "")[0])
        writer.close()


async def test_the_certificate_a_new_connection_would_see_is_known_without_its_key(tmp_path: Path, pki: Pki) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pki.server.certificate.read_bytes() + pki.server.key.read_bytes())
    path = tmp_path / "web.yml"
    path.write_text(f"tls_server_config:\n  cert_file: {both}\n  key_file: {pki.server.key}\n")
    async with running(web_config=path) as server:
        shown = await server.certificates()
    async with running() as server:
        plain = await server.certificates()

    assert shown == pem_blocks(pki.server.certificate.read_bytes())
    assert plain == b""


async def test_no_tls_below_what_is_configured(tmp_path: Path, pki: Pki) -> None:
    old = trusting(pki)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running(web_config=web_config(tmp_path, pki, "  min_version: TLS13\n")) as server:
        assert await refused(server, old)
        assert (await get(server, "/healthz", trusting(pki))).status == 200


async def test_plain_http_to_a_tls_port_gets_nothing(tmp_path: Path, pki: Pki) -> None:
    async with running(web_config=web_config(tmp_path, pki)) as server:
        with contextlib.suppress(ConnectionError):
            assert (await get(server, "/metrics")).body == b""
        assert (await get(server, "/healthz", trusting(pki))).status == 200


async def refused(server: HttpServer, context: ssl.SSLContext) -> bool:
    """Whether the handshake fails; in TLS 1.3 a client learns of it when it reads."""
    try:
        return (await get(server, "/healthz", context)).status == 0
    except (ssl.SSLError, ConnectionError):
        return True


async def test_only_certificates_of_the_ca_get_in_where_they_are_required(tmp_path: Path, pki: Pki) -> None:
    guard = f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {pki.ca}\n"
    known, rogue = trusting(pki), trusting(pki)
    known.load_cert_chain(pki.agent.certificate, pki.agent.key)
    rogue.load_cert_chain(pki.rogue_agent.certificate, pki.rogue_agent.key)

    async with running(web_config=web_config(tmp_path, pki, guard)) as server:
        assert (await get(server, "/healthz", known)).status == 200
        assert await refused(server, trusting(pki))
        assert await refused(server, rogue)


async def test_a_certificate_that_is_given_is_verified_where_it_is_optional(tmp_path: Path, pki: Pki) -> None:
    guard = f"  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: {pki.ca}\n"
    rogue = trusting(pki)
    rogue.load_cert_chain(pki.rogue_agent.certificate, pki.rogue_agent.key)

    async with running(web_config=web_config(tmp_path, pki, guard)) as server:
        assert (await get(server, "/healthz", trusting(pki))).status == 200
        assert await refused(server, rogue)


async def test_handshakes_that_never_end_keep_nobody_out(tmp_path: Path, pki: Pki) -> None:
    async with running(web_config=web_config(tmp_path, pki)) as server:
        silent = [socket.create_connection(server.address) for _ in range(http.MAX_CONNECTIONS + 20)]
        try:
            await asyncio.sleep(0.1)
            assert (await get(server, "/healthz", trusting(pki))).status == 200
        finally:
            for connection in silent:
                connection.close()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def with_users(tmp_path: Path) -> Path:
    digest = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{prometheus: {digest}}}")
    return path


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz", "/api/v1/status", "/elsewhere"])
async def test_users_guard_every_path(with_users: Path, path: str) -> None:
    async with running(web_config=with_users) as server:
        answer = await get(server, path)

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="hsm-agent", charset="UTF-8"'


async def test_the_right_password_gets_in_and_wrong_ones_are_told_of_once(
    with_users: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(web_config=with_users) as server:
        assert (await get(server, "/metrics", Authorization=basic("prometheus", "correct horse"))).status == 200
        for user, password in (("prometheus", "wrong"), ("nobody", "correct horse"), ("prometheus", "")):
            assert (await get(server, "/metrics", Authorization=basic(user, password))).status == 401

    assert [record.getMessage() for record in caplog.records] == ["http: wrong user or password from 127.0.0.1"]


async def test_reloading_takes_new_users_and_keeps_the_old_ones_where_the_file_is_bad(with_users: Path) -> None:
    async with running(web_config=with_users) as server:
        with_users.write_text("basic_auth_users: {}")
        await server.reload()
        assert (await get(server, "/metrics")).status == 200

        with_users.write_text("basic_auth_users: {bob: secret}")
        with pytest.raises(ValueError, match="not a bcrypt hash"):
            await server.reload()
        assert (await get(server, "/metrics")).status == 200


async def test_guesses_from_the_first_moment_keep_the_scraper_out_of_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(9)).decode()
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{prometheus: {digest}}}")

    async def guess(server: HttpServer, client: int) -> None:
        for number in range(10_000):
            with contextlib.suppress(OSError):
                await get(server, "/metrics", Authorization=basic("prometheus", f"{client} {number}"))

    async with running(web_config=path) as server:
        guesses = [asyncio.create_task(guess(server, client)) for client in range(40)]
        await asyncio.sleep(0.3)
        right = basic("prometheus", "correct horse")
        statuses = [(await get(server, "/metrics", Authorization=right)).status for _ in range(4)]
        for task in guesses:
            task.cancel()
        await asyncio.gather(*guesses, return_exceptions=True)

    assert statuses[1:] == [200, 200, 200], "at the guessers' own address the second scrape gets through"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(set(lines)) <= 2
