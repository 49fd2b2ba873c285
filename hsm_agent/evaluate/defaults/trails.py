"""Default rules on audit trails, process logs, and what AWS publishes of a CloudHSM."""

from __future__ import annotations

from hsm_agent.evaluate.rules import DAY, HOUR, Above, Below, Changes, Match, Rule
from hsm_agent.model import Severity

RULES = (
    Rule(
        name="trail-chain",
        metrics=("trail_chain_intact",),
        condition=Below(critical=0.0),
        text="The audit trail {where} was changed or cut: {note}. First keep a copy of the file and its rotated set, "
        "see who was on that host, and compare with the copy at the log server.",
    ),
    Rule(
        name="trail-gap",
        metrics=("trail_sequence_gaps_total",),
        condition=Changes(severity=Severity.WARNING),
        clear_after_seconds=DAY,
        text="Events are missing in the audit log {where} ({note} gaps in its sequence). First fetch the log anew from "
        "where it is kept, then see what ships it.",
    ),
    Rule(
        name="trail-silent",
        metrics=("trail_age_seconds",),
        condition=Above(warning="own"),
        text="The audit trail {where} has had no entry for {amount} (limit {limit}): nothing uses the module, or it "
        "records nothing. First see whether applications work, then the module's own log.",
    ),
    Rule(
        name="trail-logins",
        metrics=("trail_session_failed_logins",),
        condition=Above(warning=3.0),
        text="{amount} logins failed within 10 min in one session of {where} ({note}). First find the application and "
        "stop its retries: the next wrong PIN may lock the token.",
    ),
    Rule(
        name="trail-pin-locked",
        metrics=("trail_pin_locked_total",),
        condition=Changes(severity=Severity.WARNING),
        clear_after_seconds=HOUR,
        text="A login to {where} was refused because the PIN is locked ({note}). First find out who tried, with "
        "hsm-agent audit dump --result CKR_PIN_LOCKED, then have the security officer reset the PIN.",
    ),
    Rule(
        name="trail-zeroize",
        metrics=("trail_zeroized_total",),
        condition=Changes(severity=Severity.CRITICAL),
        clear_after_seconds=DAY,
        text="The audit log {where} records that the HSM was zeroized ({note}): its keys are gone from it. First see "
        "who did it, and whether the cluster's other HSMs still hold the keys.",
    ),
    Rule(
        name="trail-backup",
        metrics=("trail_backup_age_seconds",),
        condition=Above(warning=2 * DAY),
        text="The last backup in the audit log {where} ended {amount} ago (limit {limit}). First see the cluster's "
        "list of backups, and whether its HSMs are healthy.",
    ),
    Rule(
        name="cloudhsm-unhealthy",
        metrics=("cloudhsm_unhealthy",),
        condition=Above(critical=1.0),
        text="AWS finds HSM {where} unhealthy and will replace it. First see that the cluster has other HSMs and that "
        "applications use them, then the service's health page.",
    ),
    Rule(
        name="cloudhsm-capacity",
        metrics=(
            "cloudhsm_keys_used_percent",
            "cloudhsm_sessions_used_percent",
            "cloudhsm_channels_used_percent",
            "cloudhsm_users_used_percent",
        ),
        condition=Above(warning=80.0, critical=95.0),
        text="HSM {where} uses {amount} of what the service allows ({metric}, limit {limit}); at 100 % new ones are "
        "refused. First see which application has so many, then what can be closed or deleted.",
    ),
    Rule(
        name="log-match",
        metrics=("log_matches_total",),
        condition=Changes(severity=Severity.WARNING),
        escalate=Match(labels=(("severity", "critical"),)),
        clear_after_seconds=HOUR,
        text="The log {where} has {pattern}: {note}. First read the lines around it; docs/sources/process_log.md says "
        "what each shipped pattern means.",
    ),
)
