"""The HTTP side against clients of our own: polite, curious, slow, greedy and hostile."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import ssl
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import bcrypt
import pytest

from hsm_agent.serve import http
from hsm_agent.serve.http import HttpError, HttpServer, HttpSettings
from tests.fakes.present import known_snapshot, make_reading
from tests.peers.pki import Pki, make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from hsm_agent.serve.snapshot import Snapshot
from hsm_agent.serve.http_guest import Patience
from hsm_agent.serve.metrics import exposition

USUAL = Patience()


class Answer:
    """What a client read until the server closed the connection."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}


async def settings_of(listen: str, web_config: Path | None) -> HttpSettings:
    """Settings are read off the event loop, as the agent does: they look at files."""
    return await asyncio.to_thread(HttpSettings, listen=listen, web_config=web_config)


@contextlib.asynccontextmanager
async def running(
    *,
    listen: str = "127.0.0.1:0",
    web_config: Path | None = None,
    missing: Sequence[str] = (),
    patience: Patience = USUAL,
    present: Snapshot | None = None,
) -> AsyncIterator[HttpServer]:
    kept = present or known_snapshot()
    settings = await settings_of(listen, web_config)
    server = HttpServer(settings, snapshot=lambda: kept, missing=lambda: missing, patience=patience)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def send(server: HttpServer, request: bytes, context: ssl.SSLContext | None = None) -> Answer:
    """Send the octets and read to the end."""
    host, port = server.address
    name = "localhost" if context is not None else None
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
        try:
            writer.write(request)
            return Answer(await reader.read())
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def request(path: str, method: str = "GET", **fields: str) -> bytes:
    """A request after whose answer the server closes."""
    headers = {"Host": "localhost", "Connection": "close"} | {
        name.replace("_", "-"): text for name, text in fields.items()
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def get(server: HttpServer, path: str, context: ssl.SSLContext | None = None, **fields: str) -> Answer:
    return await send(server, request(path, **fields), context)


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with running() as started:
        yield started


async def test_metrics_are_served_as_prometheus_text(server: HttpServer) -> None:
    answer = await get(server, "/metrics")

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (
        b'hsm_source_age_seconds{environment="production",rack_unit="12",resource="",source="luna-a"} 12.5\n'
        in answer.body
    )


async def test_openmetrics_is_served_to_who_asks_for_it(server: HttpServer) -> None:
    answer = await get(server, "/metrics", Accept="application/openmetrics-text;version=1.0.0")

    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.body.endswith(b"# EOF\n")


async def test_health_is_a_word(server: HttpServer) -> None:
    answer = await get(server, "/healthz")

    assert (answer.status, answer.body) == (200, b"ok\n")


async def test_status_is_json(server: HttpServer) -> None:
    answer = await get(server, "/api/v1/status")

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body)["sources"][1]["status"] == "down"


async def test_ready_means_nothing_is_missing(server: HttpServer) -> None:
    answer = await get(server, "/readyz")

    assert (answer.status, json.loads(answer.body)) == (200, [])


async def test_not_ready_tells_what_is_missing() -> None:
    async with running(missing=["source luna-a: not polled yet"]) as server:
        answer = await get(server, "/readyz")
        health = await get(server, "/healthz")

    assert (answer.status, json.loads(answer.body)) == (503, ["source luna-a: not polled yet"])
    assert health.status == 200


async def test_the_present_is_taken_anew_for_each_answer() -> None:
    moments = iter([known_snapshot(), replace(known_snapshot(), agent_name="renamed")])
    server = HttpServer(HttpSettings(listen="127.0.0.1:0"), snapshot=lambda: next(moments), missing=list)
    await server.start()
    try:
        names = [json.loads((await get(server, "/api/v1/status")).body)["agent"]["name"] for _ in range(2)]
    finally:
        await server.close()

    assert names == ["hsm-monitor-1", "renamed"]


@pytest.mark.parametrize(
    "path",
    ["/", "/metrics/", "/METRICS", "/api/v1", "/api/v1/status/x", "//metrics", "/../metrics", "/metrics%00"],
)
async def test_anything_else_is_not_found(server: HttpServer, path: str) -> None:
    assert (await get(server, path)).status == 404


