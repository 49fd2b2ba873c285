"""An event as one RFC 5424 message: header, structured data, text, all of it valid whatever the event holds.

rfc5424-logging-handler does the escaping and the assembling (`HeaderAssembler`). It is used for nothing else, because
its transport blocks and loses messages, and only with values that are clean already: left to itself it emits empty
header fields, empty or repeated names, a wrong enterprise number after the first, and control characters. This module
must not read a clock, a file or the process: all of that comes in.
"""

from __future__ import annotations

import io
import logging
import re
from dataclasses import replace
from datetime import UTC
from types import FunctionType
from typing import TYPE_CHECKING, Self

from rfc5424logging import handler as library

from hsm_agent.model import AgentIdentity, Event, EventKind, Severity
from hsm_agent.text import one_line
from hsm_agent.wire.event_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

APP_NAME = "hsm-agent"
MIN_MAX_BYTES = 1024
"""The least `max_bytes`: header and structured data with every free value cut to `_SHORT` fit in it."""
MAX_SEQUENCE_ID = 2_147_483_647  # RFC 5424 section 7.3.1; the next one is 1

_LEVELS = {
    Severity.CRITICAL: "ALERT",  # RFC 5674 section 2
    Severity.MAJOR: "CRITICAL",
    Severity.MINOR: "ERROR",
    Severity.WARNING: "WARNING",
    Severity.INDETERMINATE: "NOTICE",
    Severity.CLEARED: "NOTICE",
}
"""The library's names of the severities 1 to 5."""
_KIND_LEVELS = {EventKind.TEST: "INFO", EventKind.HEARTBEAT: "INFO", EventKind.NOTICE: "NOTICE"}

# Cc, the line and paragraph separators and the bidirectional overrides (they let a token label forge the look of a
# log line); lone surrogates have no UTF-8; a BOM inside the text would be taken for the one before it.
_NOT_PRINTUSASCII = re.compile(r"[^\x21-\x7e]")
# RFC 5424 section 6.3.3, and without dots and a digit in front: receivers take a dot for nesting, and `@PEN.1` for
# a longer enterprise number.
_NOT_SD_NAME = re.compile(r'[^\x21-\x7e]|[="\].]|^(?=[0-9])')
_SD_NAME_OCTETS = 32
_LONG, _SHORT = 64, 16
"""Octets left of each free value when the message would not fit otherwise."""
_ID_OCTETS = 36  # a UUID

_BEFORE_TEXT = b" \xef\xbb\xbf"  # SP and the BOM that says MSG is UTF-8, RFC 5424 section 6.4

_Params = dict[str, str]


class Formatter:
    """Formats events for one receiver."""

    def __init__(self, origin: AgentIdentity, *, facility: int, process_id: str, max_bytes: int) -> None:
        if max_bytes < MIN_MAX_BYTES:
            raise ValueError(f"max_bytes: at least {MIN_MAX_BYTES}")
        self._origin = origin
        self._max_bytes = max_bytes
        self._assembler = HeaderAssembler(origin, facility=facility, process_id=process_id)

    def format(self, event: Event, *, sequence_id: int, synced: bool) -> bytes:
        """The whole message without framing, never longer than `max_bytes`.

        The text gives way first, then the runbook, then the labels, then the ends of long values.
        """
        heads = (self._head(shrunk, sequence_id=sequence_id, synced=synced) for shrunk in shrinking(event))
        head = next(head for head in heads if len(head) <= self._max_bytes)  # MIN_MAX_BYTES lets the last one fit
        text = cut(one_line(event.text), self._max_bytes - len(head) - len(_BEFORE_TEXT))
        return head + _BEFORE_TEXT + text.encode() if text else head

    def _head(self, event: Event, *, sequence_id: int, synced: bool) -> bytes:
        """Header and structured data."""
        return self._assembler.head(
            level=level_of(event),
            time=event.time,
            message_id=event.kind.value,
            structured_data=_structured_data(event, self._origin, sequence_id=sequence_id, synced=synced),
        )


class HeaderAssembler:
    """The library's formatter, with what it looks up in its module replaced for this use alone.

    It knows three registered SD-IDs and would turn `alarm` (RFC 5674) into `alarm@PEN`. For each message it looks up
    the local time zone, which reads files and raises on an odd $TZ. It takes neither as an argument. So its function is
    bound to a copy of its module's names: the module itself, which another part of the process may use, stays as it is.
    """

    def __init__(self, origin: AgentIdentity, *, facility: int, process_id: str) -> None:
        names = {
            **vars(library),
            "REGISTERED_SD_IDs": ("timeQuality", "origin", "meta", "alarm"),
            "datetime": _Timestamp,
            "get_localzone": lambda: UTC,
        }
        self._build = FunctionType(library.Rfc5424SysLogHandler.build_msg.__code__, names)
        self._handler = library.Rfc5424SysLogHandler(
            stream=io.BytesIO(),  # opens no socket
            hostname=_header_field(origin.host_name) or _header_field(origin.agent_name) or "-",
            appname=APP_NAME,
            procid=_header_field(process_id) or "-",
            facility=facility,
            enterprise_id=str(origin.enterprise_id),
        )

    def head(self, *, level: str, time: float, message_id: str, structured_data: Mapping[str, _Params]) -> bytes:
        """A message without MSG, which the library leaves away with its SP where the text is empty."""
        record = logging.makeLogRecord(
            {
                "levelname": level,
                "created": time,
                "msg": "",
                "args": None,
                "msgid": message_id,
                "structured_data": structured_data,
            }
        )
        head: bytes = self._build(self._handler, record)
        return head


