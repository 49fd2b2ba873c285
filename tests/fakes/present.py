"""A known present: two sources, two tokens, an alarm, a silence, two sinks; every corner of the exposition in it."""

from __future__ import annotations

import math

from hsm_agent.evaluate.state import Silence
from hsm_agent.model import (
    ActiveAlarm,
    Event,
    EventKind,
    Guarantee,
    Labels,
    Reading,
    Severity,
    SinkState,
    SinkStatus,
    SourceState,
    SourceStatus,
)
from hsm_agent.serve.snapshot import Snapshot, snapshot
from hsm_agent.spool.entries import SinkQueueStats, SpoolStats
from hsm_agent.store import Store

STARTED = 1_700_000_000.0
NOW = STARTED + 3600
MONOTONIC = 5000.0

LABELS: dict[str, Labels] = {
    "luna-a": (("environment", "production"), ("rack-unit", "12"), ("source", "overruled")),
    "soft": (("environment", "test"),),
    "agent": (("environment", "production"),),
}


def make_reading(
    metric: str, value: float | None, *, source: str = "luna-a", resource: str = "payments", labels: Labels = ()
) -> Reading:
    """A reading of the known present; without a value it is unavailable."""
    reason = "" if value is not None else "CKR_DEVICE_ERROR from C_GetTokenInfo"
    return Reading(
        source=source, resource=resource, metric=metric, value=value, time=NOW - 30, labels=labels, reason=reason
    )


def make_alarm(*, severity: Severity = Severity.WARNING, resource: str = "payments") -> ActiveAlarm:
    """A raised alarm on a token's memory."""
    series = ("luna-a", resource, "token_memory_private_used_percent", ())
    event = Event(
        event_id="3f0e8f3e-0000-4000-8000-000000000002",
        kind=EventKind.RAISED,
        severity=severity,
        time=NOW - 60,
        text="token payments: 81 % of private memory used",
        agent="hsm-monitor-1",
        alarm_id="3f0e8f3e-0000-4000-8000-000000000001",
        source="luna-a",
        resource=resource,
        metric="token_memory_private_used_percent",
        value="81",
        unit="percent",
        threshold="75",
        rule="token-memory",
    )
    return ActiveAlarm(
        alarm_id=event.alarm_id, rule="token-memory", series=series, severity=severity, since=NOW - 60, event=event
    )


def _readings() -> list[Reading]:
    info = (("label", "payments"), ("manufacturer", 'Vendor "A"'), ("model", "K7\\S"), ("serial", "1234567890"))
    return [
        make_reading("source_up", 1, resource=""),
        make_reading("source_age_seconds", 0.5, resource=""),
        make_reading("source_failures_total", 3, resource=""),
        make_reading("token_present", 1),
        make_reading("token_initialized", 1),
        make_reading("token_info", 1, labels=info),
        make_reading("token_memory_private_total_bytes", 14_286_412),
        make_reading("token_memory_private_used_percent", 81.25),
        make_reading("token_sessions", None),
        make_reading("token_pin_state", 1),
        make_reading("audit_seconds_to_full", math.inf),
        make_reading("hsm_commands_total", 9_007_199_254_740_991, resource=""),
        make_reading("source_up", 0, source="soft", resource=""),
        make_reading("source_age_seconds", 600.0, source="soft", resource=""),
        make_reading("token_present", 1, source="soft", resource="münze\nalt"),
        make_reading("token_sessions", 0, source="soft", resource="münze\nalt"),
        make_reading("process_cpu_seconds_total", 12.5, source="agent", resource=""),
        make_reading("process_cpu_seconds_total", 3.25, source="agent", resource="luna-a"),
        make_reading("sink_up", 1, source="agent", resource="siem"),
        make_reading("spool_dropped_total", 0, source="agent", resource=""),
    ]


def known_store() -> Store:
    """The store behind the known present."""
    store = Store(agent_name="hsm-monitor-1", started=STARTED, labels=LABELS)
    store.polls = 120
    store.update(_readings())
    store.sources = {
        "luna-a": SourceStatus(
            name="luna-a",
            kind="pkcs11",
            every_seconds=60,
            state=SourceState.UP,
            last_success=MONOTONIC - 12.5,
            last_poll_seconds=0.02,
            failures=3,
        ),
        "soft": SourceStatus(
            name="soft",
            kind="pkcs11",
            every_seconds=60,
            state=SourceState.DOWN,
            last_poll_seconds=10.0,
            failures=9,
            last_error="the worker gave no answer within 10 s",
        ),
    }
    store.sinks = {
        "siem": SinkStatus(
            name="siem", kind="syslog relp", guarantee=Guarantee.AT_LEAST_ONCE, state=SinkState.UP, delivered=17
        ),
        "noc": SinkStatus(
            name="noc",
            kind="snmp inform",
            guarantee=Guarantee.AT_LEAST_ONCE,
            state=SinkState.RETRYING,
            queued=2,
            failed=5,
            failing_since=MONOTONIC - 90,
            last_error="no response from 192.0.2.10:162 within 2 s",
        ),
    }
    alarm = make_alarm()
    store.set_alarms({(alarm.rule, alarm.series): alarm})
    return store


SPOOL = SpoolStats(
    entries=2,
    bytes=1800,
    used_percent=0.5,
    dropped_total=0,
    reason="",
    sinks={"noc": SinkQueueStats(queued=2, dead_letters=1, dead_letters_total=1, dropped_total=0)},
)
SILENCE = Silence(
    silence_id="s1", until=NOW + 7200, reason="firmware update", by_uid=0, created=NOW - 100, source="soft"
)


def snapshot_of(store: Store) -> Snapshot:
    """The store as it is at the known moment."""
    return snapshot(store, spool=SPOOL, silences=(SILENCE,), now=NOW, monotonic=MONOTONIC)


def known_snapshot() -> Snapshot:
    """The known present."""
    return snapshot_of(known_store())
