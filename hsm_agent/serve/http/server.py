"""The HTTP server: GET and HEAD of /, /metrics, /healthz, /readyz and /api/v1/status. Read-only.

`/healthz` answers 200 while the event loop runs and the pipeline evaluates readings, else 503. `/readyz` answers 503
with a JSON list of what is missing until every source was polled once, successfully or not, and while the spool cannot
write: an event would not survive the agent. A source or sink that is down is an alarm and leaves `/readyz` at 200.

A client that is slow, silent or greedy takes up one of at most `limit` connections, for a bounded time. When there are
more, one that has no request under way is cut: of the address that has most of them, the oldest. A client that opens
connections and sends nothing keeps no other client out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import socket
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from hsm_agent.log import SparingLog
from hsm_agent.serve.hide import Mask
from hsm_agent.serve.http.basic_auth import BasicAuth, TooManyChecksError, network_of
from hsm_agent.serve.http.connection import READ_BYTES, HttpConnection, HttpResponse, HttpTimeouts, plain
from hsm_agent.serve.http.exposition import exposition, wants_gzip
from hsm_agent.serve.http.shared import SharedAnswers
from hsm_agent.serve.http.web_config import WatchedWebConfig, WebConfigError
from hsm_agent.serve.masked_snapshot import masked
from hsm_agent.serve.settings import HttpError, http_address
from hsm_agent.serve.status import json_bytes, status
from hsm_agent.threads import StuckError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from hsm_agent.serve.http.connection import HttpRequest
    from hsm_agent.serve.settings import HttpSettings
    from hsm_agent.serve.snapshot import Snapshot

log = logging.getLogger(__name__)

BACKLOG = 128
HANDSHAKE_SECONDS = 5.0
PAUSE_AFTER_ERROR_SECONDS = 1.0
LOOK_FOR_IDLE_SECONDS = 0.1


class HttpListener:
    """A listening socket and the connections that came in by it, a task each."""

    def __init__(
        self,
        bound: socket.socket,
        *,
        connection: Callable[[], HttpConnection],
        context: Callable[[], Awaitable[ssl.SSLContext | None]],
        limit: int,
    ) -> None:
        """`context` is asked for each connection, so that a new certificate is shown from the next one on."""
        self._bound = bound
        self._connection = connection
        self._context = context
        self._limit = limit
        self._connections: dict[asyncio.Task[None], tuple[HttpConnection, str]] = {}
        """Oldest first, each with the network it came from."""
        self._sparing_log = SparingLog(log)

    async def accept(self) -> None:
        """Accept until cancelled. What happens to one connection ends no other."""
        while True:
            accepted, peer = await self._accept_one()
            network = network_of(peer)
            try:
                await self._make_room(network)
            except asyncio.CancelledError:
                accepted.close()
                raise
            connection = self._connection()
            task = asyncio.create_task(self._attend(accepted, connection, peer))
            self._connections[task] = connection, network
            task.add_done_callback(self._forget)
            await asyncio.sleep(0)  # let it begin: a task cancelled before that would leave its socket open

    async def close(self, grace_seconds: float) -> None:
        """Cut what is idle, let answers under way end for so long, cut the rest. `accept` must have ended."""
        for task, (connection, _) in self._connections.items():
            connection.close_after_answer()
            if not connection.is_busy:
                task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=grace_seconds)
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _accept_one(self) -> tuple[socket.socket, str]:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(self._bound)
            except ConnectionError:  # gone before it was accepted
                continue
            except OSError as error:  # out of descriptors, as a rule
                self._sparing_log.warning("http: cannot accept connections: %s", error.strerror)
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)
            else:
                return accepted, peer[0]

    async def _make_room(self, network: str) -> None:
        """For one more from there."""
        while len(self._connections) >= self._limit:
            counts = Counter([network, *(from_where for _, from_where in self._connections.values())])
            idle = [task for task, (connection, _) in self._connections.items() if not connection.is_busy]
            if idle:
                # max() takes the first of several, hence the oldest.
                max(idle, key=lambda task: counts[self._connections[task][1]]).cancel()
            # With a timeout, as a busy one may become idle instead of ending.
            await asyncio.wait(self._connections, timeout=LOOK_FOR_IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    async def _attend(self, accepted: socket.socket, connection: HttpConnection, peer: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            context = await self._context()
        except BaseException:
            accepted.close()
            raise
        reader = asyncio.StreamReader(limit=READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        seconds = None if context is None else HANDSHAKE_SECONDS
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=context, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=seconds
            )
        except OSError as error:  # ssl.SSLError is one
            log.debug("http: no connection: %s", error)
            return
        # Kept until the transport is aborted: Python 3.13 closes that of one that is forgotten before, with a warning.
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await connection.serve(reader, writer, peer)
        except OSError as error:
            log.debug("http: a connection ended: %s", error)
        finally:
            # Python 3.11: a TLS transport that was closed twice can't abort; its shutdown has a deadline of its own.
            with suppress(AttributeError):
                transport.abort()

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("http: a connection ended with a bug", exc_info=error)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on a numeric address. Raises OSError."""
    # Numbers only: no resolver is asked.
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


