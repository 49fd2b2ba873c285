"""Events as CEF, LEEF or JSON within an RFC 5424 message, for SIEMs that read those. Pure.

The header is that of rfc5424.py, so that transports and receivers treat the record as before; structured data is empty,
as the body says all of it, and there is no BOM, which these formats do not know: MSG is MSG-ANY, in UTF-8 all the same.

- CEF: ArcSight Common Event Format, version 0, "Implementing ArcSight CEF", revision 25.
- LEEF: Log Event Extended Format, version 2.0, of IBM QRadar's documentation.
- JSON: the members of event_json.py.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Literal

from hsm_agent.model import AgentIdentity, Event, EventKind, Severity
from hsm_agent.text import one_line
from hsm_agent.wire.event_json import event_members, json_octets
from hsm_agent.wire.syslog.rfc5424 import APP_NAME, MIN_MAX_BYTES, HeaderAssembler, cut, level_of, shrinking

if TYPE_CHECKING:
    from collections.abc import Iterator

BodyFormat = Literal["cef", "leef", "json"]

_CEF_SEVERITIES = {
    Severity.CRITICAL: 10,
    Severity.MAJOR: 8,
    Severity.MINOR: 6,
    Severity.WARNING: 5,
    Severity.INDETERMINATE: 3,
    Severity.CLEARED: 1,
}
"""CEF has 0 to 10, LEEF 1 to 10: 9 and above is very high, 7 and 8 high, 4 to 6 medium, below low."""
_NAMES = {
    EventKind.RAISED: "HSM alarm raised",
    EventKind.CHANGED: "HSM alarm changed",
    EventKind.CLEARED: "HSM alarm cleared",
    EventKind.TEST: "Test notification",
    EventKind.HEARTBEAT: "Heartbeat",
    EventKind.NOTICE: "Notice of the agent",
}
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_DELIMITERS = "^~`;,#@!$%&*+<>?/"
"""Of LEEF's attributes, tried in this order: it escapes nothing, so one must be chosen that stands in no value."""


class BodyFormatter:
    """Formats events for one receiver."""

    def __init__(
        self, origin: AgentIdentity, *, body: BodyFormat, facility: int, process_id: str, max_bytes: int
    ) -> None:
        if max_bytes < MIN_MAX_BYTES:
            raise ValueError(f"max_bytes: at least {MIN_MAX_BYTES}")
        self._origin = origin
        self._body = body
        self._max_bytes = max_bytes
        self._assembler = HeaderAssembler(origin, facility=facility, process_id=process_id)

    def format(self, event: Event, *, sequence_id: int, synced: bool) -> bytes:
        """The whole message without framing, never longer than `max_bytes`; what gives way is as in rfc5424.py."""
        del synced  # only structured data speaks of the clock
        head = self._assembler.head(
            level=level_of(event), time=event.time, message_id=event.kind.value, structured_data={}
        )
        room = self._max_bytes - len(head) - 1
        bare = replace(event, text="")
        found = (shrunk for shrunk in self._shrinking(bare) if len(self._encoded(*shrunk, sequence_id)) <= room)
        shrunk, origin = next(found)  # MIN_MAX_BYTES lets the last one fit
        return head + b" " + self._with_text(shrunk, origin, one_line(event.text), sequence_id, room)

    def _shrinking(self, event: Event) -> Iterator[tuple[Event, AgentIdentity]]:
        shrunk = event
        for shrunk in shrinking(event):
            yield shrunk, self._origin
        yield shrunk, replace(self._origin, host_name="")  # the header has it

    def _with_text(self, event: Event, origin: AgentIdentity, text: str, sequence_id: int, room: int) -> bytes:
        """The body with as much of the text as fits: how many octets escapes take is found by trying."""
        whole = self._encoded(replace(event, text=text), origin, sequence_id)
        if len(whole) <= room:
            return whole
        body = self._encoded(event, origin, sequence_id)  # without text, which is known to fit
        fit, unfit = 0, min(len(text.encode()), room)
        while unfit - fit > 1:
            octets = (fit + unfit) // 2
            tried = self._encoded(replace(event, text=cut(text, octets)), origin, sequence_id)
            if len(tried) <= room:
                fit, body = octets, tried
            else:
                unfit = octets
        return body

    def _encoded(self, event: Event, origin: AgentIdentity, sequence_id: int) -> bytes:
        if self._body == "json":
            return json_octets(event_members(event, origin) | {"sequence_id": sequence_id})
        encode = _cef if self._body == "cef" else _leef
        return encode(event, origin, sequence_id).encode()


