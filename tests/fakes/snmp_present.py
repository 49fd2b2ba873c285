"""A known present for the SNMP side: sources, tokens in every state, audit stores, alarms, sinks; and a clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.model import (
    AGENT_SOURCE,
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
from hsm_agent.serve.settings import SnmpServerSettings
from hsm_agent.serve.snmp.responder import Responder
from hsm_agent.store import Store
from hsm_agent.wire.snmp.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

STARTED = 1_700_000_000.0
ENGINE_ID = bytes.fromhex("80001f8805000102030405060708090a0b")
AUTH_SECRET = "authpass12"
PRIVACY_SECRET = "privpass12"
COMMUNITY = "a community"

LUNA: Labels = (
    ("firmware", "7.4"),
    ("hardware", "0.1"),
    ("label", "payments"),
    ("manufacturer", "Zürich Secure"),
    ("model", "Luna K7"),
    ("serial", "1234567890"),
)


@dataclass(slots=True)
class Clock:
    """Both clocks, moved by hand."""

    monotonic: float = 5000.0
    wall: float = STARTED + 3600

    def move(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


def reading(
    metric: str,
    value: float | None,
    *,
    source: str = "luna-a",
    resource: str = "payments",
    labels: Labels = (),
    time: float = STARTED + 3570,
) -> Reading:
    reason = "" if value is not None else "C_GetTokenInfo: CKR_DEVICE_ERROR"
    return Reading(
        source=source, resource=resource, metric=metric, value=value, time=time, labels=labels, reason=reason
    )


def payments() -> list[Reading]:
    values: dict[str, float | None] = {
        "token_present": 1,
        "token_initialized": 1,
        "token_memory_private_total_bytes": 6_000_000_000,
        "token_memory_private_free_bytes": 1_125_000_000,
        "token_memory_private_used_percent": 81.25,
        "token_sessions": 12,
        "token_sessions_max": None,
        "token_pin_count_low": 1,
        "token_pin_final_try": 0,
        "token_pin_locked": 0,
        "token_so_pin_count_low": 0,
        "token_so_pin_final_try": 0,
        "token_so_pin_locked": 0,
        "audit_records": 99060,
        "audit_capacity_records": 198120,
        "audit_used_percent": 50.0,
        "audit_seconds_to_full": float("inf"),
    }
    slot: Labels = (("description", "Slot 3"), ("slot_id", "3"))
    return [
        reading("token_info", 1, labels=LUNA),
        reading("slot_info", 1, labels=slot),
        *(reading(metric, value) for metric, value in values.items()),
    ]


def alarm(
    *, rule: str = "token-memory", severity: Severity = Severity.WARNING, resource: str = "payments", number: int = 1
) -> ActiveAlarm:
    metric = "token_memory_private_used_percent"
    event = Event(
        event_id=f"3f0e8f3e-0000-4000-8000-{number:012}",
        kind=EventKind.RAISED,
        severity=severity,
        time=STARTED + 3540,
        text=f"token {resource}: 81.25 % of private memory used",
        agent="hsm-monitor-1",
        alarm_id=f"aaaaaaaa-0000-4000-8000-{number:012}",
        source="luna-a",
        resource=resource,
        metric=metric,
        value="81.25",
        unit="percent",
        threshold="75",
        rule=rule,
    )
    return ActiveAlarm(
        alarm_id=event.alarm_id,
        rule=rule,
        series=("luna-a", resource, metric, ()),
        severity=severity,
        since=STARTED + 3540,
        event=event,
    )


def raise_alarms(store: Store, alarms: Iterable[ActiveAlarm]) -> None:
    store.set_alarms({(one.rule, one.series): one for one in alarms})


def store() -> Store:
    present = Store(agent_name="hsm-monitor-1", started=STARTED, labels={})
    present.polls = 240
    present.sources = {
        "luna-a": SourceStatus(
            name="luna-a",
            kind="pkcs11",
            every_seconds=60,
            state=SourceState.DEGRADED,
            last_success=4970.0,
            last_poll_seconds=0.0421,
            failures=3,
            last_error="slot 5: C_GetTokenInfo: CKR_DEVICE_ERROR",
        ),
        "soft": SourceStatus(name="soft", kind="pkcs11", every_seconds=60),
    }
    present.update(payments())
    present.update(
        [
            reading("token_present", 0, resource="backup"),
            reading("token_present", 1, source="soft", resource="payments"),
            reading("token_initialized", 0, source="soft", resource="slot 9"),
            reading("spool_entries", 2, source=AGENT_SOURCE, resource=""),
        ]
    )
    present.sinks = {
        "siem": SinkStatus(
            name="siem",
            kind="syslog relp",
            guarantee=Guarantee.AT_LEAST_ONCE,
            state=SinkState.RETRYING,
            queued=2,
            delivered=41,
            failed=1,
            last_error="connection refused",
        ),
        "noc": SinkStatus(name="noc", kind="snmp trap", guarantee=Guarantee.BEST_EFFORT, state=SinkState.UP),
    }
    raise_alarms(present, [alarm()])
    return present


def secret_file(directory: Path, name: str, text: str) -> dict[str, str]:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return {"file": str(path)}


def settings(directory: Path, **changes: object) -> SnmpServerSettings:
    """One user for everything, one for the token `payments`; a community likewise each."""
    auth = {"protocol": "SHA-256", "secret": secret_file(directory, "auth", AUTH_SECRET)}
    privacy = {"protocol": "AES-128", "secret": secret_file(directory, "privacy", PRIVACY_SECRET)}
    narrow = secret_file(directory, "narrow", "payments only")
    given: dict[str, object] = {
        "listen": ["udp:127.0.0.1:0"],
        "system": {"contact": "hsm@example.net", "location": "Zürich, room 3"},
        "users": [
            {"name": "nms", "auth": auth, "privacy": privacy},
            {"name": "payments", "auth": auth, "privacy": privacy, "tokens": ["pay*"]},
        ],
        "communities": [
            {"name": secret_file(directory, "community", COMMUNITY)},
            {"name": narrow, "tokens": ["1234567890"]},
        ],
        **changes,
    }
    return SnmpServerSettings.model_validate(given)


async def load_settings(directory: Path, **changes: object) -> SnmpServerSettings:
    """The same where a loop runs: secrets are read from files."""
    return await asyncio.to_thread(settings, directory, **changes)


async def responder(
    directory: Path,
    present: Store,
    clock: Clock,
    *,
    on_failure: Callable[[str], None] = lambda _address: None,
    **changes: object,
) -> Responder:
    return Responder(
        await load_settings(directory, **changes),
        present,
        Engine(engine_id=ENGINE_ID, boots=7, started=4400.0),
        state_directory=directory,
        on_authentication_failure=on_failure,
        monotonic=lambda: clock.monotonic,
        wall=lambda: clock.wall,
    )