PATHS = ("/", "/metrics", "/healthz", "/readyz", "/api/v1/status")

MAX_CONNECTIONS = 64
CLOSE_SECONDS = 1.0

MIN_COMPRESSED_BYTES = 1024
_GZIP = 31  # zlib's wbits for the largest window (15) with a gzip header (16)

_TIMEOUTS = HttpTimeouts()


class HttpServer:
    """Answers from snapshots of the present, until closed."""

    def __init__(
        self,
        settings: HttpSettings,
        *,
        snapshot: Callable[[], Snapshot],
        missing: Callable[[], Sequence[str]],
        stalled: Callable[[], str] = str,
        hide_key: Callable[[], bytes] = bytes,
        timeouts: HttpTimeouts = _TIMEOUTS,
    ) -> None:
        """`snapshot`, `missing` and `stalled` are called on the event loop's thread, for each request that needs them.

        `stalled` says why the agent had better be restarted; empty while it works. `hide_key` is that of the
        pseudonyms.
        """
        self._settings = settings
        self._snapshot = snapshot
        self._missing = missing
        self._stalled = stalled
        self._timeouts = timeouts
        self._mask = Mask(settings.hide, hide_key()) if settings.hide else None
        self._auth = BasicAuth()
        self._answers = SharedAnswers("making answers of HTTP")
        self._web_config = WatchedWebConfig(settings.web_config)
        self._sparing_log = SparingLog(log)
        self._bound: socket.socket | None = None
        self._listener: HttpListener | None = None
        self._accepting: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, with the port the kernel chose where 0 was asked for."""
        if self._bound is None:
            raise RuntimeError("the server is not started")
        host, port = self._bound.getsockname()[:2]
        return host, port

    async def certificates(self) -> bytes:
        """What a new connection would be shown, as PEM without its key; empty for plain HTTP."""
        await self._web_config.current_context()
        return self._web_config.current.certificates

    async def start(self) -> None:
        """Listen. Raises HttpError."""
        try:
            await self.reload()
            self._bound = listen(*http_address(self._settings.listen))
        except WebConfigError as error:
            raise HttpError(f"serve.http.web_config: {error}") from error
        except OSError as error:
            raise HttpError(f"serve.http.listen: {self._settings.listen}: {error.strerror}") from error
        self._listener = HttpListener(
            self._bound,
            connection=lambda: HttpConnection(self._answer, self._timeouts),
            context=self._web_config.current_context,
            limit=MAX_CONNECTIONS,
        )
        self._accepting = asyncio.get_running_loop().create_task(self._listener.accept(), name="http")
        self._accepting.add_done_callback(_log_failure)
        current = self._web_config.current
        if current.users and current.context is None and not ipaddress.ip_address(self.address[0]).is_loopback:
            log.warning("http: passwords cross the network in clear text: add tls_server_config to the web_config")

    async def reload(self) -> None:
        """Read the web_config anew. Raises WebConfigError, and goes on with the old one."""
        await self._web_config.reload()

    async def close(self) -> None:
        """Stop listening, let answers that are under way end, cut the rest; within three seconds."""
        if self._bound is not None and self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            await asyncio.wait((self._accepting,))
            self._bound.close()
            await self._listener.close(CLOSE_SECONDS)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        try:
            return await self._refuse_stranger(request) or await self._answer_known(request)
        except StuckError as error:
            self._sparing_log.warning("http: %s", error)
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})

    async def _answer_known(self, request: HttpRequest) -> HttpResponse:
        if request.path not in PATHS:
            return plain(HTTPStatus.NOT_FOUND)
        if request.method not in {"GET", "HEAD"}:
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        if request.path == "/healthz":
            reason = self._stalled()
            body = f"{reason or 'ok'}\n".encode()
            return _health(body, "text/plain; charset=utf-8", is_well=not reason)
        if request.path == "/readyz":
            waiting = list(self._missing())
            return _health(json.dumps(waiting).encode(), "application/json", is_well=not waiting)
        work = partial(self._begin, request)
        return await self._answers.get(view(request), work, seconds=self._timeouts.answer_seconds)

    def _begin(self, request: HttpRequest) -> Callable[[], HttpResponse]:
        lacking = self._missing() if request.path == "/" else ()
        return partial(render, request, self._snapshot(), tuple(lacking), self._mask)

    async def _refuse_stranger(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to a client that has to be a user and is none; None where it may go on."""
        users = self._web_config.current.users
        if not users:
            return None
        authorization = request.header(b"authorization")
        try:
            if await self._auth.allows(users, authorization, request.peer):
                return None
        except TooManyChecksError:
            self._sparing_log.warning(
                "http: too many passwords wait to be checked; one from %s was refused", request.peer
            )
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
        if authorization:
            self._sparing_log.warning("http: wrong user or password from %s", request.peer)
        return plain(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Basic realm="hsm-agent", charset="UTF-8"'})


def _health(body: bytes, content_type: str, *, is_well: bool) -> HttpResponse:
    code = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return HttpResponse(status=code, body=body, content_type=content_type)


def view(request: HttpRequest) -> tuple[str, ...]:
    """All of a request that its answer depends on, the present aside: those with the same share one."""
    zipped = "gzip" if wants_gzip(request.header(b"accept-encoding")) else ""
    accepted = request.header(b"accept") if request.path == "/metrics" else ""
    return request.path, request.query if request.path == "/" else "", accepted, zipped


def render(
    request: HttpRequest, present: Snapshot, waiting: Sequence[str] = (), mask: Mask | None = None
) -> HttpResponse:
    """The answer of a path that shows the present. To be called on a thread: a large one takes its time."""
    if mask is not None:
        present = masked(present, mask)
        waiting = tuple(map(mask.text, waiting))
    response = _render_whole(request, present, waiting)
    vary = "Accept, Accept-Encoding" if request.path == "/metrics" else "Accept-Encoding"
    headers = {**response.headers, "Vary": vary}
    body = response.body
    if wants_gzip(request.header(b"accept-encoding")) and len(body) >= MIN_COMPRESSED_BYTES:
        # Lowest level: a tenth of the size for a fifth of the time. zlib lets other threads run.
        work = zlib.compressobj(level=1, wbits=_GZIP)
        body = work.compress(body) + work.flush()
        headers["Content-Encoding"] = "gzip"
    return replace(response, body=body, headers=headers)


def _render_whole(request: HttpRequest, present: Snapshot, waiting: Sequence[str]) -> HttpResponse:
    if request.path == "/":
        # An agent whose page nobody looks at need not hold the template library.
        from hsm_agent.serve.http.page import page  # noqa: PLC0415

        return page(present, request.query, waiting)
    if request.path == "/metrics":
        body, content_type = exposition(present, request.header(b"accept"))
    else:
        body, content_type = json_bytes(status(present)), "application/json"
    return HttpResponse(status=HTTPStatus.OK, body=body, content_type=content_type)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("http: the server stopped", exc_info=error)
