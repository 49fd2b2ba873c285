"""The HTTP server: GET and HEAD of /metrics, /healthz, /readyz and /api/v1/status. Read-only.

`/healthz` answers 200 while the event loop runs and the pipeline evaluates readings, else 503. `/readyz` answers 503
with a JSON list of what is missing until every source was polled once, successfully or not, and while the spool cannot
write: an event would not survive the agent. A source or sink that is down is an alarm and leaves `/readyz` at 200.

A client that is slow, silent or greedy takes up one of a bounded number of connections, for a bounded time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import field_validator

from hsm_agent.log import SparingLog
from hsm_agent.serve.http.basic_auth import BasicAuth, TooManyChecksError
from hsm_agent.serve.http.connection import HttpConnection, HttpResponse, HttpTimeouts, plain
from hsm_agent.serve.http.exposition import exposition, wants_gzip
from hsm_agent.serve.http.listener import HttpListener, listen
from hsm_agent.serve.http.web_config import WatchedWebConfig, WebConfigError, load_web_config
from hsm_agent.serve.status import json_bytes, status
from hsm_agent.settings.quantities import MAX_PORT, host_port
from hsm_agent.settings.types import LocalPath, Strict

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from hsm_agent.serve.http.connection import HttpRequest
    from hsm_agent.serve.snapshot import Snapshot

log = logging.getLogger(__name__)

PATHS = ("/metrics", "/healthz", "/readyz", "/api/v1/status")

MAX_CONNECTIONS = 64
CLOSE_SECONDS = 1.0

MIN_COMPRESSED_BYTES = 1024
_GZIP = 31  # zlib's wbits for the largest window (15) with a gzip header (16)

_TIMEOUTS = HttpTimeouts()


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
    found = host_port(text)
    if found is None:
        raise ValueError(f"not an address and port: {text!r} (write 127.0.0.1:9717 or [::1]:9717)")
    try:
        address = ipaddress.ip_address(found.host)
    except ValueError as error:
        raise ValueError(f"not an IP address: {found.host!r} (write 127.0.0.1:9717 or [::1]:9717)") from error
    if isinstance(address, ipaddress.IPv6Address) != found.in_brackets or found.port > MAX_PORT:
        raise ValueError(f"not an address and port: {text!r}")
    return found.host, found.port


class HttpServer:
    """Answers from snapshots of the present, until closed."""

    def __init__(
        self,
        settings: HttpSettings,
        *,
        snapshot: Callable[[], Snapshot],
        missing: Callable[[], Sequence[str]],
        stalled: Callable[[], str] = str,
        timeouts: HttpTimeouts = _TIMEOUTS,
    ) -> None:
        """`snapshot`, `missing` and `stalled` are called on the event loop's thread, for each request that needs them.

        `stalled` says why the agent had better be restarted; empty while it works.
        """
        self._settings = settings
        self._snapshot = snapshot
        self._missing = missing
        self._stalled = stalled
        self._timeouts = timeouts
        self._auth = BasicAuth()
        self._renderer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-render")
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
            self._bound = listen(*listen_address(self._settings.listen))
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
        self._auth.close()
        self._renderer.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        refusal = await self._refuse_stranger(request)
        if refusal is not None:
            return refusal
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
        present = self._snapshot()
        accept, gzip = request.header(b"accept"), wants_gzip(request.header(b"accept-encoding"))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._renderer, partial(render, request.path, present, accept, gzip=gzip))

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


def render(path: str, present: Snapshot, accept: str, *, gzip: bool) -> HttpResponse:
    """The answer of /metrics and /api/v1/status. To be called on a thread: a large one takes its time."""
    headers = {"Vary": "Accept-Encoding"}
    if path == "/metrics":
        body, content_type = exposition(present, accept)
        headers["Vary"] = "Accept, Accept-Encoding"
    else:
        body, content_type = json_bytes(status(present)), "application/json"
    if gzip and len(body) >= MIN_COMPRESSED_BYTES:
        # Lowest level: a tenth of the size for a fifth of the time. zlib lets other threads run.
        work = zlib.compressobj(level=1, wbits=_GZIP)
        body = work.compress(body) + work.flush()
        headers["Content-Encoding"] = "gzip"
    return HttpResponse(status=HTTPStatus.OK, body=body, content_type=content_type, headers=headers)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("http: the server stopped", exc_info=error)
