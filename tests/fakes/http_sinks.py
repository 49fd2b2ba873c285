"""Builds the sinks that speak HTTP as the configuration does, and keeps their clock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from hsm_agent.deliver import AnySink
from tests.fakes.syslog_sinks import CONTEXT

if TYPE_CHECKING:
    from hsm_agent.deliver.base import Sink, SinkSettings
    from tests.fakes.http_receiver import Received

NOW = 1_700_000_100.0


def settings(kind: str, to: str, **options: Any) -> SinkSettings:
    found: SinkSettings = TypeAdapter(AnySink).validate_python({"name": "out", "kind": kind, "to": to, **options})
    return found


def build(kind: str, to: str, **options: Any) -> Sink:
    """A sink with a time-out of a second, and a clock that stands still."""
    sink = settings(kind, to, **({"timeout": "1s"} | options)).build(CONTEXT)
    sink._clock = lambda: NOW  # type: ignore[attr-defined] # the protocol has no clock, these two sinks have
    return sink


def json_of(request: Received) -> Any:
    return json.loads(request.body)
