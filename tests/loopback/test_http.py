"""The HTTP side against polite and curious clients."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.agent.service import SWITCH_SECONDS
from hsm_agent.model import ActiveAlarm
from hsm_agent.serve.http.connection import HttpTimeouts
from hsm_agent.serve.http.exposition import exposition
from hsm_agent.serve.http.server import PATHS, HttpServer
from hsm_agent.serve.settings import HttpError, HttpSettings
from tests.fakes.http_client import Answer, get, request, running, send, settings_of
from tests.fakes.night import night
from tests.fakes.present import known_snapshot, make_reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from hsm_agent.serve.snapshot import Snapshot


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


async def test_the_status_page_is_at_the_root(server: HttpServer) -> None:
    answer = await get(server, "/?refresh=off")

    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "refresh" not in answer.headers
    assert b"<h1>1 warning</h1>" in answer.body


async def test_the_status_page_says_what_the_agent_waits_for() -> None:
    async with running(missing=["source luna-a: not polled yet"]) as server:
        answer = await get(server, "/")

    assert b"source luna-a: not polled yet" in answer.body


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


async def test_an_agent_that_judges_no_more_is_ill() -> None:
    async with running(stalled="pipeline: nothing was judged for 61 s") as server:
        health = await get(server, "/healthz")

    assert (health.status, health.body) == (503, b"pipeline: nothing was judged for 61 s\n")


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
    [
        "/index.html",
        "/./",
        "/metrics/",
        "/METRICS",
        "/api/v1",
        "/api/v1/status/x",
        "//metrics",
        "/../metrics",
        "/metrics%00",
    ],
)
async def test_anything_else_is_not_found(server: HttpServer, path: str) -> None:
    assert (await get(server, path)).status == 404


@pytest.mark.parametrize("path", ["/metrics?name[]=x", "/%6detrics", "http://elsewhere/metrics"])
async def test_other_spellings_of_a_path_are_the_path(server: HttpServer, path: str) -> None:
    assert (await get(server, path)).status == 200


@pytest.mark.parametrize("path", [*PATHS, "/elsewhere"])
async def test_head_tells_what_get_would_without_the_body(server: HttpServer, path: str) -> None:
    got, head = await get(server, path), await send(server, request(path, "HEAD"))

    assert head.body == b""
    assert head.status == got.status
    assert {**head.headers, "date": ""} == {**got.headers, "date": ""}
    assert int(head.headers["content-length"]) == len(got.body)


async def test_head_of_what_is_compressed_tells_so() -> None:
    async with running(present=large_snapshot()) as server:
        got = await get(server, "/metrics", Accept_Encoding="gzip")
        head = await send(server, request("/metrics", "HEAD", Accept_Encoding="gzip"))

    assert head.headers["content-encoding"] == "gzip"
    assert int(head.headers["content-length"]) == len(got.body)


async def test_a_connection_goes_on_after_head(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    first = await reader.readuntil(b"\r\n\r\n")
    second = await reader.readuntil(b"\r\n\r\n")

    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 200 ")
    assert await reader.readexactly(3) == b"ok\n"
    writer.close()
    await writer.wait_closed()


def large_snapshot() -> Snapshot:
    readings = [make_reading("token_objects", n, resource=f"t{n}") for n in range(2000)]
    return replace(known_snapshot(), readings=readings)


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/status"])
async def test_what_is_large_is_compressed_for_who_asks(path: str) -> None:
    async with running(present=large_snapshot()) as server:
        plain = await get(server, path)
        answer = await get(server, path, Accept_Encoding="br;q=1.0, gzip;q=0.8, *;q=0.1")
        refused = await get(server, path, Accept_Encoding="gzip;q=0")

    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == plain.body == refused.body
    assert len(answer.body) < len(plain.body) / 5
    assert "content-encoding" not in refused.headers
    assert all("Accept-Encoding" in one.headers["vary"] for one in (plain, answer, refused))


async def test_what_is_small_is_not_compressed(server: HttpServer) -> None:
    for path in ("/healthz", "/readyz"):
        assert "content-encoding" not in (await get(server, path, Accept_Encoding="gzip")).headers


async def test_the_format_is_the_one_that_is_wanted_most(server: HttpServer) -> None:
    both = "application/openmetrics-text;version=1.0.0;q={}, text/plain;version=0.0.4;q={}"

    less = await get(server, "/metrics", Accept=both.format("0.2", "0.7"))
    more = await get(server, "/metrics", Accept=both.format("0.7", "0.2"))
    neither = await get(server, "/metrics", Accept="image/png")

    assert less.headers["content-type"].startswith("text/plain")
    assert more.headers["content-type"].startswith("application/openmetrics-text")
    assert neither.status == 200
    assert neither.headers["content-type"].startswith("text/plain")


async def test_a_header_in_several_lines_is_one(server: HttpServer) -> None:
    lines = b"Accept: text/plain;q=0.1\r\nAccept: application/openmetrics-text\r\n"

    answer = await send(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n")

    assert answer.headers["content-type"].startswith("application/openmetrics-text")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_nothing_but_get_and_head_is_allowed(server: HttpServer, method: str) -> None:
    answer = await send(server, request("/metrics", method))

    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


async def test_the_server_says_no_more_than_its_name(server: HttpServer) -> None:
    for octets in (request("/metrics"), request("/x"), request("/metrics", "POST"), b"rubbish\r\n\r\n"):
        answer = await send(server, octets)

        assert answer.headers["server"] == "hsm-agent"
        assert b"h11" not in answer.body
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


class _Hanging(tuple[ActiveAlarm, ...]):
    """Alarms whose list nothing gets to the end of until it is let go."""

    __slots__ = ()
    let_go = threading.Event()

    def __iter__(self) -> Iterator[ActiveAlarm]:
        self.let_go.wait(20)
        return super().__iter__()


async def test_while_an_answer_hangs_the_next_is_refused_at_once_and_health_is_answered() -> None:
    present = replace(known_snapshot(), alarms=_Hanging())
    async with running(present=present, timeouts=HttpTimeouts(answer_seconds=0.1)) as server:
        cut = await get(server, "/api/v1/status")
        refused = await get(server, "/api/v1/status")
        health = await get(server, "/healthz")
    _Hanging.let_go.set()

    assert cut.status == 0
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert health.status == 200


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
        pauses = [await longest_pause_during(asyncio.create_task(get(server, "/metrics"))) for _ in range(3)]

    # The shortest of three: a busy machine pauses any program now and then.
    assert min(pauses) < on_the_loop / 2


async def test_a_page_of_thousands_of_tokens_holds_up_the_event_loop_for_less_than_20_ms() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)  # as the agent does
    try:
        async with running(present=night(tokens=2000)) as server:
            await get(server, "/")
            pauses: list[float] = []
            while len(pauses) < 20 and min(pauses, default=1.0) >= 0.020:
                pauses.append(await longest_pause_during(asyncio.create_task(get(server, "/"))))
    finally:
        sys.setswitchinterval(before)

    # The shortest of several: a busy machine pauses any program now and then.
    assert min(pauses) < 0.020


async def longest_pause_during(asking: asyncio.Task[Answer]) -> float:
    longest = 0.0
    while not asking.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before)
    assert asking.result().status == 200
    return longest
