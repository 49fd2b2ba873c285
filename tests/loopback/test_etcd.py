"""The client of etcd against endpoints that refuse, keep silent, lie, or forget who we are."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from hsm_agent.net.etcd import MOST_ANSWER_BYTES, EtcdClient
from hsm_agent.net.etcd_messages import (
    AnswerTooLong,
    CertificateExpired,
    Compare,
    EndpointDown,
    EtcdRefused,
    EtcdTrouble,
    EtcdUnavailable,
    NoProof,
    PasswordRefused,
    Put,
)
from hsm_agent.net.etcd_settings import EtcdSettings
from tests.fakes.http_receiver import Receiver, read_request
from tests.fakes.stream_server import Peer, StreamServer
from tests.peers import pki as certificates
from tests.peers.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.http_receiver import Received
    from tests.peers.pki import Pki

HEADER = {"header": {"revision": "7"}}


def reply(content: object, status: str = "200 OK") -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def refused(message: str, status: str) -> bytes:
    return reply({"error": message, "message": message, "code": 1}, status)


NO_LEADER = refused("etcdserver: no leader", "503 Service Unavailable")
INVALID_TOKEN = refused("etcdserver: invalid auth token", "401 Unauthorized")


@dataclass(slots=True)
class Gateway:
    """Answers as an etcd with users does. A token is good while it is in `tokens`."""

    password: str = "correct horse"
    tokens: list[str] = field(default_factory=list)
    issued: int = 0
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: Received) -> bytes:
        path = request.line.split()[1]
        self.asked.append(path)
        if path == "/v3/auth/authenticate":
            if json.loads(request.body)["password"] != self.password:
                return refused("etcdserver: authentication failed, invalid user ID or password", "400 Bad Request")
            self.issued += 1
            self.tokens.append(f"token.{self.issued}")
            return reply({**HEADER, "token": self.tokens[-1]})
        return reply(HEADER) if request.headers.get("authorization") in self.tokens else INVALID_TOKEN


async def mute(peer: Peer) -> None:
    await peer.reader.read(-1)


@pytest.fixture
async def serve() -> Any:
    """A server for each script, and what reaches them all."""
    async with AsyncExitStack() as stack:

        async def start(*scripts: Any) -> list[str]:
            servers = [await stack.enter_async_context(StreamServer(script=script)) for script in scripts]
            return [f"http://127.0.0.1:{server.port}" for server in servers]

        yield start


@pytest.fixture
async def client() -> Any:
    clients: list[EtcdClient] = []

    async def make(endpoints: list[str], **keys: Any) -> EtcdClient:
        tree = {"endpoints": endpoints, "timeout": "300ms"} | keys
        settings = await asyncio.to_thread(EtcdSettings.model_validate, tree)  # it reads files
        clients.append(EtcdClient(settings))
        return clients[-1]

    yield make
    for each in clients:
        await each.close()


@pytest.fixture
def who(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text("correct horse", encoding="utf-8")
    return {"user": "ann", "password": {"file": str(file)}}


def answering(octets: bytes) -> Receiver:
    return Receiver(by_request=lambda _: octets)


async def test_the_next_endpoint_is_asked_and_then_asked_first(serve: Any, client: Any) -> None:
    without, works = answering(NO_LEADER), answering(reply(HEADER))
    endpoints = await serve(without, mute, works)
    caller = await client([f"http://127.0.0.1:{free_port()}", *endpoints])

    began = time.monotonic()
    assert (await caller.range(b"/a")).revision == 7
    assert 0.3 <= time.monotonic() - began < 1.0  # the mute one was waited for, once
    began = time.monotonic()
    assert await caller.put(b"/a", b"1") == 7
    assert time.monotonic() - began < 0.2

    assert (len(without.requests), len(works.requests)) == (1, 2)
    assert {each.headers["grpc-metadata-hasleader"] for each in works.requests} == {"true"}


async def test_an_outage_names_each_endpoint_and_what_its_silence_proves(serve: Any, client: Any) -> None:
    closed = f"http://127.0.0.1:{free_port()}"
    unknown = "http://no-such-host.invalid:1"
    full = refused("etcdserver: mvcc: database space exceeded", "429 Too Many Requests")
    endpoints = await serve(
        answering(NO_LEADER), answering(full), mute, answering(reply(b"<html>")), answering(reply({})), Receiver([None])
    )
    caller = await client([closed, *endpoints, unknown])

    with pytest.raises(EtcdUnavailable) as caught:
        await caller.range(b"/a")

    found = caught.value.troubles
    assert [type(found[each]) for each in (closed, *endpoints[:2])] == [EndpointDown] * 3
    assert [type(found[each]) for each in (*endpoints[2:], unknown)] == [NoProof] * 5
    assert "connection refused" in str(found[closed])
    assert "no whole answer within 0.3 s" in str(found[endpoints[2]])


async def test_a_name_is_down_only_where_all_its_addresses_refuse(client: Any) -> None:
    """`localhost` has two where IPv6 is: a closed port on one alone says nothing of the other."""
    async with StreamServer(script=mute) as server:
        with pytest.raises(EtcdUnavailable) as caught:
            await (await client([f"http://localhost:{server.port}"])).range(b"/a")
        assert [type(each) for each in caught.value.troubles.values()] == [NoProof]

    with pytest.raises(EtcdUnavailable) as caught:
        await (await client([f"http://localhost:{free_port()}"])).range(b"/a")
    assert [type(each) for each in caught.value.troubles.values()] == [EndpointDown]


@pytest.mark.parametrize("silence", [mute, answering(refused("etcdserver: request timed out", "503 Unavailable"))])
async def test_a_transaction_that_may_be_done_yet_is_not_repeated(serve: Any, client: Any, silence: Any) -> None:
    other = answering(reply({**HEADER, "succeeded": True}))
    caller = await client(await serve(silence, other))
    fenced = {"compares": [Compare(key=b"/lock", mod_revision=4)], "puts": [Put(key=b"/a", value=b"1")]}

    with pytest.raises(EtcdUnavailable) as caught:
        await caller.transaction(**fenced)
    assert (caught.value.sent, len(other.requests)) == (True, 0)

    assert (await caller.transaction(**fenced)).succeeded  # whoever made it may: of the next one


async def test_a_transaction_that_was_never_sent_is(serve: Any, client: Any) -> None:
    works = answering(reply({**HEADER, "succeeded": True}))
    endpoints = await serve(answering(NO_LEADER), works)
    caller = await client([f"http://127.0.0.1:{free_port()}", *endpoints])

    assert (await caller.transaction(puts=[Put(key=b"/a", value=b"1")])).succeeded
    assert len(works.requests) == 1


async def test_a_token_that_ended_is_replaced_once(serve: Any, client: Any, who: dict[str, Any]) -> None:
    gateway = Gateway()
    caller = await client(await serve(Receiver(by_request=gateway)), **who)

    await caller.range(b"/a")
    gateway.tokens.clear()
    await caller.transaction(puts=[Put(key=b"/a", value=b"1")])

    own = ["/v3/auth/authenticate", "/v3/kv/range", "/v3/kv/txn", "/v3/auth/authenticate", "/v3/kv/txn"]
    assert gateway.asked == own


async def test_a_token_that_is_answered_with_silence_is_doubted(serve: Any, client: Any, who: dict[str, Any]) -> None:
    """etcd lets the token of a cluster with a longer log wait until its own has got there."""
    gateway = Gateway()

    async def waits(peer: Peer) -> None:
        while (request := await read_request(peer)) is not None:
            if (said := gateway(request)) != INVALID_TOKEN:
                peer.writer.write(said)

    caller = await client(await serve(waits), **who)
    await caller.range(b"/a")
    gateway.tokens.clear()
    for _ in range(2):
        with pytest.raises(EtcdUnavailable):
            await caller.range(b"/a")

    await caller.range(b"/a")
    assert gateway.issued == 2


async def test_a_server_that_forgets_every_token_is_not_asked_for_ever(
    serve: Any, client: Any, who: dict[str, Any]
) -> None:
    gateway = Gateway()

    def forgetful(request: Received) -> bytes:
        said = gateway(request)
        gateway.tokens.clear()
        return said

    with pytest.raises(EtcdUnavailable, match="invalid auth token") as caught:
        await (await client(await serve(Receiver(by_request=forgetful)), **who)).range(b"/a")

    assert all(isinstance(each, NoProof) for each in caught.value.troubles.values())
    assert (gateway.issued, caught.value.sent) == (2, False)


async def test_a_password_that_is_refused_proves_nothing_and_is_never_told(
    serve: Any, client: Any, who: dict[str, Any]
) -> None:
    gateway = Gateway(password="another")

    etcd = await client(await serve(Receiver(by_request=gateway)), **who)
    with pytest.raises(EtcdUnavailable, match="authentication failed"):
        await etcd.put(b"/a", b"1")
    with pytest.raises(EtcdUnavailable, match="authentication failed") as caught:
        await etcd.put(b"/a", b"1")  # it is not asked again so soon: to look at a password costs etcd much

    assert [type(each) for each in caught.value.troubles.values()] == [PasswordRefused]
    assert (caught.value.sent, gateway.asked) == (False, ["/v3/auth/authenticate"])
    assert "horse" not in str(caught.value)


async def test_other_settings_are_gone_by_from_the_next_request_on(
    serve: Any, client: Any, who: dict[str, Any], tmp_path: Path
) -> None:
    gateway = Gateway()
    first, second = await serve(Receiver(by_request=gateway), Receiver(by_request=gateway))
    etcd = await client([first], **who)
    await etcd.range(b"k")

    gateway.password = "battery staple"
    gateway.tokens.clear()
    with pytest.raises(EtcdUnavailable):
        await etcd.range(b"k")
    (tmp_path / "password").write_text(gateway.password, encoding="utf-8")
    etcd.use(await asyncio.to_thread(EtcdSettings.model_validate, {"endpoints": [second], **who}))
    etcd.ask_first(first)
    await etcd.range(b"k")
    assert etcd.first_endpoint == second


@pytest.mark.parametrize("token", ["a\r\nX-Own: 1", " ", "a ", " a", "x" * 9000])
async def test_a_token_that_is_none_is_not_sent_back(serve: Any, client: Any, who: dict[str, Any], token: str) -> None:
    receiver = answering(reply({**HEADER, "token": token}))

    with pytest.raises(EtcdUnavailable, match="gave no token"):
        await (await client(await serve(receiver), **who)).range(b"/a")

    assert len(receiver.requests) == 1


@pytest.mark.parametrize("word", ["user name is empty", "permission denied"])
async def test_authentication_that_is_off_is_warned_of_and_does_without(
    serve: Any, client: Any, who: dict[str, Any], caplog: pytest.LogCaptureFixture, word: str
) -> None:
    gateway, is_on = Gateway(), False

    def said(request: Received) -> bytes:
        if is_on:
            if "authorization" not in request.headers and "authenticate" not in request.line:
                return refused(f"etcdserver: {word}", "400 Bad Request")
            return gateway(request)
        if "authenticate" in request.line:
            return refused("etcdserver: authentication is not enabled", "412 Precondition Failed")
        assert "authorization" not in request.headers
        return reply(HEADER)

    caller = await client(await serve(Receiver(by_request=said)), **who)
    await caller.range(b"/a")
    await caller.range(b"/a")
    assert caplog.text.count("authentication is off in etcd") == 1

    is_on = True  # and when it is on again, we say who we are
    await caller.range(b"/a")
    assert gateway.issued == 1


async def test_an_answer_that_is_too_long_is_a_refusal_of_its_own(serve: Any, client: Any) -> None:
    caller = await client(
        await serve(answering(reply(b"x" * (MOST_ANSWER_BYTES + 1))), answering(reply(HEADER))), timeout="5s"
    )

    with pytest.raises(AnswerTooLong, match="longer than 2621440 octets"):
        await caller.range(b"/a", end=b"/b")


async def test_an_error_of_ours_ends_the_search(serve: Any, client: Any) -> None:
    other = answering(reply(HEADER))
    denied = answering(refused("etcdserver: permission denied", "403 Forbidden"))

    with pytest.raises(EtcdRefused, match="permission denied"):
        await (await client(await serve(denied, other))).put(b"/other/a", b"1")

    assert other.requests == []


async def test_a_silent_cluster_takes_no_longer_than_it_says(serve: Any, client: Any) -> None:
    caller = await client(await serve(mute, mute), timeout="100ms")
    settings = EtcdSettings.model_validate({"endpoints": ["http://a:1", "http://b:1"], "timeout": "100ms"})

    began = time.monotonic()
    with pytest.raises(EtcdUnavailable):
        await caller.range(b"/a")

    assert 0.2 <= time.monotonic() - began < settings.answer_seconds


async def test_a_cancelled_request_leaves_the_client_usable(serve: Any, client: Any) -> None:
    is_mute = True

    async def script(peer: Peer) -> None:
        await (mute(peer) if is_mute else answering(reply(HEADER))(peer))

    caller = await client(await serve(script), timeout="5s")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await caller.range(b"/a")

    is_mute = False
    assert (await caller.range(b"/a")).revision == 7


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def pages(count: int, *, most: int) -> Any:
    """A server of so many keys, which answers with too much where more than `most` are asked for."""

    def answer(request: Received) -> bytes:
        asked = json.loads(request.body)
        limit, key = int(asked["limit"]), base64.b64decode(asked["key"])
        names = [name for number in range(count) if (name := b"/k/%03d" % number) >= key]
        octets = b"x" if limit <= most else b"x" * MOST_ANSWER_BYTES
        kvs = [{"key": b64(name), "value": b64(octets), "mod_revision": "3"} for name in names[:limit]]
        return reply({**HEADER, "kvs": kvs[: 1 if limit > most else limit], "more": len(names) > limit})

    return Receiver(by_request=answer)


async def test_pages_get_smaller_until_they_fit_and_larger_again(serve: Any, client: Any) -> None:
    caller = await client(await serve(receiver := pages(100, most=20)), timeout="5s")

    found = await caller.read_all(b"/k/", end=b"/k0")

    assert [each.key for each in found.entries] == [b"/k/%03d" % number for number in range(100)]
    asked = [json.loads(each.body) for each in receiver.requests]
    fitting = [each["revision"] for each in asked if int(each["limit"]) <= 20]
    assert fitting == ["0"] + ["7"] * (len(fitting) - 1)
    assert len(asked) < 25


async def test_pages_get_smaller_where_a_server_does_not_make_them_in_time(serve: Any, client: Any) -> None:
    limits: list[int] = []
    answer = pages(100, most=1000)

    async def slow(peer: Peer) -> None:
        while (request := await read_request(peer)) is not None:
            limits.append(int(json.loads(request.body)["limit"]))
            if limits[-1] > 20:
                await mute(peer)
                return
            peer.writer.write(answer.by_request(request))
            await peer.writer.drain()

    caller = await client(await serve(slow), timeout="150ms")

    found = await caller.read_all(b"/k/", end=b"/k0")

    assert len(found.entries) == 100
    assert limits[0] == 64 > max(limits[1:3])


async def test_one_key_that_is_too_long_is_told(serve: Any, client: Any) -> None:
    caller = await client(await serve(pages(3, most=0)), timeout="5s")

    with pytest.raises(AnswerTooLong):
        await caller.read_all(b"/k/", end=b"/k0")


STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def streamed(*results: object) -> bytes:
    lines = [
        json.dumps({"result": {**HEADER, **each}} if isinstance(each, dict) else each).encode() for each in results
    ]
    return b"".join(b"%x\r\n%s\n\r\n" % (len(each) + 1, each) for each in lines)


def watching(*results: object) -> Any:
    """A server that says this of each watch, and then nothing."""

    async def script(peer: Peer) -> None:
        await read_request(peer)
        peer.writer.write(STREAM + streamed(*results))
        await mute(peer)

    return script


CREATED = {"created": True}
CHANGED = {"events": [{"kv": {"key": b64(b"/a"), "value": b64(b"1"), "mod_revision": "7"}}]}


async def test_the_next_endpoint_is_watched_and_the_next_one_after_silence(serve: Any, client: Any) -> None:
    endpoints = await serve(mute, watching(CREATED, CHANGED), watching(CREATED))
    caller = await client(endpoints)
    watched = []
    for _ in range(2):
        with pytest.raises(EtcdUnavailable, match="no word"):
            async with caller.watch(b"/a", end=b"/b", since=1, idle_seconds=0.2) as watch:
                watched.append(watch.endpoint)
                while True:
                    assert (await watch.next()).revision == 7

    assert watched == [endpoints[1], endpoints[2]]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (mute, NoProof),
        (watching(), NoProof),
        (watching({"canceled": True}), EtcdRefused),
        (answering(NO_LEADER), EndpointDown),
        (answering(reply(b"<html>")), NoProof),
        (answering(INVALID_TOKEN), NoProof),
    ],
)
async def test_a_watch_that_nobody_begins_is_an_outage(
    serve: Any, client: Any, script: Any, kind: type[EtcdTrouble]
) -> None:
    caller = await client(await serve(script))

    with pytest.raises(EtcdTrouble) as caught:
        async with caller.watch(b"/a", end=b"/b", since=1, idle_seconds=0.2):
            pytest.fail("it was begun")

    if isinstance(caught.value, EtcdUnavailable):
        assert [isinstance(each, kind) for each in caught.value.troubles.values()] == [True]
    else:
        assert isinstance(caught.value, kind)


async def test_who_asks_at_once_waits_for_his_turn(serve: Any, client: Any) -> None:
    caller = await client(await serve(receiver := answering(reply(HEADER))))

    found = await asyncio.gather(*(caller.range(b"/%d" % number) for number in range(20)))

    assert [each.revision for each in found] == [7] * 20
    assert len(receiver.requests) == 20


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return certificates.make(tmp_path_factory.mktemp("pki"))


@pytest.mark.parametrize(
    ("shown", "kind"),
    [("expired_server", CertificateExpired), ("rogue_server", NoProof), ("other_server", NoProof), ("server", NoProof)],
)
async def test_a_certificate_that_is_over_is_over_for_everybody(
    client: Any, pki: Pki, shown: str, kind: type[Exception]
) -> None:
    """The last one is good, and wants one of ours, which we have not: others may have one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity = getattr(pki, shown)
    context.load_cert_chain(identity.certificate, identity.key)
    context.load_verify_locations(pki.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    async with StreamServer(script=answering(reply(HEADER)), tls=context) as server:
        caller = await client([f"https://127.0.0.1:{server.port}"], tls={"ca": str(pki.ca)}, timeout="2s")
        with pytest.raises(EtcdUnavailable) as caught:
            await caller.range(b"/a")

    assert [type(each) for each in caught.value.troubles.values()] == [kind]


async def test_a_connection_is_not_used_longer_than_the_servers_certificate_is_good(
    client: Any, tmp_path: Path
) -> None:
    """Else who has one goes on, while others take the server for down."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=ends).configure_cert(context)
    async with StreamServer(script=answering(reply(HEADER)), tls=context) as server:
        tls = {"ca": str(tmp_path / "ca.pem")}
        caller = await client([f"https://127.0.0.1:{server.port}"], tls=tls, timeout="2s")
        await caller.range(b"/a")
        await caller.range(b"/a")
        assert server.connections == 1
        await asyncio.sleep((ends - datetime.now(UTC)).total_seconds() + 1.1)
        with pytest.raises(EtcdUnavailable) as caught:
            await caller.range(b"/a")

    assert [type(each) for each in caught.value.troubles.values()] == [CertificateExpired]
