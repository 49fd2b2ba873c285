"""Of the HSM behind a token: its audit store, its storage, its doings."""

from __future__ import annotations

from hsm_agent.metrics.base import COMMUNICATION, STORAGE, Metric

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
    Metric("hsm_storage_total_bytes", "bytes", "gauge", "Storage of the whole HSM."),
    Metric(
        "hsm_storage_used_bytes",
        "bytes",
        "gauge",
        "Storage of the HSM that is given to partitions; all of it is the healthy state.",
    ),
    Metric("hsm_storage_free_bytes", "bytes", "gauge", "Storage of the HSM that is not given to a partition yet."),
    Metric("hsm_storage_used_percent", "percent", "gauge", "Share of the HSM's storage that is given to partitions."),
    Metric("hsm_uptime_seconds", "seconds", "gauge", "Time since the HSM started."),
    Metric("hsm_utilization_percent", "percent", "gauge", "Share of time the HSM was busy since the last reading."),
    Metric("hsm_capability", "", "gauge", "Value of a capability of the HSM."),
    Metric("hsm_policy", "", "gauge", "Value of a policy of the HSM."),
    Metric("hsm_policies_info", "", "info", "Digest of all policies and capabilities of the HSM."),
    Metric("token_policy", "", "gauge", "Value of a policy of the partition."),
    Metric("token_policies_info", "", "info", "Digest of all policies of the partition."),
    Metric(
        "token_login_attempts_left",
        "",
        "gauge",
        "Wrong logins a role may still make before it is locked, or the HSM zeroized.",
    ),
    Metric("token_role_locked", "", "state", "The role is locked out."),
    Metric("ha_members_up", "", "gauge", "Members of the HA group that can be used.", COMMUNICATION),
    Metric("ha_members_expected", "", "gauge", "Members the HA group has."),
    Metric("ha_member_up", "", "state", "This member of the HA group can be used.", COMMUNICATION),
    Metric("hsm_tampered", "", "state", "The HSM has recorded a tamper, or was zeroized."),
    Metric("hsm_transport_mode", "", "state", "The HSM is in secure transport mode."),
    Metric("audit_role_initialized", "", "state", "The HSM's audit role is initialized."),
    Metric(
        "audit_export_working",
        "",
        "state",
        "The last attempt of the audit log's daemon to fetch records succeeded.",
        STORAGE,
    ),
)
