"""Default rules on the HSM behind a token, on reading it, on certificates, declared dates and the canary."""

from __future__ import annotations

from hsm_agent.evaluate.rules import DAY, HOUR, MINUTE, Above, Below, Changes, NotFalling, RateChanges, Rule
from hsm_agent.model import Severity

RULES = (
    Rule(
        name="audit-fill",
        metrics=("audit_used_percent",),
        condition=Above(warning=50.0, critical=80.0),
        text="The audit store of {where} is {amount} full (limit {limit}); when full the module refuses all "
        "cryptography. First check that its log drains: path, free disk, remote host.",
    ),
    Rule(
        name="audit-time-to-full",
        metrics=("audit_seconds_to_full",),
        condition=Below(warning=24 * HOUR, critical=HOUR),
        hysteresis=10 * MINUTE,
        text="The audit store of {where} is full in {amount} at this pace (limit {limit}); then the module refuses"
        " all cryptography. First check that its log drains: path, free disk, remote host.",
    ),
    Rule(
        name="audit-not-draining",
        metrics=("audit_records",),
        condition=NotFalling(warning=15 * MINUTE),
        text="The audit store of {where} holds {amount}, and has not become emptier {note}: export has stopped. "
        "First check the audit log's path, its free disk and the remote host.",
    ),
    Rule(
        name="operation-rate",
        metrics=("hsm_commands_total",),
        condition=RateChanges(against=HOUR, percent=50.0, at_least=10.0, severity=Severity.WARNING),
        for_seconds=10 * MINUTE,
        text="The command rate of {where} is {amount}, it was {note}. A fall may be an application that lost its "
        "connection, a rise one that runs wild. First ask the applications' own figures.",
    ),
    Rule(
        name="firmware-changed",
        metrics=("hsm_firmware_info",),
        condition=Changes(severity=Severity.WARNING),
        clear_after=DAY,
        text="The firmware of {where} changed: {note}. If no update was planned, treat it as an incident.",
    ),
    Rule(
        name="policy-changed",
        metrics=("hsm_policies_info", "token_policies_info"),
        condition=Changes(severity=Severity.WARNING),
        clear_after=DAY,
        text="Policies or capabilities of {where} changed ({metric}: {note}). If no change was planned, treat it as "
        "an incident. First see the agent's log for which ones, then the HSM's audit log for who.",
    ),
    Rule(
        name="ha-member",
        metrics=("ha_members_up",),
        condition=Below(warning="own", critical=0.0),
        text="Usable members of HA group {where}: {value}, fewer than it is configured with: less reserve, and with "
        "none left no cryptography. First see ha_member_up for which, then its network, power and log.",
    ),
    Rule(
        name="tamper",
        metrics=("hsm_tampered",),
        condition=Above(critical=1.0),
        text="The HSM behind {where} reports a tamper or was zeroized: it refuses work and its keys may be lost. "
        "First look at it on site and do not clear the tamper before its cause is known.",
    ),
    Rule(
        name="source-errors",
        metrics=("source_errors",),
        condition=Above(warning=1.0),
        for_seconds=5 * MINUTE,
        text="Polls of {source} go on failing (failures in the last one: {amount}), some readings are missing. "
        "First see hsm-agent status and the agent's log for what the module answered.",
    ),
    Rule(
        name="certificate",
        metrics=("certificate_seconds_left",),
        condition=Below(warning=30 * DAY, critical=7 * DAY),
        hysteresis=HOUR,
        text="The certificate of {where} ends in {amount} (limit {limit}; below 0 it has); then TLS with it fails. "
        "First see certificate_info for what it is, renew it, then reload what uses it.",
    ),
    Rule(
        name="declared-date",
        metrics=("declared_seconds_left",),
        condition=Below(warning=30 * DAY, critical=7 * DAY),
        hysteresis=HOUR,
        text="The date {where} is {amount} away (limit {limit}; below 0 it is past). First do what it stands for, "
        "then write the new date into the agent's configuration and reload it.",
    ),
    Rule(
        name="declared-age",
        metrics=("declared_age_seconds",),
        condition=Above(warning="own"),
        text="{where} was last done {amount} ago (limit {limit}). First see whether the job or the person in charge "
        "still does it; if it was done, enter the date or see why the file was not written.",
    ),
    Rule(
        name="canary",
        metrics=("canary_ok",),
        condition=Below(critical=0.0),
        for_seconds=30.0,
        text="The canary cannot sign with its key on {where}: applications may well fail too. First read the last "
        "error in hsm-agent status (it names the step and the code), then try an application.",
    ),
)