class _Timestamp:
    """For the library's `datetime`: TIMESTAMP of RFC 5424 section 6.2.3, always with a fraction and a "Z"."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @classmethod
    def fromtimestamp(cls, seconds: float, _: object) -> Self:
        return cls(seconds)

    def isoformat(self) -> str:
        return rfc3339(self._seconds) or "-"  # NILVALUE: not representable as a date


def _structured_data(event: Event, origin: AgentIdentity, *, sequence_id: int, synced: bool) -> Mapping[str, _Params]:
    elements: dict[str, _Params] = {}
    if event.kind not in _KIND_LEVELS:
        elements["alarm"] = {
            "resource": f"{event.source}/{event.resource}" if event.resource else event.source,
            "probableCause": event.cause or "thresholdCrossed",
            "perceivedSeverity": event.severity.value,
        }
    elements[f"hsm@{origin.enterprise_id}"] = {
        "eventId": event.event_id,
        "alarmId": event.alarm_id,
        "source": event.source,
        "resource": event.resource,
        "metric": event.metric,
        "value": event.value,
        "unit": event.unit,
        "threshold": event.threshold,
        "severity": event.severity.value,
        "rule": event.rule,
        "runbook": event.runbook,
    }
    if labels := label_params(event.labels):
        elements[f"labels@{origin.enterprise_id}"] = labels
    elements["origin"] = {
        "software": APP_NAME,
        "swVersion": origin.version[:32],
        "enterpriseId": str(origin.enterprise_id),
    }
    elements["meta"] = {"sequenceId": str(sequence_id)}
    elements["timeQuality"] = {"tzKnown": "1", "isSynced": "1" if synced else "0"}
    return {sd_id: {name: one_line(value) for name, value in params.items()} for sd_id, params in elements.items()}


def octet_counted(message: bytes) -> bytes:
    """`MSG-LEN SP SYSLOG-MSG`: the framing over TCP (RFC 6587 section 3.4.1) and TLS (RFC 5425 section 4.3).

    Never newline framing: a receiver can't recognise the end of a truncated message there.
    """
    return b"%d %b" % (len(message), message)


def label_params(labels: tuple[tuple[str, str], ...]) -> _Params:
    """Labels under names that are valid and differ by more than case (many receivers fold it and keep one)."""
    params: _Params = {}
    taken: set[str] = set()
    for label, value in labels:
        name = plain = _NOT_SD_NAME.sub("_", label)[:_SD_NAME_OCTETS] or "_"
        count = 1
        while name.lower() in taken:
            count += 1
            name = plain[: _SD_NAME_OCTETS - len(f"_{count}")] + f"_{count}"
        taken.add(name.lower())
        params[name] = value
    return params


def level_of(event: Event) -> str:
    """The library's name of an event's severity."""
    return _KIND_LEVELS.get(event.kind) or _LEVELS[event.severity]


def shrinking(event: Event) -> Iterator[Event]:
    """The event with less and less in it besides its text; the last one fits in `MIN_MAX_BYTES`."""
    yield event
    yield replace(event, runbook="")
    bare = replace(event, runbook="", labels=())
    yield bare
    yield _clipped(bare, _LONG)
    yield _clipped(bare, _SHORT)


def _clipped(event: Event, octets: int) -> Event:
    # Source and resource stand in two elements, and count twice.
    return replace(
        event,
        event_id=_clip(event.event_id, _ID_OCTETS),
        alarm_id=_clip(event.alarm_id, _ID_OCTETS),
        source=_clip(event.source, octets),
        resource=_clip(event.resource, octets),
        metric=_clip(event.metric, octets),
        value=_clip(event.value, octets),
        unit=_clip(event.unit, octets),
        threshold=_clip(event.threshold, octets),
        rule=_clip(event.rule, octets),
        cause=_clip(event.cause, octets),
        agent=_clip(event.agent, octets),
    )


def _clip(value: str, octets: int) -> str:
    """The beginning of a value that takes no more than so many octets on the wire, escapes included."""
    value = cut(one_line(value), octets)
    while len(value.encode()) + sum(map(value.count, '"\\]')) > octets:
        value = value[:-1]
    return value


def cut(text: str, octets: int) -> str:
    """The beginning of a text in so many octets of UTF-8."""
    return text.encode()[: max(octets, 0)].decode("utf-8", "ignore")


def _header_field(text: str) -> str:
    return _NOT_PRINTUSASCII.sub("", text)
