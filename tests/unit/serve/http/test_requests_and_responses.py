"""Heads of requests and what is refused of them, without a socket; the octets of a response."""

from __future__ import annotations

from http import HTTPStatus

import h11
import pytest

from hsm_agent.serve.http.connection import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    BadRequestError,
    HttpRequest,
    HttpResponse,
    HttpTimeouts,
    plain,
    read_head,
    take_head,
    write_response,
)

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def head_of(octets: bytes) -> bytes | None:
    return take_head(bytearray(octets))


def request_of(octets: bytes) -> HttpRequest:
    head = head_of(octets)
    assert head is not None
    return read_head(head)


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_a_head_is_taken_when_it_is_complete_and_what_follows_stays() -> None:
    received = bytearray()
    for octet in GET:
        assert take_head(received) is None
        received.append(octet)

    assert take_head(received + b"GET /next") == GET
    received += b"GET /next"
    take_head(received)
    assert received == b"GET /next"


def test_empty_lines_in_front_of_a_request_are_ignored() -> None:
    assert head_of(b"\r\n\r\n" + GET) == GET
    assert head_of(b"\r\n") is None


def with_fields(*lines: bytes) -> bytes:
    return b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", *lines, b"", b""])


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\x16\x03\x01", id="TLS"),
        pytest.param(b" GET / HTTP/1.1", id="a space"),
        pytest.param(b"GET / HTTP/1.1\nHost: x\n", id="lines that end with LF"),
        pytest.param(b"G" * (MAX_HEAD_BYTES + 1), id="no end of the line"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * MAX_HEAD_BYTES, id="no end of the head"),
    ],
)
def test_some_is_refused_before_it_is_complete(octets: bytes) -> None:
    with pytest.raises(BadRequestError):
        head_of(octets)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(with_fields(*[b"A: b"] * MAX_HEADERS), id="one field too many"),
        pytest.param(with_fields(b"A: " + b"b" * 8190), id="a long field"),
        pytest.param(with_fields(b"A: " + b"b" * 8000, b"C: " + b"d" * 8000, b"E: " + b"f" * 400), id="a long head"),
        pytest.param(b"GET /" + b"a" * 8190 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="a long request line"),
        pytest.param(with_fields(b"A: b", b" c"), id="a folded field"),
        pytest.param(b"GET / HTTP/1.1\r\n\tHost: x\r\n\r\n", id="a fold of the request line"),
        pytest.param(with_fields(b"A: b\nC: d"), id="a bare LF"),
        pytest.param(with_fields(b"A: b\rC: d"), id="a bare CR"),
        pytest.param(with_fields(b"A: b\0c"), id="a NUL"),
        pytest.param(with_fields(b"A: b\x0bc"), id="a vertical tab"),
        pytest.param(with_fields(b"Host: y"), id="two hosts"),
        pytest.param(with_fields(b"Content-Length: 2", b"content-length: 2"), id="one length twice"),
        pytest.param(with_fields(b"Content-Length: 2", b"Transfer-Encoding: chunked"), id="two kinds of length"),
        pytest.param(with_fields(b"Transfer-Encoding: chunked", b"transfer-encoding: chunked"), id="two codings"),
    ],
)
def test_a_complete_head_that_hides_something_or_holds_too_much_is_refused(octets: bytes) -> None:
    with pytest.raises(BadRequestError):
        head_of(octets)


