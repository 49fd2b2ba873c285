"""Of traps that appliances send: their alarms, and what became of the datagrams."""

from __future__ import annotations

from hsm_agent.metrics.base import COMMUNICATION, Metric

METRICS = (
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
