"""Of devices that are asked by a command, beyond what others say too."""

from __future__ import annotations

from hsm_agent.metrics.base import COMMUNICATION, STORAGE, Metric

METRICS = (
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
