"""Of checks: dates that were declared, certificates, and the canary's signature."""

from __future__ import annotations

from hsm_agent.metrics.base import COMMUNICATION, Metric

METRICS = (
    Metric("certificate_info", "", "info", "What a certificate says: subject, issuer, serial number, end."),
    Metric("declared_seconds_left", "seconds", "gauge", "Time until a declared date; below 0 it is past."),
    Metric("declared_age_seconds", "seconds", "gauge", "Time since a declared date, or since a job left its mark."),
    Metric("canary_ok", "", "state", "The canary's last attempt ended in a good signature.", COMMUNICATION),
    Metric("canary_seconds", "seconds", "gauge", "How long the canary's signature took, login not counted."),
)
