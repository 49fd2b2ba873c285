"""The webhook sink: what a receiver is sent, how it verifies it, and what its answers lead to."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.deliver.base import Refused, Retry
from hsm_agent.model import EventKind
from tests.fakes.http_receiver import OK, Received, Receiver
from tests.fakes.http_sinks import NOW, build, json_of
from tests.fakes.sample_configuration import ROOT
from tests.fakes.stream_server import StreamServer
from tests.fakes.syslog_events import event, numbered

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.model import Event

SECRET = "a secret that only the two of us know"


@pytest.fixture
def secret(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text(SECRET + "\n")
    return {"file": str(path)}


async def delivered(receiver: Receiver, *events: Event, path: str = "/hook", **options: Any) -> list[str]:
    accepted: list[str] = []
    async with StreamServer(script=receiver) as server:
        sink = await asyncio.to_thread(build, "webhook", f"http://127.0.0.1:{server.port}{path}", **options)
        try:
            await sink.deliver(events, lambda one: accepted.append(one.event_id))
        finally:
            await sink.close()
    return accepted


async def test_each_event_is_a_request_of_its_own(secret: dict[str, str]) -> None:
    receiver = Receiver()

    accepted = await delivered(receiver, event(), *numbered(2), sign=secret)

    first = receiver.requests[0]
    assert len(accepted) == len(receiver.requests) == 3
    assert first.line == "POST /hook HTTP/1.1"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["idempotency-key"] == '"0191d5a4-0000-7000-8000-000000000001"'
    assert first.headers["x-hsm-agent-event-id"] == "0191d5a4-0000-7000-8000-000000000001"
    assert json_of(first) == {
        "event_id": "0191d5a4-0000-7000-8000-000000000001",
        "alarm_id": "0191d5a4-0000-7000-8000-00000000000a",
        "kind": "ALARM_RAISED",
        "severity": "critical",
        "time": "2023-11-14T22:13:20.250000Z",
        "agent": "hsm-monitor-1",
        "host": "hsm-monitor-1.example.net",
        "source": "luna-a",
        "resource": "SIGN",
        "metric": "token_memory_private_used_percent",
        "value": "91",
        "unit": "%",
        "threshold": "90",
        "rule": "token-memory",
        "cause": "storageCapacityProblem",
        "runbook": "https://wiki.example.net/hsm/memory",
        "text": "Private memory of token luna-a/SIGN is 91 % used (limit 90 %).",
        "labels": {"environment": "production", "site": "north"},
    }


async def test_the_signature_is_of_the_time_and_the_body(secret: dict[str, str]) -> None:
    receiver = Receiver()

    await delivered(receiver, event(), sign=secret)

    (request,) = receiver.requests
    expected = hmac.new(SECRET.encode(), str(int(NOW)).encode() + b"." + request.body, hashlib.sha256)
    assert request.headers["x-hsm-agent-timestamp"] == str(int(NOW))
    assert request.headers["x-hsm-agent-signature"] == "sha256=" + expected.hexdigest()


async def test_the_snippet_of_the_docs_verifies_it(secret: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver()
    await delivered(receiver, event(text="Schlüssel 付款"), sign=secret)
    (request,) = receiver.requests
    page = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
    snippet = re.search(r"```python\n(import hashlib.*?)```", page, re.DOTALL)
    assert snippet is not None
    names: dict[str, Any] = {}
    exec(snippet[1], names)
    monkeypatch.setattr(time, "time", lambda: NOW + 100)

    assert names["is_genuine"](SECRET.encode(), request.headers, request.body)
    assert not names["is_genuine"](b"another", request.headers, request.body)
    assert not names["is_genuine"](SECRET.encode(), request.headers, request.body + b" ")
    for headers in ({}, request.headers | {"x-hsm-agent-signature": "é"}):  # refused, not an exception
        assert not names["is_genuine"](SECRET.encode(), headers, request.body)
    monkeypatch.setattr(time, "time", lambda: NOW + 1000)
    assert not names["is_genuine"](SECRET.encode(), request.headers, request.body)


async def test_the_relay_of_the_docs_makes_what_pagerduty_takes() -> None:
    receiver = Receiver()
    await delivered(receiver, event(), event(kind=EventKind.CLEARED), event(kind=EventKind.NOTICE))
    page = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
    snippet = re.search(r"```python\n(ACTIONS = .*?)```", page, re.DOTALL)
    assert snippet is not None
    names: dict[str, Any] = {}
    exec(snippet[1], names)

    raised, cleared, notice = (names["pagerduty"](json_of(each), "key") for each in receiver.requests)

    # Required by the Events API v2: routing_key, event_action, and in payload summary, source, severity.
    assert (raised["event_action"], cleared["event_action"], notice) == ("trigger", "resolve", None)
    assert raised["dedup_key"] == cleared["dedup_key"] == event().alarm_id
    assert raised["payload"]["severity"] == "critical"
    assert raised["payload"].keys() >= {"summary", "source", "severity"}


async def test_without_a_secret_nothing_is_signed() -> None:
    receiver = Receiver()

    await delivered(receiver, event())

    assert "x-hsm-agent-signature" not in receiver.requests[0].headers


async def test_a_secret_path_and_credentials(secret: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "path"
    path.touch(mode=0o600)
    path.write_text("/services/T0/B0/x?y=z\n")
    receiver = Receiver()

    auth = {"user": "agent", "password": secret}
    await delivered(receiver, event(), auth=auth)

    assert receiver.requests[0].headers["authorization"].startswith("Basic ")
    sink_requests = Receiver()
    async with StreamServer(script=sink_requests) as server:
        to = f"http://127.0.0.1:{server.port}"
        sink = await asyncio.to_thread(build, "webhook", to, path={"file": str(path)})
        await sink.deliver([event()], lambda _: None)
        await sink.close()
    assert sink_requests.requests[0].line == "POST /services/T0/B0/x?y=z HTTP/1.1"


def status(number: int, text: str = "", extra: str = "") -> bytes:
    return f"HTTP/1.1 {number} X\r\n{extra}Content-Length: {len(text)}\r\n\r\n{text}".encode()


@pytest.mark.parametrize("number", [200, 201, 202, 204, 299])
async def test_every_2xx_accepts(number: int) -> None:
    octets = status(number) if number != 204 else b"HTTP/1.1 204 No Content\r\n\r\n"

    assert len(await delivered(Receiver([octets]), event())) == 1


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(status(200, "x" * 70_000), id="too long"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70_000, id="without end"),
        pytest.param(b"HTTP/1.1 202 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\ncut", id="cut"),
    ],
)
async def test_a_2xx_accepts_whatever_becomes_of_the_page_behind_it(octets: bytes) -> None:
    receiver = Receiver([octets])

    assert len(await delivered(receiver, *numbered(2))) == 2
    assert len(receiver.requests) == 2


async def test_an_error_with_a_page_that_is_too_long_is_tried_again() -> None:
    with pytest.raises(Retry):
        await delivered(Receiver([status(400, "x" * 70_000)]), event())


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (status(400, "no such\nfield"), "answered 400: no such field"),
        (status(401), "answered 401"),
        (status(410, "gone"), "answered 410: gone"),
        (
            status(301, extra="Location: http://elsewhere/\r\n"),
            "301 to 'http://elsewhere/', and redirects are not foll",
        ),
        (status(304), "304 to ''"),
    ],
)
async def test_3xx_and_4xx_refuse_that_event_and_those_before_it_are_accepted(octets: bytes, why: str) -> None:
    one, two = numbered(2)
    receiver = Receiver([OK, octets])

    with pytest.raises(Refused, match=re.escape(why)) as caught:
        await delivered(receiver, one, two)

    assert caught.value.event_id == two.event_id
    assert not caught.value.certain
    assert len(receiver.requests) == 2


@pytest.mark.parametrize(
    ("octets", "sent"),
    [(status(500), True), (status(502), True), (status(503), False), (status(429), False), (status(408), False)],
)
async def test_5xx_and_its_like_are_tried_again(octets: bytes, sent: bool) -> None:
    with pytest.raises(Retry, match=r"answered \d\d\d") as caught:
        await delivered(Receiver([octets]), event())

    assert caught.value.sent is sent


async def test_a_receiver_that_asks_for_a_pause_is_heard() -> None:
    with pytest.raises(Retry) as caught:
        await delivered(Receiver([status(503, extra="Retry-After: 17\r\n")]), event())

    assert caught.value.asked_seconds == 17


async def test_an_answer_that_got_lost_is_tried_again_under_the_same_id() -> None:
    receiver = Receiver([None])
    with pytest.raises(Retry) as caught:
        await delivered(receiver, event())
    await delivered(receiver, event())

    assert caught.value.sent
    assert len({each.headers["idempotency-key"] for each in receiver.requests}) == 1


async def test_heartbeats_tests_and_notices_are_sent_too() -> None:
    receiver = Receiver()
    kinds = [EventKind.HEARTBEAT, EventKind.TEST, EventKind.NOTICE]

    await delivered(receiver, *(event(kind=kind) for kind in kinds))

    assert [json_of(each)["kind"] for each in receiver.requests] == ["HEARTBEAT", "TEST", "NOTICE"]


async def test_an_id_that_is_none_breaks_no_header() -> None:
    receiver = Receiver()

    await delivered(receiver, event(event_id='x"\r\nY: z\udcff', text="\udcff\r\n"))

    (request,) = receiver.requests
    assert isinstance(request, Received)
    assert request.headers["x-hsm-agent-event-id"] == "x___Y__z_"
    assert json_of(request)["text"] == "\ufffd "


def echo_of(request: Received) -> bytes:
    """As many servers do: a redirect to the same path, or a page that names it."""
    path, auth = request.line.split()[1], request.headers.get("authorization", "")
    if "redirect" in path:
        return status(308, extra=f"Location: https://elsewhere{path}/\r\n")
    escaped = path.replace("/", "\\/")
    return status(404, f"Cannot POST {path} [{escaped}] {auth}")


@pytest.mark.parametrize("path", ["redirect/T0CAFE01/xyzzy-Secret99?sig=aGVsbG8gaGVsbG8", "T0CAFE01/xyzzy-Secret99"])
async def test_a_secret_that_the_receiver_sends_back_is_not_quoted(path: str, tmp_path: Path) -> None:
    file = tmp_path / "path"
    file.touch(mode=0o600)
    file.write_text(f"/services/{path}\n")
    file.with_name("token").touch(mode=0o600)
    file.with_name("token").write_text("Tok3nOfTheAgent\n")
    options = {"path": {"file": str(file)}, "auth": {"bearer": {"file": str(file.with_name("token"))}}}

    async with StreamServer(script=Receiver(by_request=echo_of)) as server:
        sink = await asyncio.to_thread(build, "webhook", f"http://127.0.0.1:{server.port}", **options)
        with pytest.raises(Refused, match="answered") as caught:
            await sink.deliver([event()], lambda _: None)
        await sink.close()

    assert not re.search("T0CAFE01|Secret99|aGVsbG8|Tok3nOfTheAgent", str(caught.value))
