"""The tables of metrics: of sources and tokens, of the HSM behind them, of appliances and their traps, of the agent."""

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
    """One metric. `unit` is shown beside values; empty for counts and states.

    `of_hsm`: it is about the HSM as a whole, whichever partition it is read from. `worst`: which of several such
    readings counts, so that none hides another; empty: the latest. `cause` is the probable cause that an alarm names.
    """

    name: str
    unit: str
    type: Type
    help: str
    cause: str = THRESHOLD
    of_hsm: bool = False
    worst: Literal["highest", "lowest", ""] = ""


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


TOKENS = (
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

APPLIANCES = (
    Metric("hsm_operational", "", "state", "The appliance says that its HSM is in service.", COMMUNICATION),
    Metric("hsm_requests_total", "", "counter", "Requests the HSM was given."),
    Metric("hsm_request_errors_total", "", "counter", "Requests that ended in an error."),
    Metric("hsm_critical_events_total", "", "counter", "Critical events the HSM has counted."),
    Metric("hsm_noncritical_events_total", "", "counter", "Events that are not critical, as the HSM has counted them."),
    Metric("hsm_load_percent", "percent", "gauge", "Load of the HSM, as it says itself."),
    Metric("hsm_clients", "", "gauge", "Clients connected to the appliance.", CAPACITY),
    Metric("hsm_clients_used_percent", "percent", "gauge", "Used share of the clients the appliance takes.", CAPACITY),
    Metric("hsm_modules", "", "gauge", "HSM modules the appliance or its server has."),
    Metric("hsm_partitions", "", "gauge", "Partitions that exist."),
    Metric("hsm_partitions_max", "", "gauge", "Partitions there may be."),
    Metric("token_activated", "", "state", "The partition is activated: applications can log in to it."),
    Metric("hsm_audit_log_size", "", "gauge", "Size of the HSM's audit log, in the appliance's own unit.", STORAGE),
    Metric("hsm_battery_well", "", "state", "The battery is well."),
    Metric("hsm_clock_offset_seconds", "seconds", "gauge", "Clock of the appliance or its HSM minus host clock."),
    Metric("hsm_info", "", "info", "Identity of the appliance: what it says of itself."),
    Metric("ntls_up", "", "state", "Luna's network service runs.", COMMUNICATION),
    Metric("ntls_clients", "", "gauge", "Clients connected to Luna's network service.", CAPACITY),
    Metric("ntls_links", "", "gauge", "Links open in Luna's network service; a client may have several.", CAPACITY),
    Metric("ntls_connections_total", "", "counter", "Connections of clients to Luna's network service, by result."),
    Metric("sensor_celsius", "celsius", "gauge", "Temperature at a sensor."),
    Metric("sensor_volts", "volts", "gauge", "Voltage at a sensor."),
    Metric("sensor_fan_rpm", "rpm", "gauge", "Speed of a fan."),
    Metric("sensor_well", "", "state", "The appliance calls this sensor, fan or power supply well."),
    Metric("host_uptime_seconds", "seconds", "gauge", "Time since the appliance's system started."),
    Metric("host_load", "", "gauge", "Load average of the appliance's system over five minutes."),
    Metric("host_cpu_used_percent", "percent", "gauge", "Share of processor time in use on the appliance."),
    Metric("host_memory_used_percent", "percent", "gauge", "Used share of the appliance's main memory."),
    Metric("host_disk_used_percent", "percent", "gauge", "Used share of a file system of the appliance.", STORAGE),
    Metric(
        "host_network_received_bytes_total",
        "bytes",
        "counter",
        "Bytes a network interface of the appliance has received.",
    ),
    Metric("host_network_sent_bytes_total", "bytes", "counter", "Bytes a network interface of the appliance has sent."),
    Metric(
        "host_link_up",
        "",
        "state",
        "Network interfaces of an appliance: 0 for one that is down though its administrator wants it up, else 1.",
        COMMUNICATION,
    ),
    Metric("certificate_seconds_left", "seconds", "gauge", "Time until a certificate expires; below 0 it has."),
    Metric("token_zeroized", "", "state", "The role's credential was erased: the partition was zeroized."),
    Metric("audit_logging_configured", "", "state", "Audit logging is configured on the HSM.", STORAGE),
    Metric(
        "hsm_trouble",
        "",
        "state",
        "The appliance reports trouble, whether its HSM is in service or not.",
        COMMUNICATION,
    ),
    Metric("hsm_status_info", "", "info", "State of service of the appliance, its codes and what they mean."),
)

TRAPS = (
    Metric("vendor_alarm", "", "gauge", "An alarm that the appliance itself raised: 0 cleared, 1 warning, 2 critical."),
    Metric("vendor_alarm_age_seconds", "seconds", "gauge", "Time since the appliance last sent a trap of this alarm."),
    Metric("traps_received_total", "", "counter", "Traps and informs that were authentic."),
    Metric("traps_unmapped_total", "", "counter", "Traps and informs that were authentic and that no map knows."),
    Metric(
        "traps_refused_total",
        "",
        "counter",
        "Datagrams to the trap listener that were not authentic, by the device whose address they came from.",
        COMMUNICATION,
    ),
    Metric(
        "traps_lost_total",
        "",
        "counter",
        "Datagrams to the trap listener for which there was no room, by the device whose address they came from.",
        COMMUNICATION,
    ),
    Metric(
        "traps_malformed_total",
        "",
        "counter",
        "Datagrams to the trap listener that could not be read as a whole, by the device whose address they came from.",
        COMMUNICATION,
    ),
    Metric("traps_dropped_total", "", "counter", "Datagrams to the trap listener that came to nothing.", COMMUNICATION),
)
"""Alarms of appliances, and counters of the datagrams."""

SUCCESS = "SUCCESS"
"""The label `result` of `trail_events_total` where an operation did not fail."""
UNVERIFIABLE = "unverifiable"
"""How the reason of `trail_chain_intact` begins where the trail's hashes cannot be verified."""

TRAILS = (
    Metric(
        "trail_chain_intact", "", "state", "Every entry of the audit trail carries its predecessor's hash.", CORRUPT
    ),
    Metric("trail_events_total", "", "counter", "Entries of the audit trail, by operation and result."),
    Metric("trail_bad_lines_total", "", "counter", "Lines of the audit trail that are no entry."),
    Metric("trail_sequence_gaps_total", "", "counter", "Gaps in the sequence numbers of the audit log.", CORRUPT),
    Metric(
        "trail_age_seconds",
        "seconds",
        "gauge",
        "Time since the newest entry of the audit trail, or since it is followed.",
    ),
    Metric("trail_failed_logins_total", "", "counter", "Logins that the audit trail records as failed."),
    Metric(
        "trail_session_failed_logins", "", "gauge", "The most failed logins of one session within the last 10 minutes."
    ),
    Metric("trail_pin_locked_total", "", "counter", "Operations that failed because the PIN is locked."),
    Metric("trail_keys_generated_total", "", "counter", "Keys generated, by mechanism."),
    Metric("trail_user_changes_total", "", "counter", "Users created, deleted or given another PIN, by operation."),
    Metric("trail_zeroized_total", "", "counter", "Times that the HSM was zeroized."),
    Metric("trail_backup_age_seconds", "seconds", "gauge", "Time since the last backup that the audit log records."),
    Metric("trail_reboots", "", "gauge", "The HSM's reboot counter in the newest event of the audit log."),
    Metric("log_lines_total", "", "counter", "Lines of the process log that were read."),
    Metric("log_matches_total", "", "counter", "Lines of the process log that a pattern was found in, by pattern."),
)
"""Audit trails and process logs."""

CLOUDHSM = (
    Metric("cloudhsm_unhealthy", "", "state", "AWS finds the HSM unhealthy, and will replace it."),
    Metric("cloudhsm_temperature_celsius", "celsius", "gauge", "Junction temperature; at 110 the HSM shuts down."),
    Metric("cloudhsm_session_keys", "objects", "gauge", "Session keys on the HSM."),
    Metric("cloudhsm_token_keys", "objects", "gauge", "Token keys on the HSM."),
    Metric("cloudhsm_keys_used_percent", "percent", "gauge", "Keys, of the 3 300 there may be.", CAPACITY),
    Metric("cloudhsm_channels", "", "gauge", "End-to-end encrypted channels."),
    Metric("cloudhsm_channels_used_percent", "percent", "gauge", "Channels, of the 2 048 there may be.", CAPACITY),
    Metric("cloudhsm_sessions", "sessions", "gauge", "Open connections; the service itself has up to four."),
    Metric("cloudhsm_sessions_used_percent", "percent", "gauge", "Sessions, of the 2 048 there may be.", CAPACITY),
    Metric("cloudhsm_users_available", "", "gauge", "Users that can still be created."),
    Metric("cloudhsm_users_max", "", "gauge", "Users there may be."),
    Metric("cloudhsm_users_used_percent", "percent", "gauge", "Users, of those there may be.", CAPACITY),
    Metric("cloudhsm_received_bytes_total", "bytes", "counter", "Bytes that the HSM's interface has received."),
    Metric("cloudhsm_sent_bytes_total", "bytes", "counter", "Bytes that the HSM's interface has sent."),
)
"""What AWS publishes of a CloudHSM."""

FLEET = (
    Metric("fleet_agent_up", "", "state", "The agent publishes its status; 0 when silent or missing.", COMMUNICATION),
    Metric(
        "fleet_agent_silent_seconds",
        "seconds",
        "gauge",
        "Time since the agent last published its status.",
        COMMUNICATION,
    ),
    Metric("fleet_alarms", "", "gauge", "Raised alarms of the agent that no silence holds back, by severity."),
    Metric("fleet_sources_down", "", "gauge", "Sources of the agent that are down.", COMMUNICATION),
    Metric(
        "fleet_clock_offset_seconds", "seconds", "gauge", "The agent's clock minus this host's, by so much at least."
    ),
    Metric("fleet_agent_info", "", "info", "Site, version and start of the agent."),
)
"""What agents publish of themselves."""

AGENT = (
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
    Metric(
        "snmp_engine_held",
        "",
        "state",
        "SNMPv3 is configured and held back: the boots of the engine cannot be stored.",
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
        "Events it never gets: given up because it never took them, or dropped by a full spool.",
        COMMUNICATION,
    ),
    Metric(
        "sink_refused_total",
        "",
        "counter",
        "Events it did not take for half a minute or longer; they are tried on.",
        COMMUNICATION,
    ),
    Metric(
        "crl_seconds_left",
        "seconds",
        "gauge",
        "Time until the revocation list of a sink's TLS ends; behind it no receiver is let in.",
        COMMUNICATION,
    ),
    Metric(
        "publish_age_seconds",
        "seconds",
        "gauge",
        "Time since the agent's status was last published for its fleet.",
        COMMUNICATION,
    ),
    Metric("pipeline_age_seconds", "seconds", "gauge", "Time since readings were last judged."),
    Metric("log_dropped_total", "", "counter", "Records of the log that standard error did not take."),
    Metric("event_loop_lag_seconds", "seconds", "gauge", "Longest delay of the event loop since the last reading."),
    Metric("process_cpu_seconds_total", "seconds", "counter", "CPU time of the agent, and of each worker by name."),
    Metric(
        "process_resident_memory_bytes", "bytes", "gauge", "Resident memory of the agent, and of each worker by name."
    ),
    Metric("process_open_fds", "", "gauge", "Open file descriptors of the agent."),
    Metric("process_start_time_seconds", "seconds", "gauge", "Start of the process, UTC seconds since the epoch."),
)
"""Of the agent itself: spool, sinks, processes."""
