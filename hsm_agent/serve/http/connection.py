"""One HTTP/1.1 connection: h11's grammar of requests on asyncio's streams, with bounds on size and time.

The head of a request is checked before h11 sees it: h11 joins folded lines, takes a bare line feed for the end of a
line and has no bound on the number of fields. RFC 9112 lets a server refuse all of them (sections 2.2 and 5.2). What
is refused can't mean one thing to a proxy and another to this server, so that no second request hides in the first
(section 11.2).

No resource of ours takes a body. A request that announces one gets its answer, and then the connection ends: nothing
that stands behind its head is ever taken for a request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPMethod, HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import h11

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 16 * 1024
MAX_LINE_BYTES = 8190
"""Of the request line, and of one header field; RFC 9112 section 3 asks for 8000."""
MAX_HEADERS = 64
READ_BYTES = 16 * 1024
LINGER_SECONDS = 1.0
"""How long input is read and dropped after the last answer. A socket that is closed with unread input resets the
connection, and the client may lose the answer (RFC 9112 section 9.6)."""

_END_OF_HEAD = b"\r\n\r\n"
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_CONTROL = re.compile(rb"[^\t\r\n\x20-\x7e\x80-\xff]")
_LENGTHS = {b"content-length", b"transfer-encoding"}
_AT_MOST_ONCE = frozenset({b"host", *_LENGTHS})
_VERSIONS = {b"1.0", b"1.1"}
_WEBDAV = {"COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "UNLOCK"}  # RFC 4918 section 9
_METHODS = frozenset({*(method.value for method in HTTPMethod), *_WEBDAV})
"""Methods that are known; all but two are answered with 405, and any other word with 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTimeouts:
    """How long a client is waited for. `idle_seconds` is longer than the usual scrape interval of a minute."""

    request_seconds: float = 10.0
    """For the first request to begin, and for any to be complete from its first octet on, however slowly it drips."""
    answer_seconds: float = 10.0
    """For an answer to be made and taken."""
    idle_seconds: float = 65.0
    """For the next request to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """The head of a request. Names of header fields are in lower case; `path` is decoded, `query` as it came.

    `is_last`: no other request is taken on its connection. `peer` is the client's address.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    is_last: bool = False
    peer: str = ""

    def header(self, name: bytes) -> str:
        """The field's value; of a field in several lines all of them, with commas (RFC 9110 section 5.3)."""
        return ", ".join(value.decode("latin-1") for key, value in self.headers if key == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """Status, fields and body. Length, date and name of the server are added when it is sent."""

    status: HTTPStatus
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


class BadRequestError(ValueError):
    """What came is not a request that this server takes."""


def plain(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """A response that has only the status in its body: `404 Not Found`. A stranger learns nothing from it."""
    body = f"{status.value} {status.phrase}\n".encode()
    return HttpResponse(status=status, body=body, content_type="text/plain; charset=utf-8", headers=headers or {})


def take_head(received: bytearray) -> bytes | None:
    """Cut a complete head off the front of what was received; None until there is one. Raises BadRequestError."""
    while received.startswith(b"\r\n"):  # RFC 9112 section 2.2: empty lines in front of a request are ignored
        del received[:2]
    if received and received[0] not in _TOKEN:  # TLS, as a rule: its client waits for an answer to its first record
        raise BadRequestError("does not begin with a method")
    length = received.find(_END_OF_HEAD) + len(_END_OF_HEAD)
    if length < len(_END_OF_HEAD):
        # Also while it is incomplete, or a client that ends its lines with LF would wait for the deadline.
        if len(received) > MAX_HEAD_BYTES or received.count(b"\n") != received.count(b"\r\n"):
            raise BadRequestError("a head that is too long, or a bare LF")
        return None
    head = bytes(received[:length])
    del received[:length]
    _check_head(head)
    return head


def _check_head(head: bytes) -> None:
    """Refuse a head with too much in it, and one that h11 would repair. Raises BadRequestError."""
    lines = head.removesuffix(_END_OF_HEAD).split(b"\r\n")
    fields = lines[1:]
    if len(head) > MAX_HEAD_BYTES or len(fields) > MAX_HEADERS or max(map(len, lines)) > MAX_LINE_BYTES:
        raise BadRequestError("too long")
    breaks = len(lines) + 1
    if _CONTROL.search(head) or head.count(b"\r") != breaks or head.count(b"\n") != breaks:
        raise BadRequestError("a control character, a bare CR or LF")
    if any(line[:1] in {b" ", b"\t"} for line in fields):
        raise BadRequestError("a folded field")
    names = [line.partition(b":")[0].lower() for line in fields]
    once = _AT_MOST_ONCE.intersection(names)
    if sum(name in once for name in names) != len(once) or once >= _LENGTHS:
        raise BadRequestError("two lengths, or two hosts")


def read_head(head: bytes, peer: str = "") -> HttpRequest:
    """The request of a head that take_head() gave. Raises BadRequestError."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(head)
    try:
        found = parser.next_event()
        parser.next_event()  # the end of the message, if it has no body
    except h11.RemoteProtocolError as error:
        raise BadRequestError(str(error)) from error
    assert isinstance(found, h11.Request)
    method = found.method.decode("ascii")
    if found.http_version not in _VERSIONS or method not in _METHODS:
        raise BadRequestError("an unknown version or method")
    path, query = _path_and_query(found.target.decode("ascii"))
    # Not done: a body follows, the client wants to close or to change the protocol.
    is_last = parser.their_state is not h11.DONE
    headers = tuple(found.headers)
    return HttpRequest(method=method, path=path, query=query, headers=headers, is_last=is_last, peer=peer)


def _path_and_query(target: str) -> tuple[str, str]:
    """Of a request target in origin-form or absolute-form (RFC 9112 section 3.2)."""
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return unquote(path), query
    try:
        found = urlsplit(target)
    except ValueError as error:
        raise BadRequestError("not a URL") from error
    if found.scheme not in {"http", "https"} or not found.netloc:
        raise BadRequestError("neither a path nor a URL")
    return unquote(found.path) or "/", found.query


def write_response(response: HttpResponse, *, without_body: bool = False, close: bool = False) -> bytes:
    """The octets of a response. `without_body`: that of HEAD, whose fields are those of GET.

    Written by hand: there is one framing, all values are our own, and h11 takes ten times as long to check them.
    """
    fields = {
        "Content-Type": response.content_type,
        "Server": "hsm-agent",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **response.headers,
        "Content-Length": len(response.body),
        "Date": formatdate(usegmt=True),
    }
    if close:
        fields["Connection"] = "close"
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    head = "\r\n".join([*lines, "", ""]).encode("ascii")
    return head if without_body else head + response.body


class HttpConnection:
    """Answers the requests of one client, one after the other."""

    def __init__(self, answer: Callable[[HttpRequest], Awaitable[HttpResponse]], timeouts: HttpTimeouts) -> None:
        self.is_busy = False
        """Whether a request is complete and its answer not yet with the kernel."""
        self._answer = answer
        self._timeouts = timeouts
        self._is_last = False
        self._received = bytearray()

    def close_after_answer(self) -> None:
        """Take no further request."""
        self._is_last = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        """Until either side ends it. Raises OSError, of which a timeout is one. The caller aborts the transport."""
        # So that drain() waits until the kernel has the answer: what a client does not read stays on its time. Not 0:
        # the TLS transport of Python 3.11 pauses when the mark is reached, and never leaves 0 again.
        writer.transport.set_write_buffer_limits(high=1)
        wait_seconds = self._timeouts.request_seconds
        try:
            while head := await self._read_head(reader, wait_seconds):
                if await self._exchange(read_head(head, peer), writer):
                    break
                wait_seconds = self._timeouts.idle_seconds
                if self._received:
                    # With requests in a row and answers that are read, none of the awaits above has to suspend.
                    await asyncio.sleep(0)
            else:
                return
        except BadRequestError:
            async with asyncio.timeout(self._timeouts.answer_seconds):
                writer.write(write_response(plain(HTTPStatus.BAD_REQUEST), close=True))
                await writer.drain()
        await _linger(reader, writer)

    async def _read_head(self, reader: asyncio.StreamReader, wait_seconds: float) -> bytes:
        """The next head; empty if the client ended the connection. Raises BadRequestError, OSError."""
        has_begun = bool(self._received)
        async with asyncio.timeout(self._timeouts.request_seconds if has_begun else wait_seconds) as deadline:
            while (head := take_head(self._received)) is None:
                octets = await reader.read(READ_BYTES)
                if not octets:
                    return b""
                self._received += octets
                if not has_begun:  # once: an empty line is no new beginning
                    has_begun = True
                    deadline.reschedule(asyncio.get_running_loop().time() + self._timeouts.request_seconds)
            return head

    async def _exchange(self, request: HttpRequest, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether it was the last. Raises OSError."""
        self.is_busy = True
        try:
            async with asyncio.timeout(self._timeouts.answer_seconds):
                response = await self._answer_or_500(request)
                is_last = request.is_last or self._is_last or response.status is HTTPStatus.INTERNAL_SERVER_ERROR
                writer.write(write_response(response, without_body=request.method == "HEAD", close=is_last))
                await writer.drain()
        finally:
            self.is_busy = False
        return is_last

    async def _answer_or_500(self, request: HttpRequest) -> HttpResponse:
        try:
            return await self._answer(request)
        except Exception:
            log.exception("http: %s failed", request.path)
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR)


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End our half of the connection and wait for the client to end its own. Raises OSError, also in the end."""
    async with asyncio.timeout(LINGER_SECONDS):
        if not writer.can_write_eof():  # TLS drops what still comes in until the peer has closed as well
            writer.close()
            await writer.wait_closed()
            return
        writer.write_eof()
        while await reader.read(READ_BYTES):
            continue
