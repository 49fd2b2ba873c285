"""The TLS sink against receivers that behave, and receivers that do not."""

from __future__ import annotations

import asyncio
import ssl
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.deliver.base import Retry
from hsm_agent.net.tls import TlsSettings
from tests.fakes.stream_server import Collector, Peer, StreamServer
from tests.fakes.syslog_events import event, numbered
from tests.fakes.syslog_oracle import read
from tests.fakes.syslog_sinks import built
from tests.peers import pki as certificates

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.deliver.base import Sink
    from hsm_agent.model import Event
    from tests.peers.pki import Identity, Pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return certificates.make(tmp_path_factory.mktemp("pki"))


async def failure_of(sink: Sink, events: list[Event] | None = None) -> Retry:
    accepted: list[Event] = []
    with pytest.raises(Retry) as caught:
        await sink.deliver(events or numbered(1), accepted.append)
    assert accepted == []
    await sink.close()
    return caught.value


def texts(messages: list[bytes]) -> list[str | None]:
    return [read(message).text for message in messages]


async def mute(peer: Peer) -> None:
    await asyncio.sleep(30)


def server_context(identity: Identity, *, clients: Path | None = None, only_1_1: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    if only_1_1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def test_tls_with_a_name_and_a_client_certificate(pki: Pki) -> None:
    collector = Collector()
    names: list[str | None] = []
    context = server_context(pki.server, clients=pki.ca)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with StreamServer(script=collector, tls=context) as server:
        own = {"certificate": str(pki.agent.certificate), "key": str(pki.agent.key)}
        sink = await built(f"tls:localhost:{server.port}", tls={"ca": str(pki.ca), **own})
        accepted: list[Event] = []
        await sink.deliver(numbered(3), accepted.append)
        await collector.until(3)
        await sink.close()

    assert accepted == numbered(3)
    assert names == ["localhost"]
    assert sink.kind == "syslog tls"


async def test_tls_to_an_address_that_the_certificate_names(pki: Pki) -> None:
    collector = Collector()
    async with StreamServer(script=collector, tls=server_context(pki.server)) as server:
        sink = await built(f"tls:127.0.0.1:{server.port}", tls={"ca": str(pki.ca)})
        await sink.deliver(numbered(1), lambda _: None)
        await collector.until(1)
        await sink.close()


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        ("rogue_server", "not trusted: unable to get local issuer certificate"),
        ("other_server", "not trusted: Hostname mismatch, certificate is not valid for 'localhost'."),
        ("expired_server", "not trusted: certificate has expired"),
    ],
)
async def test_a_receiver_that_is_not_the_one_is_told_nothing(pki: Pki, identity: str, why: str) -> None:
    collector = Collector()
    async with StreamServer(script=collector, tls=server_context(getattr(pki, identity))) as server:
        failure = await failure_of(await built(f"tls:localhost:{server.port}", tls={"ca": str(pki.ca)}))

    assert why in str(failure)
    assert not failure.sent
    assert collector.messages == []


async def test_tls_1_1_is_refused(pki: Pki) -> None:
    async with StreamServer(script=mute, tls=server_context(pki.server, only_1_1=True)) as server:
        failure = await failure_of(await built(f"tls:localhost:{server.port}", tls={"ca": str(pki.ca)}))

    assert "the receiver broke off the TLS handshake" in str(failure)


async def test_tls_1_2_is_refused_where_1_3_is_the_minimum(pki: Pki) -> None:
    context = server_context(pki.server)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with StreamServer(script=mute, tls=context) as server:
        tls = {"ca": str(pki.ca), "minimum": "1.3"}
        failure = await failure_of(await built(f"tls:localhost:{server.port}", tls=tls))

    assert "the receiver broke off the TLS handshake" in str(failure)


@pytest.mark.parametrize("identity", ["server", "other_server", "expired_server", "rogue_server"])
async def test_a_known_fingerprint_is_enough(pki: Pki, identity: str) -> None:
    shown: Identity = getattr(pki, identity)
    collector = Collector()
    async with StreamServer(script=collector, tls=server_context(shown)) as server:
        tls = {"verify": "fingerprint", "fingerprints": ["00" * 32, shown.fingerprint]}
        sink = await built(f"tls:localhost:{server.port}", tls=tls)
        await sink.deliver(numbered(1), lambda _: None)
        await collector.until(1)
        await sink.close()


async def test_another_fingerprint_is_told_nothing(pki: Pki) -> None:
    collector = Collector()
    async with StreamServer(script=collector, tls=server_context(pki.server)) as server:
        tls = {"verify": "fingerprint", "fingerprints": [pki.other_server.fingerprint]}
        failure = await failure_of(await built(f"tls:localhost:{server.port}", tls=tls))

    assert "none of the known fingerprints" in str(failure)
    assert collector.messages == []


async def test_a_known_fingerprint_of_another_ca_is_refused_where_a_ca_is_given(pki: Pki) -> None:
    async with StreamServer(script=mute, tls=server_context(pki.rogue_server)) as server:
        tls = {"verify": "fingerprint", "fingerprints": [pki.rogue_server.fingerprint], "ca": str(pki.ca)}
        failure = await failure_of(await built(f"tls:localhost:{server.port}", tls=tls))

    assert "not trusted" in str(failure)


