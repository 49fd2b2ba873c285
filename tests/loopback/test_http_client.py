"""The client of HTTP servers against those that behave, those that do not, and proxies."""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.net.http_answer import HttpTrouble
from hsm_agent.net.http_client import HttpClient, HttpPeer
from hsm_agent.net.http_settings import HttpAuth, HttpUrl, ProxySettings
from hsm_agent.net.tls import TlsSettings
from tests.fakes.http_receiver import OK, Proxy, Receiver, read_request
from tests.fakes.stream_server import Peer, StreamServer
from tests.peers import pki as certificates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.peers.pki import Identity, Pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return certificates.make(tmp_path_factory.mktemp("pki"))


def client(port: int, scheme: str = "http", *, tls: TlsSettings | None = None, **changes: Any) -> HttpClient:
    settings = {"proxy": None, "bind": None, "connect_seconds": 2.0, "exchange_seconds": 0.4, "most_body_bytes": 1000}
    url = HttpUrl.parse(f"{scheme}://localhost:{port}")
    return HttpClient(HttpPeer(url=url, tls=tls, **(settings | changes)))


def server_context(identity: Identity, *, clients: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def tls_of(**keys: Any) -> TlsSettings:
    return TlsSettings.model_validate(keys)


async def test_a_request_and_its_answer_over_a_connection_that_is_kept() -> None:
    receiver = Receiver()
    async with StreamServer(script=receiver) as server:
        caller = client(server.port)
        first = await caller.exchange("POST", "/a?b=c", headers=[("X-One", "1")], body=b"{}")
        second = await caller.exchange("GET", "/")
        await caller.close()

    assert (first.status, first.body, first.header("Content-Length")) == (200, b"ok", "2")
    assert second.status == 200
    assert server.connections == 1
    assert [each.line for each in receiver.requests] == ["POST /a?b=c HTTP/1.1", "GET / HTTP/1.1"]
    assert receiver.requests[0].headers["host"] == f"localhost:{server.port}"
    assert receiver.requests[0].headers["x-one"] == "1"
    assert receiver.requests[0].body == b"{}"


@pytest.mark.parametrize("value", [" ", "a secret\r\nX: 1", "a secret\0", "a secret\n"])
async def test_a_header_that_cannot_be_sent_is_trouble_and_quoted_nowhere(value: str) -> None:
    with pytest.raises(HttpTrouble, match="the request holds what no header can") as caught:
        await client(9).exchange("POST", "/", headers=(("Authorization", value),))

    assert not caught.value.sent
    assert "secret" not in str(caught.value)


async def test_a_receiver_that_closed_meanwhile_is_called_anew() -> None:
    receiver = Receiver([OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
    async with StreamServer(script=receiver) as server:
        caller = client(server.port)
        await caller.exchange("POST", "/", body=b"1")
        await caller.exchange("POST", "/", body=b"2")
        await caller.close()

    assert server.connections == 2
    assert [each.body for each in receiver.requests] == [b"1", b"2"]


GOOD = {
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nA: b\r\n\r\n",
    "a body up to the end of the connection": b"HTTP/1.0 200 OK\r\n\r\nok",
    "answers before the answer": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK,
}


@pytest.mark.parametrize("octets", [pytest.param(octets, id=name) for name, octets in GOOD.items()])
async def test_every_framing_of_an_answer(octets: bytes) -> None:
    async with StreamServer(script=Receiver([octets])) as server:
        caller = client(server.port)
        answer = await caller.exchange("POST", "/", body=b"{}")
        await caller.close()

    assert (answer.status, answer.body) == (200, b"ok")


async def failure(script: Callable[[Peer], Awaitable[None]], **changes: Any) -> HttpTrouble:
    async with StreamServer(script=script) as server:
        caller = client(server.port, **changes)
        with pytest.raises(HttpTrouble) as caught:
            await caller.exchange("POST", "/", body=b"{}")
        assert caller._connection is None
        await caller.close()
    return caught.value


BAD = {
    "no HTTP at all": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not a proper HTTP answer"),
    "a length that is none": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not a proper HTTP answer"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", "not a proper HTTP answer"),
    "a chunk without a size": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        "not a proper HTTP answer",
    ),
    "a chunk that does not end": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX0\r\n\r\n",
        "not a proper HTTP answer",
    ),
    "a chunk of sixteen exabytes": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + b"x" * 2000,
        "longer than 1000 octets",
    ),
    "a body that is too long": (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, "longer than 1000"),
    "a body that is cut": (b"HTTP/1.0 200 OK\r\nContent-Length : 9\r\n\r\nok", "not a proper HTTP answer"),
    "a change of protocol": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "not a proper HTTP answer"),
    "a head that is too long": (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 60_000 + b"\r\n\r\n", "longer than"),
    "nothing": (b"", "the connection ended without a whole answer"),
}


