"""Answers of HTTP/1.1 servers as they are read: whole, or line by line while they go on; with bounds on all of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11

from hsm_agent.net.address import describe

if TYPE_CHECKING:
    from hsm_agent.net.streams import Connection

MOST_HEAD_BYTES = 16 * 1024
"""Of one head of an answer; also of a chunk's header and of trailers."""
FRAMING_FACTOR = 2
"""What a body may cost on the wire by its chunks; more than that is no answer but a way to keep us busy."""
ONE_READ_BYTES = 256 * 1024
"""What asyncio may hand over at once, before anything of it can be read."""

Headers = tuple[tuple[str, str], ...]


class HttpTrouble(Exception):
    """No whole answer came. `sent`: the request had been handed to the connection, and may have been obeyed.

    `status`: that of the answer whose head came, and whose body did not, or not within its bounds.
    """

    def __init__(self, reason: str, *, sent: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.sent = sent
        self.status = status


class BadAnswerError(Exception):
    """The server's answer breaks the protocol or our bounds."""


class TooLongError(BadAnswerError):
    """The answer's body is longer than what is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """A whole answer. Names of headers are lower case."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """The first value of a header, empty if there is none."""
        return next((value for known, value in self.headers if known == name.lower()), "")


def was_too_long(trouble: HttpTrouble) -> bool:
    """Whether the answer was longer than what is taken. What was asked for may have been done."""
    return isinstance(trouble.__cause__, TooLongError)


class HttpStream:
    """An answer of which the head came; its body is read line by line for as long as it goes on."""

    def __init__(self, peer: str, head: h11.Response, incoming: IncomingAnswer) -> None:
        self.status: int = head.status_code
        self._peer = peer
        self._head = head
        self._incoming = incoming
        self._unread = bytearray()
        self._looked_at = 0
        self._is_at_end = False

    async def line(self, *, most_bytes: int, seconds: float) -> bytes | None:
        """The next line without its end, empty ones left out; None at the end of the answer.

        Raises HttpTrouble where nothing whole came within so many seconds, or the line is longer.
        """
        try:
            async with asyncio.timeout(seconds):
                while (found := self._taken()) is None and not self._is_at_end:
                    await self._more(most_bytes)
        except TimeoutError as error:
            raise HttpTrouble(f"{self._peer}: no word for {seconds:g} s", sent=True, status=self.status) from error
        except (OSError, BadAnswerError) as error:
            raise HttpTrouble(f"{self._peer}: {describe(error)}", sent=True, status=self.status) from error
        return found

    async def whole(self, *, seconds: float) -> HttpAnswer:
        """The answer as a whole: where it is no stream, but a refusal. Raises HttpTrouble."""
        try:
            async with asyncio.timeout(seconds):
                return await answer_of(self._head, self._incoming)
        except TimeoutError as error:
            raise HttpTrouble(f"{self._peer}: no whole answer within {seconds:g} s", sent=True) from error
        except (OSError, BadAnswerError) as error:
            raise HttpTrouble(f"{self._peer}: {describe(error)}", sent=True, status=self.status) from error

    def _taken(self) -> bytes | None:
        """The first line of what was received; at the end of the answer what is left."""
        while self._unread:
            end = self._unread.find(b"\n", self._looked_at)
            if end < 0 and not self._is_at_end:
                self._looked_at = len(self._unread)
                return None
            line = bytes(self._unread if end < 0 else self._unread[:end]).strip()
            del self._unread[: len(self._unread) if end < 0 else end + 1]
            self._looked_at = 0
            if line:
                return line
        return None

    async def _more(self, most_bytes: int) -> None:
        event = await self._incoming.next()
        if isinstance(event, h11.Data):
            self._unread += event.data
            self._incoming.go_on()
            if len(self._unread) > most_bytes:
                raise TooLongError(f"a line of the answer is longer than {most_bytes} octets")
        elif isinstance(event, h11.EndOfMessage):
            self._is_at_end = True
        else:
            raise BadAnswerError("the connection ended within the answer")


class IncomingAnswer:
    """The events of one answer, with a bound on all the octets they are made of."""

    def __init__(
        self, connection: Connection, parser: h11.Connection, most_body_bytes: int, spare_bytes: int = 0
    ) -> None:
        """`spare_bytes`: what of a stream may have come with that which is looked at."""
        self._connection = connection
        self._parser = parser
        self.most_body_bytes = most_body_bytes
        self._spare_bytes = spare_bytes
        self._is_at_end = False
        self.go_on()

    async def next(self) -> h11.Event | None:
        """The next event of h11, None where nothing can follow. Raises OSError or BadAnswerError."""
        while True:
            try:
                event = self._parser.next_event()
                if event is not h11.NEED_DATA:
                    return event if isinstance(event, h11.Event) else None
                self._parser.receive_data(await self._read())
            except h11.RemoteProtocolError as error:
                if self._is_at_end and not self._parser.trailing_data[0]:
                    raise BadAnswerError("the connection ended without a whole answer") from error
                raise BadAnswerError(f"not a proper HTTP answer: {error}") from error

    def go_on(self) -> None:
        """Something of use came: the bound is that of what comes next."""
        self._left = 2 * MOST_HEAD_BYTES + FRAMING_FACTOR * self.most_body_bytes + self._spare_bytes

    async def _read(self) -> bytes:
        """The next octets, empty at the end of the connection."""
        try:
            data = await self._connection.read()
        except OSError:
            if self._connection.at_end:
                self._is_at_end = True
                return b""
            raise
        self._left -= len(data)
        if self._left < 0:
            raise TooLongError("the answer is longer than what was asked for can be")
        return data


async def head_of(incoming: IncomingAnswer) -> h11.Response:
    """The final answer's head; those of RFC 9110 section 15.2 before it are passed over."""
    while True:
        event = await incoming.next()
        if isinstance(event, h11.Response):
            return event
        if not isinstance(event, h11.InformationalResponse):
            raise BadAnswerError("the connection ended before an answer came")


async def answer_of(head: h11.Response, incoming: IncomingAnswer) -> HttpAnswer:
    """The answer of this head, with all of its body. Raises OSError or BadAnswerError."""
    body = bytearray()
    while isinstance(event := await incoming.next(), h11.Data):
        body += event.data
        if len(body) > incoming.most_body_bytes:
            raise TooLongError(f"the answer is longer than {incoming.most_body_bytes} octets")
    if not isinstance(event, h11.EndOfMessage):
        raise BadAnswerError("the connection ended within the answer")
    fields = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
    return HttpAnswer(status=head.status_code, headers=fields, body=bytes(body))
