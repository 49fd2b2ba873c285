"""The default rules: data, and the words an operator reads at three in the morning.

A text says what is wrong, what comes of it, and what to look at first. Configuration overrides single keys by name.
"""

from __future__ import annotations

from dataclasses import replace

from hsm_agent.evaluate.rules import (
    DAY,
    HOUR,
    Above,
    Below,
    Changes,
    Grows,
    Match,
    NotFalling,
    RateChanges,
    Reaches,
    Rule,
)
from hsm_agent.model import AGENT_SOURCE, Severity

MINUTE = 60.0
STORAGE = "token_storage_used_percent"
MEMORY = "token_memory_private_used_percent"
_AGENT = Match(source=AGENT_SOURCE)

_TOKEN = (
    Rule(
        name="token-memory",
        metrics=(MEMORY,),
        condition=Above(warning=75.0, critical=90.0),
        unless_metric=STORAGE,
        text="Private memory of token {where} is {amount} used (limit {limit}); full means no new key or object. "
        "First see which application leaves objects behind, then delete them or enlarge the partition.",
    ),
    Rule(
        name="token-storage",
        metrics=(STORAGE,),
        condition=Above(warning=80.0, critical=95.0),
        hold=5 * MINUTE,
        text="Storage of token {where} is {amount} used (limit {limit}); full means no new key or certificate. "
        "First look for keys no longer needed, then delete them or enlarge the partition.",
    ),
    Rule(
        name="token-sessions",
        metrics=("token_sessions_used_percent",),
        condition=Above(warning=80.0, critical=95.0),
        hold=10 * MINUTE,
        text="{amount} of the sessions of token {where} are in use (limit {limit}); at 100 % applications cannot "
        "sign. First find the client that holds most of them and restart it if it leaks.",
    ),
    Rule(
        name="session-leak",
        metrics=("token_sessions",),
        condition=Grows(warning=30 * MINUTE, critical=2 * HOUR, at_least=5.0),
        text="Sessions of token {where} only ever grow, {note}: an application does not close them and will use up"
        " the limit. First see which client was deployed or restarted last.",
    ),
    Rule(
        name="object-count",
        metrics=("token_objects",),
        condition=Above(warning=10000.0),
        hold=10 * MINUTE,
        text="Token {where} holds {amount} (limit {limit}); searches slow down and the store fills up. First see "
        "which application creates keys and never deletes them.",
    ),
    Rule(
        name="storage-forecast",
        metrics=(MEMORY, STORAGE),
        condition=Reaches(level=95.0, over=30 * DAY, warning=90 * DAY, critical=14 * DAY),
        unless_metric=STORAGE,
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
        name="clock-offset",
        metrics=("token_clock_offset_seconds",),
        condition=Above(warning=30.0, absolute=True),
        hold=10 * MINUTE,
        text="The clock of token {where} is off by {amount} (limit {limit}), and so are its audit records. First "
        "check the time of this host, then set the module's clock.",
    ),
)

_MODULE = (
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
        text="{amount} wait in the audit store of {where} and have not become fewer {note}: export has stopped. "
        "First check the audit log's path, its free disk and the remote host.",
    ),
    Rule(
        name="operation-rate",
        metrics=("hsm_commands_total",),
        condition=RateChanges(against=HOUR, percent=50.0, at_least=10.0, severity=Severity.WARNING),
        hold=10 * MINUTE,
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
        name="source-errors",
        metrics=("source_errors",),
        condition=Above(warning=1.0),
        hold=5 * MINUTE,
        text="Polls of {source} go on failing ({amount} failures in the last one), some readings are missing. "
        "First see hsm-agent status and the agent's log for what the module answered.",
    ),
)

_SOURCE_DOWN = Rule(
    name="source-down",
    metrics=("source_age_seconds",),
    condition=Above(critical="own"),
    text="{source} was last read {amount} ago (limit {limit}): nothing is known of its tokens. First see "
    "whether the applications still work, then network, client configuration and the module's log.",
)

_OWN = (
    Rule(
        name="sink-down",
        metrics=("sink_down_seconds",),
        match=_AGENT,
        condition=Above(warning=5 * MINUTE, critical=HOUR),
        text="No notification has reached {resource} for {amount} (limit {limit}); they are kept in the spool. "
        "First check that the receiver runs and can be reached from this host.",
    ),
    Rule(
        name="spool-filling",
        metrics=("spool_used_percent",),
        match=_AGENT,
        condition=Above(warning=50.0, critical=80.0),
        text="The spool is {amount} full (limit {limit}); when full, notifications are dropped. First see in hsm-"
        "agent status which sink does not accept.",
    ),
    Rule(
        name="events-dropped",
        metrics=("spool_dropped_total",),
        match=_AGENT,
        condition=Changes(severity=Severity.WARNING),
        clear_after=HOUR,
        text="Notifications were dropped, the spool is full ({note}). What is raised now is still true in hsm-"
        "agent status; once the sink accepts again: hsm-agent resend.",
    ),
    Rule(
        name="spool-failed",
        metrics=("spool_failed",),
        match=_AGENT,
        condition=Above(critical=1.0),
        text="The spool cannot be written: notifications go out from memory and are lost if the agent stops. First"
        " check space and health of the disk of the state directory.",
    ),
)

DEFAULT_RULES: tuple[Rule, ...] = (
    *(replace(rule, inhibited_by=(_SOURCE_DOWN.name,)) for rule in (*_TOKEN, *_MODULE)),
    _SOURCE_DOWN,
    *_OWN,
)
"""The rules of every agent, on metrics that some kind of source produces."""