@pytest.mark.parametrize(("octets", "why"), [pytest.param(*case, id=name) for name, case in BAD.items()])
async def test_an_answer_that_is_none_is_trouble_and_ends_the_connection(octets: bytes, why: str) -> None:
    async def script(peer: Peer) -> None:
        await read_request(peer)
        peer.writer.write(octets)
        await peer.writer.drain()

    trouble = await failure(script)

    assert why in str(trouble)
    assert trouble.sent


ENDLESS = {
    "lines of the head": (b"HTTP/1.1 200 OK\r\n", b"A: a\r\n"),
    "answers before the answer": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100),
    "chunks of nothing much": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1;" + b"a" * 40 + b"\r\nx\r\n",
    ),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: a\r\n"),
}


@pytest.mark.parametrize(("first", "again"), [pytest.param(*case, id=name) for name, case in ENDLESS.items()])
async def test_an_answer_without_end_is_given_up_at_its_bound(first: bytes, again: bytes) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await read_request(peer)
        peer.writer.write(first)
        while True:
            peer.writer.write(again * 20)
            sent += 20 * len(again)
            await peer.writer.drain()

    trouble = await failure(script, exchange_seconds=20.0)

    assert "longer than" in str(trouble) or "not a proper HTTP answer" in str(trouble)


