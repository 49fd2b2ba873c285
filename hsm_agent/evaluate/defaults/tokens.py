"""Default rules on tokens."""

from __future__ import annotations

from hsm_agent.evaluate.rules import (
    DAY,
    HOUR,
    MINUTE,
    Above,
    Below,
    Falls,
    GivesWay,
    Grows,
    Match,
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
        clear_after=DAY,
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
)
