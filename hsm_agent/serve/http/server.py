"""The HTTP side: GET and HEAD of /metrics, /healthz, /readyz and /api/v1/status. It changes nothing.

`/healthz` answers 200 as long as the event loop does. `/readyz` answers 503 with a JSON list of what is missing until
every source was polled once, successfully or not, and while the spool cannot write: what is then announced would not
survive the agent. A source or sink that is down is an alarm and leaves `/readyz` at 200.

A client that is slow, silent or greedy costs one of a bounded number of connections for a bounded time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import field_validator

from hsm_agent.serve.http.basic_auth import BasicAuth, TooManyChecksError
from hsm_agent.serve.http.connection import Guest, Patience, plain, respond
from hsm_agent.serve.http.exposition import exposition
from hsm_agent.serve.http.listener import Connections, listen, stop
from hsm_agent.serve.http.negotiation import wants_gzip
from hsm_agent.serve.http.web_config import WatchedWebConfig, WebConfigError, load_web_config
from hsm_agent.serve.json_document import octets
from hsm_agent.serve.status import status
from hsm_agent.settings.types import LocalPath, Strict

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from hsm_agent.serve.snapshot import Snapshot

log = logging.getLogger(__name__)

PATHS = ("/metrics", "/healthz", "/readyz", "/api/v1/status")

MOST_CONNECTIONS = 64
CLOSE_SECONDS = 1.0
COMPLAIN_SECONDS = 60.0

LEAST_COMPRESSED = 1024
"""Octets; less is not worth it."""
_GZIP = 31  # zlib's word for a gzip header and the largest window

_PATIENCE = Patience()
_LISTEN = re.compile(r"(?:\[([^\]]+)\]|([0-9.]+)):([0-9]{1,5})")
_HIGHEST_PORT = 65535


class HttpError(Exception):
    """The server can't be started; the text names the key."""


class HttpSettings(Strict):
    """Where it listens, and what guards it."""

    listen: str = "127.0.0.1:9717"
    web_config: LocalPath | None = None

    @property
    def port(self) -> int:
        """The port of `listen`."""
        return listen_address(self.listen)[1]

    @field_validator("listen")
    @classmethod
    def _listen_is_an_address(cls, text: str) -> str:
        listen_address(text)
        return text

    @field_validator("web_config")
    @classmethod
    def _web_config_is_sound(cls, path: LocalPath | None) -> LocalPath | None:
        if path is not None:
            load_web_config(path)
        return path


def listen_address(text: str) -> tuple[str, int]:
    """Address and port of `127.0.0.1:9717` or `[::1]:9717`. Raises ValueError."""
    found = _LISTEN.fullmatch(text)
    if found is None:
        raise ValueError(f"not an address and port: {text!r} (write 127.0.0.1:9717 or [::1]:9717)")
    host, port = found[1] or found[2], int(found[3])
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise ValueError(f"not an IP address: {host!r}") from error
    if isinstance(address, ipaddress.IPv6Address) != bool(found[1]) or port > _HIGHEST_PORT:
        raise ValueError(f"not an address and port: {text!r}")
    return host, port


