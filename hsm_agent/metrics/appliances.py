"""Metrics of appliances: by SNMP, from commands, and from the traps they send."""

from __future__ import annotations

from hsm_agent.metrics.base import CAPACITY, COMMUNICATION, STORAGE, Metric

METRICS = (
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
