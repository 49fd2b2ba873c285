"""One HTTP connection: aiohttp's, with our limits, and with errors that tell a stranger nothing."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

LONGEST_LINE = 8190  # octets of the request line, and of one header field; RFC 9112 section 3 asks for 8000
MOST_HEADERS = 64
LINGER_SECONDS = 1.0
"""How long a body nobody asked for is read, so that its sender sees the answer before the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a client is waited for. `idle` is longer than the usual scrape interval of a minute."""

    request_seconds: float = 10.0
    """For the first request to be complete, however slowly it drips."""
    answer_seconds: float = 10.0
    """For an answer to be made and taken."""
    idle_seconds: float = 65.0
    """For the next request."""


class Guest(web.RequestHandler):
    """A connection that also says whether it is busy and when it is gone."""

    def __init__(self, manager: web.Server, loop: asyncio.AbstractEventLoop, patience: Patience) -> None:
        super().__init__(
            manager,
            loop=loop,
            logger=log,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own way to say "none"
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADERS,
            keepalive_timeout=patience.idle_seconds,
            lingering_time=LINGER_SECONDS,
        )
        self.busy = False
        self.gone = asyncio.Event()
        self._patience = patience
        self._deadline: asyncio.TimerHandle | None = None

    def as_protocol(self) -> asyncio.Protocol:
        """Itself, for the event loop."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._deadline = self._loop.call_later(self._patience.request_seconds, self.cut)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the host."""
        self._drop_deadline()
        super().connection_lost(exc)
        self.gone.set()

    def begin(self) -> None:
        """A request is complete and being answered."""
        self._drop_deadline()
        self.busy = True

    def end(self) -> None:
        """It is answered, and the answer handed to the kernel but for what its buffer did not take."""
        self.busy = False

    def cut(self) -> None:
        """End the connection now, whatever is still unsent."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature; its words are not for strangers
    ) -> web.StreamResponse:
        """Answer a bad request, or a bug of ours; only the latter is worth a line in the log."""
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("http: %s failed", request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionAbortedError("the answer was begun already") from exc
        response = plain(HTTPStatus(status))
        response.force_close()
        return response

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def respond(
    status: HTTPStatus, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A response that says no more of the server than its name, and is not to be kept."""
    fixed = {
        "Content-Type": content_type,
        "Server": "hsm-agent",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(status=status, body=body, headers={**fixed, **(headers or {})})


def plain(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> web.Response:
    """The bare words of a status: `404 Not Found`."""
    return respond(status, f"{status.value} {status.phrase}\n".encode(), "text/plain; charset=utf-8", headers)