class HttpServer:
    """Answers from snapshots of the present, until closed."""

    def __init__(
        self,
        settings: HttpSettings,
        *,
        snapshot: Callable[[], Snapshot],
        missing: Callable[[], Sequence[str]],
        stalled: Callable[[], str] = str,
        patience: Patience = _PATIENCE,
    ) -> None:
        """`snapshot`, `missing` and `stalled` are called on the event loop's thread, for each request that needs them.

        `stalled` says why the agent had better be started anew; empty while it works.
        """
        self._settings = settings
        self._snapshot = snapshot
        self._missing = missing
        self._stalled = stalled
        self._patience = patience
        self._auth = BasicAuth()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-writer")
        self._web_config = WatchedWebConfig(settings.web_config)
        self._complained: dict[str, float] = {}
        self._listener: socket.socket | None = None
        self._web: web.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, with the port the kernel chose where 0 was asked for."""
        if self._listener is None:
            raise RuntimeError("the server is not started")
        host, port = self._listener.getsockname()[:2]
        return host, port

    async def certificates(self) -> bytes:
        """What a new connection would be shown, as PEM without its key; empty for plain HTTP."""
        await self._web_config.current_context()
        return self._web_config.current.certificates

    async def start(self) -> None:
        """Listen. Raises HttpError."""
        try:
            await self.reload()
            self._listener = await listen(*listen_address(self._settings.listen))
        except WebConfigError as error:
            raise HttpError(f"serve.http.web_config: {error}") from error
        except OSError as error:
            raise HttpError(f"serve.http.listen: {self._settings.listen}: {error.strerror}") from error
        loop = asyncio.get_running_loop()
        self._web = server = web.Server(self._handle)
        connections = Connections(
            self._listener,
            guest=lambda: Guest(server, loop, self._patience),
            context=self._web_config.current_context,
            limit=MOST_CONNECTIONS,
        )
        self._task = loop.create_task(connections.serve(), name="http")
        self._task.add_done_callback(_complain_if_it_failed)
        current = self._web_config.current
        if current.users and current.context is None and not _is_loopback(self.address[0]):
            log.warning("http: passwords cross the network in clear text: add tls_server_config to the web_config")

    async def reload(self) -> None:
        """Read the web_config anew. Raises WebConfigError, and goes on with the old one."""
        await self._web_config.reload()

    async def close(self) -> None:
        """Stop listening, let answers that are under way end, cut the rest; within three seconds."""
        if self._listener is not None and self._task is not None and self._web is not None:
            self._web.pre_shutdown()
            await self._web.shutdown(CLOSE_SECONDS)
            await stop(self._task)
            self._listener.close()
        self._auth.close()
        self._writer.shutdown(wait=False, cancel_futures=True)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        guest = request.protocol
        assert isinstance(guest, Guest)
        guest.begin()
        try:
            async with asyncio.timeout(self._patience.answer_seconds):
                response = await self._answer(request)
                await response.prepare(request)
                await response.write_eof()
                await request.writer.drain()
        except TimeoutError as error:
            guest.cut()
            raise ConnectionAbortedError("the client took too long to read") from error
        finally:
            guest.end()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        users = self._web_config.current.users
        if users:
            try:
                allowed = await self._auth.allows(users, request.headers.get("Authorization", ""), request.remote)
            except TooManyChecksError:
                self._complain("too many passwords wait to be checked; one was turned away", request)
                return plain(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
            if not allowed:
                if "Authorization" in request.headers:
                    self._complain("wrong user or password", request)
                return plain(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Basic realm="hsm-agent", charset="UTF-8"'})
        if request.path not in PATHS:
            return plain(HTTPStatus.NOT_FOUND)
        if request.method not in {"GET", "HEAD"}:  # aiohttp leaves the body of an answer to HEAD out
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        return await self._get(request.path, _combined(request, "Accept"), _combined(request, "Accept-Encoding"))

    async def _get(self, path: str, accept: str, accept_encoding: str) -> web.Response:
        if path == "/healthz":
            ill = self._stalled()
            state = HTTPStatus.SERVICE_UNAVAILABLE if ill else HTTPStatus.OK
            return respond(state, f"{ill or 'ok'}\n".encode(), "text/plain; charset=utf-8")
        if path == "/readyz":
            waiting = list(self._missing())
            state = HTTPStatus.SERVICE_UNAVAILABLE if waiting else HTTPStatus.OK
            return respond(state, json.dumps(waiting).encode(), "application/json")
        present = self._snapshot()
        gzip = wants_gzip(accept_encoding)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, _written, path, present, accept, gzip)

    def _complain(self, what: str, request: web.BaseRequest) -> None:
        # Once a minute each: whoever guesses must not fill the log.
        now = time.monotonic()
        if now - self._complained.get(what, -COMPLAIN_SECONDS) >= COMPLAIN_SECONDS:
            self._complained[what] = now
            log.warning("http: %s from %s", what, request.remote)


def _combined(request: web.BaseRequest, name: str) -> str:
    """A header that may come in several lines (RFC 9110 section 5.3)."""
    return ", ".join(request.headers.getall(name, ()))


def _written(path: str, present: Snapshot, accept: str, gzip: bool) -> web.Response:  # noqa: FBT001 - run_in_executor
    """The answer, in a thread: what is large takes its time."""
    headers = {"Vary": "Accept-Encoding"}
    if path == "/metrics":
        body, content_type = exposition(present, accept)
        headers["Vary"] = "Accept, Accept-Encoding"
    else:
        body, content_type = document(present), "application/json"
    if gzip and len(body) >= LEAST_COMPRESSED:
        body = compressed(body)
        headers["Content-Encoding"] = "gzip"
    return respond(HTTPStatus.OK, body, content_type, headers)


def compressed(body: bytes) -> bytes:
    """The body as gzip. Lowest level: a tenth of the size for a fifth of the time; zlib lets other threads run."""
    work = zlib.compressobj(level=1, wbits=_GZIP)
    return work.compress(body) + work.flush()


def document(present: Snapshot) -> bytes:
    """The status as JSON."""
    return octets(status(present))


def _complain_if_it_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("http: the server stopped", exc_info=error)


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback
