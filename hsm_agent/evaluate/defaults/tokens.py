"""Default rules on tokens, the HSM behind them, on reading it, on certificates, declared dates and the canary."""

from __future__ import annotations

from hsm_agent.evaluate.rules import (
    DAY,
    HOUR,
    MINUTE,
    Above,
    Below,
    Changes,
    Falls,
    GivesWay,
    Grows,
    Match,
    NotFalling,
    RateChanges,
    Reaches,
    Rule,
    Sooner,
)
from hsm_agent.model import Severity

STORAGE = "token_storage_used_percent"
MEMORY = "token_memory_private_used_percent"

RULES = (
    Rule(
        name="token-memory",
        metrics=(MEMORY,),
        condition=Above(warning=75.0, critical=90.0),
        gives_way=GivesWay(metric=MEMORY, rule="token-storage", to=STORAGE),
        text="Private memory of token {where} is {amount} used (limit {limit}); full means no new key or object. "
        "First see which application leaves objects behind, then delete them or enlarge the partition.",
    ),
    Rule(
        name="token-storage",
        metrics=(STORAGE,),
        condition=Above(warning=80.0, critical=95.0),
        for_seconds=5 * MINUTE,
        text="Storage of token {where} is {amount} used (limit {limit}); full means no new key or certificate. "
        "First look for keys no longer needed, then delete them or enlarge the partition.",
    ),
    Rule(
        name="token-sessions",
        metrics=("token_sessions_used_percent",),
        condition=Above(warning=80.0, critical=95.0),
        for_seconds=10 * MINUTE,
        text="{amount} of the sessions of token {where} are in use (limit {limit}); at 100 % applications cannot "
        "sign. First find the client that holds most of them and restart it if it leaks.",
    ),
    Rule(
        name="session-leak",
        metrics=("token_sessions",),
        condition=Grows(
            critical=2 * HOUR, at_least=5.0, sooner=Sooner(warning=48 * MINUTE, critical=144 * MINUTE, against=7 * DAY)
        ),
        text="Sessions of token {where} grow steadily, {note}: an application does not close them and will use up"
        " the limit. First see which client was deployed or restarted last.",
    ),
    Rule(
        name="object-count",
        metrics=("token_objects",),
        condition=Above(warning=10000.0),
        for_seconds=10 * MINUTE,
        text="Token {where} holds {amount} (limit {limit}); searches slow down and the store fills up. First see "
        "which application creates keys and never deletes them.",
    ),
    Rule(
        name="storage-forecast",
        metrics=(MEMORY, STORAGE),
        condition=Reaches(level=95.0, over=30 * DAY, warning=90 * DAY, critical=14 * DAY),
        gives_way=GivesWay(metric=MEMORY, rule="storage-forecast", to=STORAGE),
        text="Token {where} is {amount} full and reaches 95 % {note}, going by the last 30 days (limit {limit}). "
        "Plan to delete keys or to enlarge the partition.",
    ),
    Rule(
        name="token-missing",
        metrics=("token_present",),
        condition=Below(warning=0.0),
        escalate=Match(labels=(("expected", "true"),)),
        text="Token {where} is gone; applications that use it fail. First see whether it was removed, unassigned "
        "or zeroized. If that was meant: hsm-agent alarms forget.",
    ),
    Rule(
        name="token-unresponsive",
        metrics=("token_alive",),
        condition=Below(critical=0.0),
        text="Token {where} is listed but did not answer C_GenerateRandom: applications that use it fail or wait. "
        "First try one of them, then see the module's log and the network to the HSM.",
    ),
    Rule(
        name="pin",
        metrics=("token_pin_state", "token_so_pin_state"),
        condition=Above(warning=1.0, critical=3.0),
        text="Wrong PINs on token {where}: {metric} is {value} (1 count low, 2 final try, 3 locked); locked means "
        "no log-in and for some modules the loss of the keys. First find who tries, and stop it.",
    ),
    Rule(
        name="login-attempts",
        metrics=("token_login_attempts_left",),
        condition=Falls(severity=Severity.WARNING),
        clear_after_seconds=DAY,
        text="Wrong login as {role} on token {where}: attempts left {note}; at 0 the role is locked, and a security "
        "officer's last one may zeroize the HSM. First find who tries, and stop it.",
    ),
    Rule(
        name="role-locked",
        metrics=("token_role_locked",),
        condition=Above(critical=1.0),
        text="Role {role} of token {where} is locked after too many wrong logins: applications that log in with it "
        "fail. First find and stop who tries, then have the security officer reset it.",
    ),
    Rule(
        name="clock-offset",
        metrics=("token_clock_offset_seconds", "hsm_clock_offset_seconds"),
        condition=Above(warning=30.0, absolute=True),
        for_seconds=10 * MINUTE,
        text="The clock of {where} is off by {amount} (limit {limit}), and so are its audit records. First "
        "check the time of this host, then set the module's or the appliance's.",
    ),
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
        clear_after_seconds=DAY,
        text="The firmware of {where} changed: {note}. If no update was planned, treat it as an incident.",
    ),
    Rule(
        name="policy-changed",
        metrics=("hsm_policies_info", "token_policies_info"),
        condition=Changes(severity=Severity.WARNING),
        clear_after_seconds=DAY,
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
