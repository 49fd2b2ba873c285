"""Of every source, and of tokens and slots."""

from __future__ import annotations

from hsm_agent.metrics.base import CAPACITY, COMMUNICATION, STORAGE, Metric


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


METRICS = (
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
    Metric(
        "token_info", "", "info", "Identity of the token: label, serial, manufacturer, model, hardware and firmware."
    ),
    Metric("slot_info", "", "info", "Identity of the slot: slot id, description, manufacturer, hardware and firmware."),
)