@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", [None, "rogue_agent"])
async def test_a_refused_client_certificate_is_noticed_before_anything_is_sent(
    pki: Pki, shown: str | None, maximum: ssl.TLSVersion
) -> None:
    context = server_context(pki.server, clients=pki.ca)
    context.maximum_version = maximum
    tls: dict[str, Any] = {"ca": str(pki.ca)}
    if shown is not None:
        own: Identity = getattr(pki, shown)
        tls |= {"certificate": str(own.certificate), "key": str(own.key)}
    collector = Collector()
    async with StreamServer(script=collector, tls=context) as server:
        failure = await failure_of(await built(f"tls:localhost:{server.port}", tls=tls))

    assert not failure.sent
    assert collector.messages == []


async def test_a_handshake_that_stalls_is_given_up_in_time(pki: Pki) -> None:
    async with StreamServer(script=mute) as server:
        started = time.monotonic()
        sink = await built(f"tls:localhost:{server.port}", tls={"ca": str(pki.ca)}, timeout="300ms")
        failure = await failure_of(sink)

    assert time.monotonic() - started < 1
    assert "no connection within 0.3 s" in str(failure)


async def test_a_receiver_that_speaks_no_tls_is_said(pki: Pki) -> None:
    async def smtp(peer: Peer) -> None:
        peer.writer.write(b"220 mail.example.net ESMTP\r\n")
        await peer.reader.read()

    async with StreamServer(script=smtp) as server:
        failure = await failure_of(await built(f"tls:localhost:{server.port}", tls={"ca": str(pki.ca)}))

    assert "TLS: wrong version number" in str(failure)


async def test_a_tls_receiver_that_stalls_is_given_up_in_time(pki: Pki) -> None:
    async with StreamServer(script=mute, tls=server_context(pki.server), small_buffers=True) as server:
        sink = await built(
            f"tls:localhost:{server.port}", tls={"ca": str(pki.ca)}, max_bytes=128 * 1024, timeout="500ms"
        )
        accepted: list[Event] = []
        events = [event(event_id=str(number), text="x" * 120_000) for number in range(20)]
        with pytest.raises(Retry, match=r"nothing acknowledged within 0\.5 s"):
            await sink.deliver(events, accepted.append)
        await sink.close()

    assert accepted == events[:1]


async def delivered(pki: Pki, shown: Identity, **tls: Any) -> str:
    """What came of an attempt: empty if the receiver has the record."""
    collector = Collector()
    async with StreamServer(script=collector, tls=server_context(shown)) as server:
        sink = await built(f"tls:localhost:{server.port}", tls={"ca": str(pki.ca), **tls})
        try:
            await sink.deliver(numbered(1), lambda _: None)
        except Retry as failure:
            return str(failure)
        finally:
            await sink.close()
    return ""


async def test_a_certificate_without_a_subject_alternative_name_is_for_no_name(pki: Pki) -> None:
    assert "not trusted" in await delivered(pki, pki.nameless_server)
    assert "not trusted" in await delivered(pki, pki.nameless_server, verify="name")


async def test_the_common_name_counts_for_who_says_so_and_only_without_another_name(pki: Pki) -> None:
    assert await delivered(pki, pki.nameless_server, verify="common-name") == ""
    assert await delivered(pki, pki.server, verify="common-name") == ""
    assert "not trusted" in await delivered(pki, pki.other_server, verify="common-name")


async def test_a_revoked_certificate_is_refused_where_a_list_says_so(pki: Pki) -> None:
    assert await delivered(pki, pki.revoked_server) == "", "nothing is said of revocation"
    assert "certificate revoked" in await delivered(pki, pki.revoked_server, crl=str(pki.crl))
    assert await delivered(pki, pki.server, crl=str(pki.crl)) == ""
    by_fingerprint = {"verify": "fingerprint", "fingerprints": [pki.revoked_server.fingerprint]}
    assert "certificate revoked" in await delivered(pki, pki.revoked_server, crl=str(pki.crl), **by_fingerprint)


async def test_a_list_that_was_renewed_counts_from_the_next_connection_on(pki: Pki, tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_bytes(pki.old_crl.read_bytes())
    collector = Collector()
    async with StreamServer(script=collector, tls=server_context(pki.revoked_server)) as server:
        tls = await asyncio.to_thread(TlsSettings.model_validate, {"ca": str(pki.ca), "crl": str(crl)})
        sink = await built(f"tls:localhost:{server.port}", tls=tls)
        assert "CRL has expired" in str(await failure_of(sink))
        crl.write_bytes(pki.crl.read_bytes())
        assert await asyncio.to_thread(tls.renew)
        assert "certificate revoked" in str(await failure_of(sink))


async def test_a_list_that_has_ended_lets_nobody_in(pki: Pki) -> None:
    assert "CRL has expired" in await delivered(pki, pki.server, crl=str(pki.old_crl))
