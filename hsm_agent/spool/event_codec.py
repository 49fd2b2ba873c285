"""Events as stored bytes and back. Tolerant of fields that an older or newer version lacks or adds."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from hsm_agent.model import Event, EventKind, Severity

_TEXTS = tuple(
    field.name for field in dataclasses.fields(Event) if field.name not in {"kind", "severity", "time", "labels"}
)
_REQUIRED = ("event_id", "text", "agent")


def encode(event: Event) -> bytes:
    """The event as ASCII JSON; empty fields are left out. ASCII, so that even a lone surrogate survives."""
    fields: dict[str, Any] = {name: value for name in _TEXTS if (value := getattr(event, name))}
    fields |= {"kind": event.kind.value, "severity": event.severity.value, "time": event.time}
    if event.labels:
        fields["labels"] = event.labels
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def decode(payload: bytes) -> Event:
    """The event of stored bytes; ValueError if they are none."""
    try:
        fields = json.loads(payload)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError("not an object")  # noqa: TRY004 - what is stored is wrong, not what was passed
    texts = {name: fields.get(name, "") for name in _TEXTS if name in _REQUIRED or name in fields}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("a text is not a string")
    try:
        return Event(
            kind=EventKind(fields["kind"]),
            severity=Severity(fields["severity"]),
            time=_time(fields["time"]),
            labels=tuple((str(name), str(value)) for name, value in fields.get("labels", ())),
            **texts,
        )
    except (KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(f"a field is missing or malformed: {error}") from error


def _time(value: Any) -> float:
    time = float(value)
    if not math.isfinite(time):
        raise ValueError(f"no time: {value}")
    return time