@pytest.mark.parametrize("path", ["/metrics?name[]=x", "/%6detrics", "http://elsewhere/metrics"])
async def test_other_spellings_of_a_path_are_the_path(server: HttpServer, path: str) -> None:
    assert (await get(server, path)).status == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_nothing_but_get_is_allowed(server: HttpServer, method: str) -> None:
    answer = await send(server, request("/metrics", method))

    assert answer.status == 405
    assert answer.headers["allow"] == "GET"


async def test_the_server_says_no_more_than_its_name(server: HttpServer) -> None:
    for octets in (request("/metrics"), request("/x"), request("/metrics", "POST"), b"rubbish\r\n\r\n"):
        answer = await send(server, octets)

        assert answer.headers["server"] == "hsm-agent"
        assert b"aiohttp" not in answer.body
        assert "ython" not in str(answer.headers)


async def test_a_connection_is_kept_for_the_next_request(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection(*server.address)
    for _ in range(3):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(3) == b"ok\n"
    writer.close()
    await writer.wait_closed()


async def test_ipv6_is_served() -> None:
    async with running(listen="[::1]:0") as server:
        assert server.address[0] == "::1"
        assert (await get(server, "/healthz")).status == 200


async def test_a_taken_port_is_refused_by_the_name_of_its_key(server: HttpServer) -> None:
    second = HttpServer(HttpSettings(listen=f"127.0.0.1:{server.address[1]}"), snapshot=known_snapshot, missing=list)

    with pytest.raises(HttpError, match=r"^serve\.http\.listen: 127\.0\.0\.1:\d+: Address already in use$"):
        await second.start()
    await second.close()


async def test_a_web_config_that_went_bad_is_refused_by_the_name_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text("")
    server = HttpServer(await settings_of("127.0.0.1:0", path), snapshot=known_snapshot, missing=list)
    path.unlink()

    with pytest.raises(HttpError, match=r"^serve\.http\.web_config: .*web\.yml: No such file"):
        await server.start()
    await server.close()


HOSTILE = [
    pytest.param(b"BREW /metrics HTTP/1.1\r\nHost: x\r\n\r\n", id="a method nobody knows"),
    pytest.param(b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", id="no path"),
    pytest.param(b"rubbish\r\n\r\n", id="not HTTP"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 60 + b"\r\n\r\n", id="TLS to a plain port"),
    pytest.param(b"GET /metrics HTTP/9.9\r\n\r\n", id="a version from the future"),
    pytest.param(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="a long line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", id="a long field"),
    pytest.param(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n", id="many fields"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", id="a folded field"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX\0: y\r\n\r\n", id="a NUL"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="a negative length"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", id="two lengths"
    ),
]


@pytest.mark.parametrize("octets", HOSTILE)
async def test_a_hostile_request_is_refused_and_leaves_no_trace(
    server: HttpServer, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await send(server, octets)

    assert answer.status == 400
    assert (await get(server, "/healthz")).status == 200
    assert [record for record in caplog.records if record.name.startswith("hsm_agent")] == []


async def test_a_body_nobody_asked_for_is_not_read_for_ever(server: HttpServer) -> None:
    began = time.monotonic()
    head = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"

    answer = await send(server, head + b"x" * 1000)

    assert answer.status == 405
    assert time.monotonic() - began < 3


async def test_silent_connections_keep_nobody_out(server: HttpServer) -> None:
    silent = [socket.create_connection(server.address) for _ in range(http.MOST_CONNECTIONS + 20)]
    try:
        for connection in silent[::2]:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        await asyncio.sleep(0.1)

        began = time.monotonic()
        answer = await get(server, "/metrics")

        assert answer.status == 200
        assert time.monotonic() - began < 1
        cut = [connection for connection in silent if ended(connection)]
        assert len(cut) >= 20
    finally:
        for connection in silent:
            connection.close()


def ended(connection: socket.socket) -> bool:
    """Whether the server has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_who_asks_much_and_reads_nothing_is_not_answered_for_ever(server: HttpServer) -> None:
    """Requests in a row on one connection, unread: the server stops making answers when the kernel takes no more."""
    served = 0

    def counting() -> Snapshot:
        nonlocal served
        served += 1
        return large

    large = replace(
        known_snapshot(), readings=[make_reading("token_objects", n, resource=f"t{n}") for n in range(2000)]
    )
    greedy = HttpServer(HttpSettings(listen="127.0.0.1:0"), snapshot=counting, missing=list)
    await greedy.start()
    try:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(greedy.address)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        await asyncio.sleep(2)
        after_two_seconds = served
        await asyncio.sleep(0.5)

        assert served == after_two_seconds < 100
        assert (await get(greedy, "/healthz")).status == 200
        client.close()
    finally:
        await greedy.close()


async def test_a_bug_of_ours_is_a_500_that_tells_nothing_and_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> Snapshot:
        raise ZeroDivisionError("secret detail")

    server = HttpServer(HttpSettings(listen="127.0.0.1:0"), snapshot=broken, missing=list)
    await server.start()
    try:
        answer = await get(server, "/metrics")
        health = await get(server, "/healthz")
    finally:
        await server.close()

    assert (answer.status, answer.body) == (500, b"500 Internal Server Error\n")
    assert health.status == 200
    (record,) = caplog.records
    assert record.getMessage() == "http: /metrics failed"
    assert record.exc_info is not None


async def test_closing_ends_idle_connections_at_once(server: HttpServer) -> None:
    idle = [await asyncio.open_connection(*server.address) for _ in range(5)]
    idle[0][1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    await idle[0][0].readuntil(b"ok\n")
    began = time.monotonic()

    await server.close()

    assert time.monotonic() - began < 2
    for reader, writer in idle:
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
    with pytest.raises(OSError):
        await asyncio.open_connection(*server.address)


async def test_a_large_present_does_not_hold_up_the_event_loop() -> None:
    many = [make_reading("token_objects", n, resource=f"token {n}") for n in range(20_000)]
    present = replace(known_snapshot(), readings=many)
    before = time.perf_counter()
    exposition(present, "")
    on_the_loop = time.perf_counter() - before

    async with running(present=present) as server:
        longest = 0.0
        asking = asyncio.create_task(get(server, "/metrics"))
        while not asking.done():
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before)

    assert asking.result().body.count(b"\n") > 20_000
    assert longest < on_the_loop / 2


async def test_a_request_that_drips_is_cut() -> None:
    async with running(patience=Patience(request_seconds=0.3)) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for octet in b"GET /metrics HTTP/1.1\r\n" * 10:
                writer.write(bytes((octet,)))
                await writer.drain()
                await asyncio.sleep(0.02)
            pytest.fail("the server listened to the end")
        assert time.monotonic() - began < 2
        assert reader.at_eof() or reader.exception() is not None
        writer.close()


async def test_a_client_that_does_not_read_is_cut() -> None:
    many = [make_reading("token_objects", n, resource=f"token {n}" * 10) for n in range(40_000)]
    present = replace(known_snapshot(), readings=many)
    async with running(present=present, patience=Patience(answer_seconds=1.5)) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.address)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(2.5)

        assert read_all(client) < len(exposition(present, "")[0])
        client.close()


def read_all(client: socket.socket) -> int:
    """How many octets there are until the end, however it comes."""
    client.settimeout(2)
    total = 0
    with contextlib.suppress(ConnectionResetError):
        while octets := client.recv(65536):
            total += len(octets)
    return total


async def test_an_idle_connection_is_closed() -> None:
    async with running(patience=Patience(idle_seconds=0.2)) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(2):
            assert (await reader.read()).endswith(b"ok\n")
        writer.close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make(tmp_path_factory.mktemp("pki"))


def web_config(folder: Path, pki: Pki, more: str = "") -> Path:
    path = folder / "web.yml"
    path.write_text(f"tls_server_config:\n  cert_file: {pki.server.certificate}\n  key_file: {pki.server.key}\n{more}")
    return path


def trusting(pki: Pki) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pki.ca))


async def test_tls_is_served(tmp_path: Path, pki: Pki) -> None:
    async with running(web_config=web_config(tmp_path, pki)) as server:
        assert (await get(server, "/healthz", trusting(pki))).status == 200


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
        silent = [socket.create_connection(server.address) for _ in range(http.MOST_CONNECTIONS + 20)]
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


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/api/v1/status", "/elsewhere"])
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
