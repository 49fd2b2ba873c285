"""Octet counting, `MSG-LEN SP SYSLOG-MSG`: the framing of RFC 6587 section 3.4.1 (TCP) and RFC 5425 section 4.3 (TLS).

Never newline framing: a receiver can't tell there where a cut message ends.
"""

from __future__ import annotations

_MAX_LENGTH_DIGITS = 9


class FramingError(ValueError):
    """The octets are no octet-counted frames."""


def frame(message: bytes) -> bytes:
    """One message, framed."""
    if not message:
        raise FramingError("an empty message has no frame: MSG-LEN begins with a non-zero digit")
    return b"%d %b" % (len(message), message)


class Unframer:
    """Takes octets in pieces of any size, gives back whole messages."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether part of a frame is waiting for the rest."""
        return bool(self._buffer)

    def receive(self, chunk: bytes) -> list[bytes]:
        """The messages that are complete now. Raises FramingError; nothing can be read after that."""
        self._buffer += chunk
        messages: list[bytes] = []
        while (start := self._start()) is not None:
            length = int(self._buffer[: start - 1])
            if length > self._max_bytes:
                raise FramingError(f"a frame of {length} octets, more than {self._max_bytes}")
            if len(self._buffer) < start + length:
                break
            messages.append(bytes(self._buffer[start : start + length]))
            del self._buffer[: start + length]
        return messages

    def _start(self) -> int | None:
        """Where the message at the head begins; None while its length is incomplete."""
        end = self._buffer.find(b" ", 0, _MAX_LENGTH_DIGITS + 1)
        digits = bytes(self._buffer[: end if end >= 0 else _MAX_LENGTH_DIGITS + 1])
        if end == 0 or (digits and not digits.isdigit()) or digits.startswith(b"0") or len(digits) > _MAX_LENGTH_DIGITS:
            raise FramingError(f"not a message length: {digits[:16]!r}")
        return end + 1 if end > 0 else None
