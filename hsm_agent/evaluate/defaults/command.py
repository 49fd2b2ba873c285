"""Of what only appliances' shells say."""

from __future__ import annotations

from hsm_agent.evaluate.rules import Above, Below, Rule

MINUTE = 60.0

RULES = (
    Rule(
        name="appliance-trouble",
        metrics=("hsm_trouble",),
        condition=Above(warning=1.0),
        for_seconds=5 * MINUTE,
        text="The appliance {where} reports trouble of its own, whether or not it still signs. First see the codes: "
        "hsm-agent status, hsm_status_info, or its shell: status sysstat show.",
    ),
    Rule(
        name="partition-zeroized",
        metrics=("token_zeroized",),
        condition=Above(critical=1.0),
        text="Partition {where} was zeroized: its keys are gone from this HSM. First take it out of its HA "
        "group, find who did it, and restore from a backup.",
    ),
    Rule(
        name="audit-logging",
        metrics=("audit_logging_configured", "audit_export_working"),
        condition=Below(warning=0.0),
        for_seconds=5 * MINUTE,
        text="Audit logging of {where} is off or does not work: {metric} is {value}. Records are not made, or pile up "
        "until the HSM refuses all cryptography. First see audit show, then ask the auditor.",
    ),
)
