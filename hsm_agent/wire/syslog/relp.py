"""The client's side of RELP, the Reliable Event Logging Protocol, as a state machine: octets in, octets out.

Written after the protocol's own description and what librelp 1.11 does where it differs (it speaks version 0, and
answers `close` with an empty response). Knows no socket and no clock. A session is used for one connection only.

    frame = TXNR SP COMMAND SP DATALEN [SP DATA] LF
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from enum import Enum

MAX_TXNR = 999_999_999
MAX_ANSWER_BYTES = 16 * 1024
"""Answers are a line or the offers of the peer; more is no RELP server."""

_OFFERS = b"\nrelp_version=0\nrelp_software=hsm-agent\ncommands=syslog"
_HEADER = re.compile(rb"(\d{1,9}) ([A-Za-z]{1,32}) (\d{1,9})([ \n])")
_MAX_HEADER_BYTES = 9 + 1 + 32 + 1 + 9 + 1
_STATUS = re.compile(r"([0-9]{3})(?: (.*))?", re.DOTALL)
_OK = 200
_QUOTED_CHARACTERS = 200


class RelpError(Exception):
    """The peer broke the protocol or refused the session; the connection is of no use any more."""


class RelpState(Enum):
    """Where a session is in its life."""

    NEW = "new"
    OPENING = "opening"
    READY = "ready"
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The server accepted the session and takes `syslog`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The server took charge of the message of this transaction."""

    txnr: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The server refuses the message of this transaction."""

    txnr: int
    status: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The session is over: our `close` was answered, or the server announced its end."""

    by_server: bool


RelpAnswer = Opened | Accepted | Rejected | Closed


class RelpSession:
    """One session, from `open` to `close`.

    Transaction numbers start at 1 and rise by one; a gap or a repeat ends the session at the server. When they are
    used up (`exhausted`) a new session is needed: librelp's own wrap is off by one.
    """

    def __init__(self, *, window: int) -> None:
        self._window = window
        self._buffer = bytearray()
        self._txnr = 0
        self._outstanding: deque[int] = deque()
        self._failure: RelpError | None = None
        self.state = RelpState.NEW

    @property
    def outstanding(self) -> int:
        """Messages sent and not answered yet."""
        return len(self._outstanding)

    @property
    def room(self) -> int:
        """Messages that may be sent before the next answer."""
        return self._window - len(self._outstanding) if self.state is RelpState.READY else 0

    @property
    def exhausted(self) -> bool:
        """Whether only the number for `close` is left."""
        return self._txnr >= MAX_TXNR - 1

    def open(self) -> bytes:
        """The octets that ask for a session."""
        self._require(RelpState.NEW)
        self.state = RelpState.OPENING
        return self._frame(b"open", _OFFERS)

    def syslog(self, message: bytes) -> tuple[int, bytes]:
        """The transaction number and the octets of one message."""
        self._require(RelpState.READY)
        if not self.room or self.exhausted:
            raise RelpError("no room in the window")
        octets = self._frame(b"syslog", message)
        self._outstanding.append(self._txnr)
        return self._txnr, octets

    def close(self) -> bytes:
        """The octets that end the session. Nothing can be sent after them."""
        self._require(RelpState.READY)
        self.state = RelpState.CLOSING
        return self._frame(b"close", b"")

    def receive(self, chunk: bytes) -> list[RelpAnswer]:
        """The server's answers in a chunk of octets. Raises RelpError only; the session is closed then.

        Answers that came before what is wrong still count: they are returned, and the next call raises.
        """
        if self._failure is not None:
            raise self._failure
        self._buffer += chunk
        answers: list[RelpAnswer] = []
        try:
            while self.state is not RelpState.CLOSED and (found := self._take()) is not None:
                answers += self._understand(*found)
        except RelpError as error:
            self.state = RelpState.CLOSED
            self._failure = error
        if self.state is RelpState.CLOSED:
            self._buffer.clear()
        if self._failure is not None and not answers:
            raise self._failure
        return answers

    def _require(self, state: RelpState) -> None:
        if self.state is not state:
            raise RelpError(f"the session is {self.state.value}, not {state.value}")

    def _frame(self, command: bytes, data: bytes) -> bytes:
        self._txnr += 1
        # DATALEN 0 has no space after it: librelp ends the session over one.
        return b"%d %b %d%b%b\n" % (self._txnr, command, len(data), b" " if data else b"", data)

    def _take(self) -> tuple[int, bytes, bytes] | None:
        """The frame at the head of the buffer, once it is whole."""
        header = _HEADER.match(bytes(self._buffer[:_MAX_HEADER_BYTES]))
        if header is None:
            if len(self._buffer) > _MAX_HEADER_BYTES or b"\n" in self._buffer[:_MAX_HEADER_BYTES]:
                raise RelpError(f"not a RELP frame: {bytes(self._buffer[:40])!r}")
            return None
        txnr, command, length = int(header[1]), bytes(header[2]).lower(), int(header[3])
        if length > MAX_ANSWER_BYTES:
            raise RelpError(f"an answer of {length} octets, more than {MAX_ANSWER_BYTES}")
        start = header.end() if header[4] == b" " else header.end() - 1
        if header[4] == b"\n" and length:
            raise RelpError(f"{length} octets announced, none sent")
        if len(self._buffer) <= start + length:
            return None
        if self._buffer[start + length] != ord("\n"):
            raise RelpError("a frame without its trailer")
        data = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length + 1]
        return txnr, command, data

    def _understand(self, txnr: int, command: bytes, data: bytes) -> list[RelpAnswer]:
        if txnr == 0:  # a hint; others than this one have no meaning for a client
            if command == b"serverclose":
                self.state = RelpState.CLOSED
                return [Closed(by_server=True)]
            return []
        if command != b"rsp":
            raise RelpError(f"the server sent the command {command.decode('ascii')!r}")
        if self.state is RelpState.OPENING and txnr == 1:
            return [self._opened(data)]
        if self.state is RelpState.CLOSING and txnr == self._txnr:
            self.state = RelpState.CLOSED
            return [Closed(by_server=False)]
        if txnr not in self._outstanding:
            raise RelpError(f"an answer to transaction {txnr}, which is not outstanding")
        self._outstanding.remove(txnr)
        status, text = _status(data)
        if status == _OK:
            return [Accepted(txnr=txnr)]
        return [Rejected(txnr=txnr, status=status, text=text[:_QUOTED_CHARACTERS])]

    def _opened(self, data: bytes) -> Opened:
        status, text = _status(data)
        if status != _OK:
            raise RelpError(f"the server refused the session: {status} {text[:_QUOTED_CHARACTERS]}")
        offers = dict(line.partition("=")[::2] for line in text.split("\n") if "=" in line)
        if "syslog" not in offers.get("commands", "syslog").split(","):
            raise RelpError(f"the server does not take syslog, only {offers['commands'][:_QUOTED_CHARACTERS]}")
        self.state = RelpState.READY
        return Opened()


def _status(data: bytes) -> tuple[int, str]:
    found = _STATUS.fullmatch(data.decode("utf-8", "replace"))
    if found is None:
        raise RelpError(f"an answer without a status: {data[:40]!r}")
    return int(found[1]), found[2] or ""
