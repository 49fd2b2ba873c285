"""Metrics of the agent itself: spool, sinks, processes."""

from __future__ import annotations

from hsm_agent.metrics.base import COMMUNICATION, STORAGE, Metric

METRICS = (
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
