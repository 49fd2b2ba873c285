"""Events for the syslog side: a plain one to change, numbered ones, and any one that the type allows."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hsm_agent.model import Event, EventKind, Severity

_PLAIN = Event(
    event_id="0191d5a4-0000-7000-8000-000000000001",
    kind=EventKind.RAISED,
    severity=Severity.CRITICAL,
    time=1_700_000_000.25,
    text="Private memory of token luna-a/SIGN is 91 % used (limit 90 %).",
    agent="hsm-monitor-1",
    alarm_id="0191d5a4-0000-7000-8000-00000000000a",
    source="luna-a",
    resource="SIGN",
    metric="token_memory_private_used_percent",
    value="91",
    unit="%",
    threshold="90",
    rule="token-memory",
    runbook="https://wiki.example.net/hsm/memory",
    cause="storageCapacityProblem",
    labels=(("environment", "production"), ("site", "north")),
)


def event(**changes: Any) -> Event:
    """A raised alarm about a token's memory, with some of it changed."""
    return replace(_PLAIN, **changes)


def numbered(count: int, *, first: int = 0) -> list[Event]:
    """Events with ids of their own whose text says which one it is."""
    numbers = range(first, first + count)
    return [event(event_id=str(uuid.UUID(int=number + 1)), text=f"number {number}") for number in numbers]


def any_event() -> st.SearchStrategy[Event]:
    """Whatever the types allow: control characters, lone surrogates, empty and long texts, odd label names."""
    odd = st.sampled_from('"\\] =@\n\r\0\t\x7f\x85\u2028\ufeff\u202eä漢😀')
    characters = st.characters(exclude_categories=()) | odd
    text = st.text(characters, max_size=40)
    labels = st.lists(st.tuples(text, text), max_size=6).map(lambda pairs: tuple(sorted(dict(pairs).items())))
    return st.builds(
        Event,
        event_id=st.uuids().map(str),
        kind=st.sampled_from(EventKind),
        severity=st.sampled_from(Severity),
        time=st.floats(min_value=0, max_value=4_000_000_000),  # rsyslog takes 1970 to 2099
        text=st.text(characters, max_size=200),
        agent=text,
        alarm_id=st.just("") | st.uuids().map(str),
        source=text,
        resource=text,
        metric=text,
        value=text,
        unit=text,
        threshold=text,
        rule=text,
        runbook=text,
        cause=text,
        labels=labels,
    )


def sample(count: int) -> list[Event]:
    """So many events spread over `any_event`, the same each time."""
    found: list[Event] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(any_event())
    def collect(one: Event) -> None:
        found.append(replace(one, event_id=str(uuid.UUID(int=len(found) + 1))))

    collect()
    return found
