"""Turns an event into a message when it is sent: with a sequence number, and whether the clock is synchronised."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from hsm_agent.wire.syslog.rfc5424 import MAX_SEQUENCE_ID, Formatter, HeaderFields

if TYPE_CHECKING:
    from hsm_agent.deliver.base import AgentIdentity
    from hsm_agent.model import Event

MESSAGES_A_TURN = 16
"""How many messages a sink formats before it lets the event loop turn: a fifth of a millisecond each."""

_LIBC = ctypes.CDLL(None)
_TIMEX_BYTES = 512  # struct timex is 208 octets on 64-bit Linux, less elsewhere
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


def clock_is_synchronised() -> bool:
    """The kernel's state of the system clock. Also False if that can't be read: synchronised is a claim."""
    request = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: only read
    state = int(_LIBC.adjtimex(request))
    return 0 <= state != _TIME_ERROR


class MessageBuilder:
    """Formats events for one sink, with numbers from 1 on (RFC 5424 section 7.3.1)."""

    def __init__(self, origin: AgentIdentity, *, facility: int, max_bytes: int) -> None:
        fields = HeaderFields(
            host_name=origin.host_name,
            agent_name=origin.agent_name,
            version=origin.version,
            enterprise_id=origin.enterprise_id,
            process_id=str(os.getpid()),
            facility=facility,
        )
        self._formatter = Formatter(fields, max_bytes=max_bytes)
        self._sequence_id = 0

    def message(self, event: Event) -> bytes:
        """The event as one RFC 5424 message, without framing."""
        self._sequence_id = self._sequence_id % MAX_SEQUENCE_ID + 1
        return self._formatter.format(event, sequence_id=self._sequence_id, synced=clock_is_synchronised())
