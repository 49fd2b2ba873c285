"""Of the HSM behind a token: its audit store, its storage, its doings."""

from __future__ import annotations

from hsm_agent.metrics.base import STORAGE, Metric

METRICS = (
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
    Metric("hsm_firmware_info", "", "info", "Firmware version of the module."),
)