def _severity(event: Event, least: int) -> str:
    plain = event.kind in {EventKind.TEST, EventKind.HEARTBEAT, EventKind.NOTICE}
    return str(max(least, 0 if plain else _CEF_SEVERITIES[event.severity]))


def _millis(event: Event) -> str:
    """Milliseconds since the epoch, which both formats take as a time; 0 where it is none."""
    return str(round(event.time * 1000)) if isfinite(event.time) else "0"


def _labels(event: Event) -> str:
    return ", ".join(f"{one_line(name)}={one_line(value)}" for name, value in event.labels)


# CEF


def _cef(event: Event, origin: AgentIdentity, sequence_id: int) -> str:
    header = (APP_NAME, APP_NAME, origin.version, event.rule or event.kind.value, _NAMES[event.kind])
    fields = "|".join(_cef_header(one_line(value)) for value in header)
    extension = " ".join(f"{key}={_cef_value(value)}" for key, value in _cef_extension(event, origin, sequence_id))
    return f"CEF:0|{fields}|{_severity(event, 0)}|{extension}"


def _cef_extension(event: Event, origin: AgentIdentity, sequence_id: int) -> Iterator[tuple[str, str]]:
    """Keys of CEF's own dictionary only, each label once: parsers name fields by it. What has no value is left out."""
    yield "rt", _millis(event)
    yield from _present(
        ("externalId", event.event_id),
        ("cat", event.kind.value),
        ("dvchost", origin.host_name),
        ("deviceExternalId", event.agent),
        ("reason", event.cause),
    )
    for key, name, value in (
        ("cs1", "source", event.source),
        ("cs2", "resource", event.resource),
        ("cs3", "metric", event.metric),
        ("cs4", "value", f"{event.value} {event.unit}".strip()),
        ("cs5", "threshold", event.threshold),
        ("cs6", "alarmId", event.alarm_id),
        ("flexString1", "runbook", event.runbook),
        ("flexString2", "labels", _labels(event)),
    ):
        if value:
            yield key, one_line(value)
            yield f"{key}Label", name
    for key, name, value in (("cfp1", "valueNumber", event.value), ("cfp2", "thresholdNumber", event.threshold)):
        if _DECIMAL.fullmatch(value):
            yield key, value
            yield f"{key}Label", name
    yield "cn1", str(sequence_id)
    yield "cn1Label", "sequenceId"
    yield from _present(("msg", event.text))


def _present(*pairs: tuple[str, str]) -> Iterator[tuple[str, str]]:
    return ((key, one_line(value)) for key, value in pairs if value)


def _cef_header(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _cef_value(text: str) -> str:
    return text.replace("\\", "\\\\").replace("=", "\\=")  # line breaks are blanks already


# LEEF


def _leef(event: Event, origin: AgentIdentity, sequence_id: int) -> str:
    header = (APP_NAME, APP_NAME, origin.version, event.rule or event.kind.value)
    fields = "|".join(one_line(value).replace("|", "_") for value in header)
    pairs = list(_leef_attributes(event, origin, sequence_id))
    texts = "".join(value for _, value in pairs)
    delimiter = next((each for each in _DELIMITERS if each not in texts), "")
    if not delimiter:
        delimiter = _DELIMITERS[0]
        pairs = [(key, value.replace(delimiter, " ")) for key, value in pairs]
    return f"LEEF:2.0|{fields}|{delimiter}|{delimiter.join(f'{key}={value}' for key, value in pairs)}"


def _leef_attributes(event: Event, origin: AgentIdentity, sequence_id: int) -> Iterator[tuple[str, str]]:
    """QRadar's own keys first; the others are custom ones, under the names of syslog's structured data."""
    yield "devTime", _millis(event)
    yield "sev", _severity(event, 1)
    yield from _present(
        ("cat", event.kind.value),
        ("resource", event.resource),
        ("source", event.source),
        ("eventId", event.event_id),
        ("alarmId", event.alarm_id),
        ("severity", event.severity.value),
        ("metric", event.metric),
        ("value", event.value),
        ("unit", event.unit),
        ("threshold", event.threshold),
        ("cause", event.cause),
        ("runbook", event.runbook),
        ("labels", _labels(event)),
        ("agent", event.agent),
        ("identHostName", origin.host_name),
    )
    yield "sequenceId", str(sequence_id)
    yield from _present(("text", event.text))
