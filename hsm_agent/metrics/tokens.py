"""Metrics of every source, of tokens and slots, of the HSM behind a token, and of checks beside them."""

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

HSM = (
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
"""Audit store, storage, policies and high availability of the HSM, as a PKCS#11 library of the vendor tells them."""

CHECKS = (
    Metric("certificate_info", "", "info", "What a certificate says: subject, issuer, serial number, end."),
    Metric("declared_seconds_left", "seconds", "gauge", "Time until a declared date; below 0 it is past."),
    Metric("declared_age_seconds", "seconds", "gauge", "Time since a declared date, or since a job left its mark."),
    Metric("canary_ok", "", "state", "The canary's last attempt ended in a good signature.", COMMUNICATION),
    Metric("canary_seconds", "seconds", "gauge", "How long the canary's signature took, login not counted."),
)
"""Certificates, declared dates, and the canary's signature."""