def test_a_head_within_the_bounds_is_taken() -> None:
    assert head_of(with_fields(*[b"A: b"] * (MAX_HEADERS - 1))) is not None
    assert head_of(b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\nHost: x\r\n\r\n") is not None
    assert head_of(with_fields(b"A: \t\xe4 b")) is not None


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"GET /\r\n\r\n", id="no version"),
        pytest.param(b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", id="two spaces"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", id="no method"),
        pytest.param(get("*"), id="an asterisk"),
        pytest.param(get("metrics"), id="no slash"),
        pytest.param(get("ftp://x/metrics"), id="another scheme"),
        pytest.param(get("http:///metrics"), id="no host in the URL"),
        pytest.param(get("http://[::1/metrics"), id="no URL"),
        pytest.param(with_fields(b"No colon"), id="no colon"),
        pytest.param(with_fields(b"A : b"), id="a space before the colon"),
        pytest.param(with_fields(b"Content-Length: -1"), id="a negative length"),
        pytest.param(with_fields(b"Content-Length: 2, 3"), id="a list of lengths"),
        pytest.param(with_fields(b"Transfer-Encoding: gzip, chunked"), id="another coding"),
    ],
)
def test_what_is_no_request_is_refused(octets: bytes) -> None:
    with pytest.raises(BadRequestError):
        request_of(octets)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/metrics", "/metrics"),
        ("/metrics?name[]=x", "/metrics"),
        ("/%6detrics", "/metrics"),
        ("/metrics%00", "/metrics\0"),
        ("/metrics%zz", "/metrics%zz"),
        ("//metrics", "//metrics"),
        ("/../metrics", "/../metrics"),
        ("http://elsewhere/metrics?x", "/metrics"),
        ("HTTPS://elsewhere", "/"),
    ],
)
def test_the_path_is_that_of_the_target(target: str, path: str) -> None:
    assert request_of(get(target)).path == path


def test_a_header_in_several_lines_is_one_list() -> None:
    request = request_of(with_fields(b"Accept: a", b"ACCEPT:\tb ", b"Other: \xe4"))

    assert request.header(b"accept") == "a, b"
    assert request.header(b"other") == "ä"
    assert request.header(b"missing") == ""


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        pytest.param(GET, False, id="a request"),
        pytest.param(with_fields(b"Content-Length: 0"), False, id="no body"),
        pytest.param(with_fields(b"Content-Length: 5"), True, id="a body"),
        pytest.param(with_fields(b"Transfer-Encoding: chunked"), True, id="a body in chunks"),
        pytest.param(with_fields(b"Connection: Keep-Alive, Close"), True, id="a client that wants to close"),
        pytest.param(with_fields(b"Upgrade: h2c"), True, id="a client that wants another protocol"),
        pytest.param(GET.replace(b"1.1", b"1.0"), True, id="HTTP/1.0"),
    ],
)
def test_a_request_is_the_last_of_its_connection_where_another_could_be_mistaken(octets: bytes, expected: bool) -> None:
    assert request_of(octets).is_last is expected


def fields_of(octets: bytes) -> dict[str, str]:
    lines = octets.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


def test_a_response_names_its_type_and_is_not_to_be_kept() -> None:
    response = HttpResponse(status=HTTPStatus.OK, body=b"{}", content_type="application/json", headers={"Vary": "A"})

    octets = write_response(response)

    assert octets.startswith(b"HTTP/1.1 200 OK\r\n")
    assert octets.endswith(b"\r\n\r\n{}")
    fields = fields_of(octets)
    assert fields.pop("Date").endswith(" GMT")
    assert fields == {
        "Content-Type": "application/json",
        "Server": "hsm-agent",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Vary": "A",
        "Content-Length": "2",
    }


def test_a_client_in_strict_http_reads_the_response() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())

    client.receive_data(write_response(plain(HTTPStatus.NOT_FOUND), close=True))

    assert [type(client.next_event()) for _ in range(3)] == [h11.Response, h11.Data, h11.EndOfMessage]
    assert client.their_state is h11.MUST_CLOSE


def test_head_is_answered_with_the_fields_of_get_and_no_body() -> None:
    octets = write_response(plain(HTTPStatus.NOT_FOUND), without_body=True)

    assert octets.endswith(b"\r\n\r\n")
    assert fields_of(octets)["Content-Length"] == str(len(plain(HTTPStatus.NOT_FOUND).body))


@pytest.mark.parametrize("status", [HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED, HTTPStatus.INTERNAL_SERVER_ERROR])
def test_an_error_is_the_bare_words_of_its_status(status: HTTPStatus) -> None:
    response = plain(status, {"Allow": "GET"})

    assert response.body == f"{status.value} {status.phrase}\n".encode()
    assert response.headers["Allow"] == "GET"


def test_a_scraper_that_comes_once_a_minute_keeps_its_connection() -> None:
    assert HttpTimeouts().idle_seconds > 60