@pytest.mark.parametrize("octets", [b"", b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"])
async def test_one_that_stalls_anywhere_is_given_up_in_time(octets: bytes) -> None:
    async def script(peer: Peer) -> None:
        await read_request(peer)
        peer.writer.write(octets)
        await asyncio.sleep(20)

    trouble = await failure(script, exchange_seconds=0.1)

    assert "no whole answer within 0.1 s" in str(trouble)


async def test_one_that_drips_does_not_buy_time() -> None:
    async def script(peer: Peer) -> None:
        for octet in b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 1000:
            peer.writer.write(bytes([octet]))
            await asyncio.sleep(0.01)

    assert "no whole answer within 0.2 s" in str(await failure(script, exchange_seconds=0.2))


async def test_whatever_comes_is_an_answer_or_trouble() -> None:
    """1000 answers with some octets of them spoiled, by a fixed seed."""
    chance = random.Random(1)
    whole = [GOOD["chunks"], OK, GOOD["answers before the answer"], b"HTTP/1.1 204 No\r\nA: b\r\n\r\n"]
    outcomes: Counter[str] = Counter()
    spoiled = b""

    async def script(peer: Peer) -> None:
        await read_request(peer)
        peer.writer.write(spoiled)

    async with StreamServer(script=script) as server:
        caller = client(server.port)
        for _ in range(1000):
            octets = bytearray(chance.choice(whole))
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(octets))
                octets[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
            spoiled = bytes(octets)
            try:
                outcomes[str((await caller.exchange("POST", "/", body=b"{}")).status)] += 1
            except HttpTrouble as trouble:
                outcomes["trouble" if trouble.sent else "not sent"] += 1
        await caller.close()

    assert set(outcomes) >= {"200", "trouble"}
    assert outcomes["not sent"] == 0


async def test_what_comes_unasked_is_never_taken_for_an_answer() -> None:
    unasked = asyncio.Event()

    async def script(peer: Peer) -> None:
        while await read_request(peer) is not None:
            peer.writer.write(OK)
            await peer.writer.drain()
            await asyncio.sleep(0.05)
            peer.writer.write(b"HTTP/1.1 500 Not asked\r\nContent-Length: 0\r\n\r\n")
            await peer.writer.drain()
            unasked.set()

    async with StreamServer(script=script) as server:
        caller = client(server.port)
        await caller.exchange("GET", "/")
        await unasked.wait()
        await asyncio.sleep(0.02)
        second = await caller.exchange("GET", "/")
        await caller.close()

    assert second.status == 200
    assert server.connections == 2


async def test_one_that_resets_says_so() -> None:
    async def script(peer: Peer) -> None:
        await read_request(peer)
        peer.reset()

    assert "connection reset by peer" in str(await failure(script))


async def test_one_that_is_not_there_was_not_sent_anything() -> None:
    async with StreamServer(script=Receiver()) as server:
        pass

    with pytest.raises(HttpTrouble, match="connection refused") as caught:
        await client(server.port).exchange("GET", "/")

    assert not caught.value.sent


async def test_a_handshake_that_stalls_is_part_of_connecting(pki: Pki) -> None:
    async def mute(_: Peer) -> None:
        await asyncio.sleep(20)

    tls = await asyncio.to_thread(tls_of, ca=pki.ca)
    async with StreamServer(script=mute) as server:
        caller = client(server.port, "https", tls=tls, connect_seconds=0.2)
        with pytest.raises(HttpTrouble, match="no connection within") as caught:
            await caller.exchange("GET", "/")

    assert not caught.value.sent


# TLS


async def test_tls_with_a_certificate_of_our_own(pki: Pki) -> None:
    context = server_context(pki.server, clients=pki.ca)
    tls = await asyncio.to_thread(tls_of, ca=pki.ca, certificate=pki.agent.certificate, key=pki.agent.key)
    async with StreamServer(script=Receiver(), tls=context) as server:
        caller = client(server.port, "https", tls=tls)
        answer = await caller.exchange("POST", "/", body=b"{}")
        await caller.close()

    assert answer.status == 200


WRONG = {
    "another name": ("other_server", {}, "not trusted"),
    "another authority": ("rogue_server", {}, "not trusted"),
    "an old certificate": ("expired_server", {}, "not trusted"),
    "a common name alone": ("nameless_server", {}, "not trusted"),
    "a revoked certificate": ("revoked_server", {"crl": "crl"}, "not trusted"),
    "another fingerprint": ("server", {"verify": "fingerprint", "fingerprints": ["ab" * 32]}, "fingerprint"),
}


@pytest.mark.parametrize("through_a_proxy", [False, True])
@pytest.mark.parametrize(("identity", "keys", "why"), [pytest.param(*case, id=name) for name, case in WRONG.items()])
async def test_a_receiver_that_is_another_is_sent_nothing(
    pki: Pki, identity: str, keys: dict[str, Any], why: str, through_a_proxy: bool
) -> None:
    receiver = Receiver()
    chosen = {name: getattr(pki, value) if name == "crl" else value for name, value in keys.items()}
    tls = await asyncio.to_thread(tls_of, ca=pki.ca, **chosen)
    context = server_context(getattr(pki, identity))
    async with StreamServer(script=receiver, tls=context) as server, StreamServer(script=Proxy(server.port)) as proxy:
        front = ProxySettings(to=f"http://127.0.0.1:{proxy.port}") if through_a_proxy else None
        caller = client(server.port, "https", tls=tls, proxy=front)
        with pytest.raises(HttpTrouble, match=why) as caught:
            await caller.exchange("POST", "/", body=b"{}")
        await caller.close()

    assert receiver.requests == []
    assert not caught.value.sent


async def test_a_receiver_that_wants_a_certificate_says_so(pki: Pki) -> None:
    tls = await asyncio.to_thread(tls_of, ca=pki.ca)
    async with StreamServer(script=Receiver(), tls=server_context(pki.server, clients=pki.ca)) as server:
        caller = client(server.port, "https", tls=tls)
        with pytest.raises(HttpTrouble, match=r"closed by the receiver|certificate required"):
            await caller.exchange("POST", "/", body=b"{}")


# Proxies


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text("geheim\n")
    return path


async def test_https_goes_through_a_tunnel_and_the_proxy_sees_no_more(pki: Pki, password: Path) -> None:
    receiver = Receiver()
    tls = await asyncio.to_thread(tls_of, ca=pki.ca, certificate=pki.agent.certificate, key=pki.agent.key)
    context = server_context(pki.server, clients=pki.ca)
    auth = await asyncio.to_thread(HttpAuth.model_validate, {"user": "agent", "password": {"file": password}})
    async with StreamServer(script=receiver, tls=context) as server:
        through = Proxy(server.port)
        async with StreamServer(script=through) as proxy:
            front = ProxySettings(to=f"http://localhost:{proxy.port}", auth=auth)
            caller = client(server.port, "https", tls=tls, proxy=front)
            for _ in range(2):
                await caller.exchange("POST", "/hook", body=b"{}")
            await caller.close()

    (connect,) = through.requests
    assert connect.line == f"CONNECT localhost:{server.port} HTTP/1.1"
    assert connect.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"agent:geheim").decode()
    assert [each.line for each in receiver.requests] == ["POST /hook HTTP/1.1"] * 2
    assert "proxy-authorization" not in receiver.requests[0].headers


async def test_http_goes_to_the_proxy_in_absolute_form() -> None:
    receiver = Receiver()
    async with StreamServer(script=receiver) as server:
        through = Proxy(server.port)
        async with StreamServer(script=through) as proxy:
            caller = client(server.port, proxy=ProxySettings(to=f"http://localhost:{proxy.port}"))
            answer = await caller.exchange("POST", "/hook", body=b"{}")
            await caller.close()

    assert answer.status == 200
    assert through.requests[0].line == f"POST http://localhost:{server.port}/hook HTTP/1.1"


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "the proxy answered 407"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x\r\nContent-Length: 0\r\n\r\n", "the proxy answered 302"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "ahead of the receiver"),
        (b"no\r\n\r\n", "not a proper HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 20_000, "longer than|not a proper HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n", "no connection within 0.3 s"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel(pki: Pki, octets: bytes, why: str) -> None:
    tls = await asyncio.to_thread(tls_of, ca=pki.ca)

    async def script(peer: Peer) -> None:
        await read_request(peer)
        peer.writer.write(octets)
        await peer.reader.read()

    async with StreamServer(script=script) as proxy:
        front = ProxySettings(to=f"http://localhost:{proxy.port}")
        caller = client(443, "https", tls=tls, proxy=front, connect_seconds=0.3)
        with pytest.raises(HttpTrouble, match=why) as caught:
            await caller.exchange("POST", "/", body=b"{}")

    assert not caught.value.sent
