"""A present at three in the morning: much is wrong, names are hostile, and there is a day of history."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.messages import render
from hsm_agent.evaluate.state import HistoryKey, Silence
from hsm_agent.evaluate.trends import Points
from hsm_agent.model import ActiveAlarm, Labels, Reading, Severity, SourceState, SourceStatus
from tests.fakes.present import MONOTONIC, NOW, known_snapshot, make_alarm, make_reading

if TYPE_CHECKING:
    from hsm_agent.serve.snapshot import Snapshot

HOUR = 3600.0
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "\u202egnp.txt",
    "محفظة المدفوعات",
    "付款 HSM",
    "{{ 7*7 }}{% for x in y %}",
    "W" * 120,
    "&lt;b&gt; &amp; \x00\x1b[31m",
)
"""Labels that want to be more than text."""


def day(*values: float, spacing: float = HOUR) -> Points:
    """A history that ends now."""
    times = [NOW - spacing * ago for ago in range(len(values) - 1, -1, -1)]
    return Points(array("d", times), array("d", values))


def alarm(
    rule: str, severity: Severity, place: tuple[str, str, str], *, value: str, limit: str, unit: str = "percent",
    age: float = 900.0, silenced: bool = False, labels: Labels = (), runbook: str = "",
) -> ActiveAlarm:  # fmt: skip
    """An alarm of a default rule with that rule's own text."""
    source, resource, metric = place
    template = next(each.text for each in DEFAULT_RULES if each.name == rule)
    known = {"where": "/".join(filter(None, (source, resource))), "source": source, "resource": resource}
    known |= {"amount": f"{value} %" if unit == "percent" else value, "limit": f"{limit} %", "note": "16 an hour"}
    before = make_alarm(severity=severity, resource=resource)
    event = replace(
        before.event, text=render(template, known, ()), rule=rule, source=source, metric=metric, value=value,
        threshold=limit, unit=unit, labels=labels, runbook=runbook,
    )  # fmt: skip
    return replace(
        before, alarm_id=f"{rule}-{resource}"[:40], rule=rule, series=(source, resource, metric, ()), event=event,
        severity=severity, since=NOW - age, silenced=silenced,
    )  # fmt: skip


def token(source: str, name: str, serial: str, **percents: float) -> list[Reading]:
    """The readings of one token; `percents` by memory, storage, sessions and audit."""
    info = {"label": name, "serial": serial, "model": "K7 Base", "firmware": "7.8.4", "manufacturer": "Vendor"}
    found = [
        make_reading("token_present", 1, source=source, resource=name),
        make_reading("token_initialized", 1, source=source, resource=name),
        make_reading("token_info", 1, source=source, resource=name, labels=tuple(sorted(info.items()))),
    ]
    metrics = {
        "memory": "token_memory_private_used_percent",
        "storage": "token_storage_used_percent",
        "sessions": "token_sessions_used_percent",
        "audit": "audit_used_percent",
    }
    found += [make_reading(metrics[key], value, source=source, resource=name) for key, value in percents.items()]
    if "sessions" in percents:
        opened = round(percents["sessions"] * 20)
        found += [
            make_reading("token_sessions", opened, source=source, resource=name),
            make_reading("token_sessions_max", 2000, source=source, resource=name),
        ]
    return found


def night(*, tokens: int = 0) -> Snapshot:
    """The present; with that many further tokens that are well."""
    readings = [
        *token("luna-a", "payments", "1234567890123", memory=61.0, storage=97.2, sessions=88.0, audit=83.0),
        make_reading("audit_seconds_to_full", 2700.0),
        *token("luna-a", "root-ca", "1234567890124", memory=12.0, storage=14.5, sessions=1.5, audit=83.0),
        make_reading("audit_seconds_to_full", math.inf, resource="root-ca"),
        *token("luna-b", "tls-edge", "1234567890125", memory=48.0, storage=52.0, sessions=35.0),
        make_reading("token_pin_count_low", 1, source="luna-b", resource="tls-edge"),
        make_reading("token_present", 0, source="luna-b", resource="escrow"),
    ]
    for number, name in enumerate(HOSTILE):
        readings += token("luna-b", name, f"99000000000{number:02d}", memory=5.0 + number)
    for number in range(tokens):
        readings += token("luna-b", f"tenant-{number:05d}", f"77{number:08d}", memory=number % 70, sessions=number % 50)
    base = known_snapshot()
    status = SourceStatus(name="luna-b", kind="pkcs11", every_seconds=60, state=SourceState.UP, last_success=MONOTONIC)
    return replace(
        base,
        readings=(*(each for each in base.readings if each.resource != "payments"), *readings),
        sources={**base.sources, "luna-b": status},
        alarms=_alarms(),
        silences=(
            Silence(
                silence_id="s1", until=NOW + 7200, reason="firmware update, change 4711", by_uid=0, created=NOW - 100,
                source="luna-b", resource="tls-*",
            ),
        ),
        histories=_histories(),
    )  # fmt: skip


def _alarms() -> tuple[ActiveAlarm, ...]:
    storage, sessions = "token_storage_used_percent", "token_sessions_used_percent"
    return (
        alarm("token-sessions", Severity.WARNING, ("luna-a", "payments", sessions), value="88", limit="80"),
        alarm(
            "token-storage", Severity.CRITICAL, ("luna-a", "payments", storage), value="97.2", limit="95", age=2 * HOUR,
            runbook="https://wiki.example.net/hsm/storage",
        ),
        alarm("audit-fill", Severity.CRITICAL, ("luna-a", "payments", "audit_used_percent"), value="83", limit="80"),
        alarm(
            "source-down", Severity.CRITICAL, ("soft", "", "source_age_seconds"), value="600", limit="180",
            unit="seconds", runbook="javascript:alert(4)",
        ),
        alarm(
            "token-missing", Severity.WARNING, ("luna-b", "escrow", "token_present"), value="0", limit="", unit="",
            age=86400.0,
        ),
        alarm(
            "pin", Severity.WARNING, ("luna-b", "tls-edge", "token_pin_state"), value="1", limit="1", unit="",
            silenced=True,
        ),
        alarm("token-memory", Severity.WARNING, ("luna-b", HOSTILE[0], "token_memory_private_used_percent"), value="76",
            limit="75", runbook='"><script>alert(5)</script>'),
    )  # fmt: skip


def _histories() -> dict[HistoryKey, Points]:
    def key(resource: str, metric: str, spacing: float = HOUR) -> HistoryKey:
        return ("luna-a", resource, metric, ()), spacing

    climbing = [78.0 + number * 0.8 for number in range(25)]
    waves = [900 + 500 * math.sin(number / 19) + number * 7 for number in range(120)]
    return {
        key("payments", "token_storage_used_percent"): day(*climbing),
        key("payments", "token_memory_private_used_percent"): day(*[61.0] * 25),
        key("payments", "token_sessions", 720.0): day(*waves, spacing=720.0),
        key("root-ca", "token_storage_used_percent"): day(*[14.0] * 12, *[14.5] * 13),
    }
