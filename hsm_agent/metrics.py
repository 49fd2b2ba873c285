"""Every metric there is: name, unit, type, one sentence, and the probable cause an alarm on it names.

A rule may name only what stands here; `/metrics` and the documentation take their help texts from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Type = Literal["gauge", "counter", "state", "info"]

STORAGE = "storageCapacityProblem"
CAPACITY = "resourceAtOrNearingCapacity"
COMMUNICATION = "communicationsSubsystemFailure"
CORRUPT = "corruptData"
THRESHOLD = "thresholdCrossed"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `unit` is the word shown beside values; empty for counts and states."""

    name: str
    unit: str
    type: Type
    help: str
    cause: str = THRESHOLD


def _memory(kind: str) -> list[Metric]:
    return [
        Metric(f"token_memory_{kind}_total_bytes", "bytes", "gauge", f"Size of {kind} token memory."),
        Metric(f"token_memory_{kind}_free_bytes", "bytes", "gauge", f"Free {kind} token memory."),
        Metric(f"token_memory_{kind}_used_bytes", "bytes", "gauge", f"Used {kind} token memory."),
        Metric(f"token_memory_{kind}_used_percent", "percent", "gauge", f"Used share of {kind} token memory.", STORAGE),
    ]


def _pin(prefix: str, who: str) -> list[Metric]:
    return [
        Metric(f"{prefix}_count_low", "", "state", f"A wrong {who} PIN was entered since the last good one."),
        Metric(f"{prefix}_final_try", "", "state", f"One more wrong {who} PIN locks it."),
        Metric(f"{prefix}_locked", "", "state", f"The {who} PIN is locked."),
        Metric(f"{prefix}_state", "", "gauge", f"{who.capitalize()} PIN: 0 well, 1 count low, 2 final try, 3 locked."),
    ]


_ALL: list[Metric] = [
    Metric("source_up", "", "state", "The last poll of the source succeeded.", COMMUNICATION),
    Metric(
        "source_errors",
        "",
        "gauge",
        "Failures in the last poll: 1 for a poll that failed whole, else slots and calls.",
        COMMUNICATION,
    ),
    Metric("source_poll_seconds", "seconds", "gauge", "Duration of the last poll."),
    Metric("source_call_seconds", "seconds", "gauge", "Slowest single call of the last poll."),
    Metric("source_age_seconds", "seconds", "gauge", "Time since the last successful poll.", COMMUNICATION),
    Metric(
        "source_failures_total",
        "",
        "counter",
        "Failed polls and isolated failures since the agent started.",
        COMMUNICATION,
    ),
    Metric("token_present", "", "state", "A token is in the slot.", COMMUNICATION),
    Metric("token_initialized", "", "state", "The token is initialized."),
    *_memory("private"),
    *_memory("public"),
    Metric("token_sessions", "sessions", "gauge", "Open sessions, the agent's own included.", CAPACITY),
    Metric("token_sessions_max", "sessions", "gauge", "Limit of open sessions."),
    Metric("token_sessions_used_percent", "percent", "gauge", "Used share of the session limit.", CAPACITY),
    Metric("token_rw_sessions", "sessions", "gauge", "Open read/write sessions.", CAPACITY),
    Metric("token_rw_sessions_max", "sessions", "gauge", "Limit of read/write sessions."),
    *_pin("token_pin", "user"),
    *_pin("token_so_pin", "security officer"),
    Metric("token_clock_offset_seconds", "seconds", "gauge", "Token clock minus host clock."),
    Metric(
        "token_alive",
        "",
        "state",
        "The token answered C_GenerateRandom in a session of the agent's own.",
        COMMUNICATION,
    ),
    Metric(
        "token_objects", "objects", "gauge", "Objects on the token, as far as they are visible without a PIN.", CAPACITY
    ),
    Metric("token_storage_total_bytes", "bytes", "gauge", "Size of the partition or object store."),
    Metric("token_storage_used_bytes", "bytes", "gauge", "Used part of the partition or object store."),
    Metric("token_storage_free_bytes", "bytes", "gauge", "Free part of the partition or object store."),
    Metric("token_storage_used_percent", "percent", "gauge", "Used share of the partition or object store.", STORAGE),
    Metric("audit_records", "records", "gauge", "Audit records waiting in the module's memory.", STORAGE),
    Metric("audit_capacity_records", "records", "gauge", "Audit records the module's memory can hold."),
    Metric(
        "audit_used_percent", "percent", "gauge", "Used share of the audit store; full stops all cryptography.", STORAGE
    ),
    Metric(
        "audit_seconds_to_full",
        "seconds",
        "gauge",
        "Time until the audit store is full at its present slope; inf while it is not filling.",
        STORAGE,
    ),
    Metric("hsm_commands_total", "", "counter", "Commands the module has executed."),
    Metric(
        "token_info", "", "info", "Identity of the token: label, serial, manufacturer, model, hardware and firmware."
    ),
    Metric("slot_info", "", "info", "Identity of the slot: slot id, description, manufacturer, hardware and firmware."),
    Metric("hsm_firmware_info", "", "info", "Firmware version of the module."),
    Metric("spool_entries", "entries", "gauge", "Events not yet accepted by every sink.", STORAGE),
    Metric(
        "spool_used_percent",
        "percent",
        "gauge",
        "Used share of the spool, by entries or bytes, whichever is more.",
        STORAGE,
    ),
    Metric("spool_dropped_total", "", "counter", "Events dropped because the spool was full.", STORAGE),
    Metric(
        "spool_failed",
        "",
        "state",
        "The disk refuses, or only the spool's reserve is left: events go out from memory.",
        STORAGE,
    ),
    Metric("sink_up", "", "state", "The sink accepted what it was last sent.", COMMUNICATION),
    Metric(
        "sink_down_seconds",
        "seconds",
        "gauge",
        "How long the sink has been failing; 0 while it is well.",
        COMMUNICATION,
    ),
    Metric("sink_queued", "entries", "gauge", "Events waiting for this sink."),
    Metric("sink_delivered_total", "", "counter", "Events the sink accepted.", COMMUNICATION),
    Metric("sink_failed_total", "", "counter", "Attempts that failed.", COMMUNICATION),
    Metric(
        "sink_dropped_total",
        "",
        "counter",
        "Events it never gets: refused for ever, or dropped by a full spool.",
        COMMUNICATION,
    ),
    Metric("event_loop_lag_seconds", "seconds", "gauge", "Longest delay of the event loop since the last reading."),
    Metric("process_cpu_seconds_total", "seconds", "counter", "CPU time of the agent, and of each worker by name."),
    Metric(
        "process_resident_memory_bytes", "bytes", "gauge", "Resident memory of the agent, and of each worker by name."
    ),
    Metric("process_open_fds", "", "gauge", "Open file descriptors of the agent."),
    Metric("process_start_time_seconds", "seconds", "gauge", "Start of the process, UTC seconds since the epoch."),
]

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name, in the order of the documentation."""


def unit(name: str) -> str:
    """Unit of a metric; empty for one that is not in the table."""
    metric = METRICS.get(name)
    return metric.unit if metric else ""
