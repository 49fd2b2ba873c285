"""The facts about a token that follow from its CK_TOKEN_INFO: memory, sessions, PINs, clock. Pure."""

from __future__ import annotations

import calendar
import datetime as dt
from typing import TYPE_CHECKING

from hsm_agent.collect.pkcs11.token import CKF_USER_PIN_INITIALIZED, NOT_REPORTED, count, limit, memory
from hsm_agent.collect.series import Fact

if TYPE_CHECKING:
    from hsm_agent.collect.pkcs11.token import Token

NO_LIMIT = "the token has no limit"
CKF_LOGIN_REQUIRED = 0x4
CKF_CLOCK_ON_TOKEN = 0x40
_USER_PIN = 0x10000
_SO_PIN = 0x100000
_NO_CLOCK_SECONDS = 86400
"""A utcTime that is off by more is taken for a clock's only if the token says that it has one."""
_PIN_STATES = ("count_low", "final_try", "locked")  # each flag is the one before shifted by one bit


def memory_facts(kind: str, total: int | None, free: int | None, given: int | None = None) -> list[Fact]:
    """Total, free, used and percent."""
    found = memory(total, free, given)
    values = {
        "total_bytes": found.total,
        "free_bytes": found.free,
        "used_bytes": found.used,
        "used_percent": found.percent,
    }
    return [
        Fact(f"token_memory_{kind}_{name}", value, "" if value is not None else found.reason)
        for name, value in values.items()
    ]


def session_facts(token: Token, *, scope: str, given_max: int | None) -> list[Fact]:
    """Session counts, limits and the used share; an application-scoped count says nothing of others."""
    why = NOT_REPORTED
    open_now, rw_now = count(token.sessions, token.word), count(token.rw_sessions, token.word)
    if scope == "application" and (open_now, rw_now) != (None, None):
        why = "the module counts this application's own sessions only"
        open_now = rw_now = None
    most = given_max if given_max is not None else limit(token.max_sessions, token.word)
    percent = None if open_now is None or not most else 100 * open_now / most
    most_rw = limit(token.max_rw_sessions, token.word)
    no_percent = why if open_now is None else _no_limit(token.max_sessions)
    return [
        Fact("token_sessions", open_now, "" if open_now is not None else why),
        Fact("token_sessions_max", most, "" if most is not None else _no_limit(token.max_sessions)),
        Fact("token_sessions_used_percent", percent, "" if percent is not None else no_percent),
        Fact("token_rw_sessions", rw_now, "" if rw_now is not None else why),
        Fact("token_rw_sessions_max", most_rw, "" if most_rw is not None else _no_limit(token.max_rw_sessions)),
    ]


def _no_limit(reported: int) -> str:
    return NO_LIMIT if reported == 0 else "the module reports no limit"


def pin_facts(token: Token) -> list[Fact]:
    """PIN states of the user and the security officer, where there is such a PIN.

    Tokens of key servers in the cloud have none, and show their security officer's as locked for ever.
    """
    no_pin = ""
    if not token.flags & CKF_LOGIN_REQUIRED and not count(token.max_pin, token.word):
        no_pin = "the token needs no log-in and has no PINs"
    no_user = "" if token.flags & CKF_USER_PIN_INITIALIZED else "the user PIN is not initialised"
    states = (("token_pin", _USER_PIN, no_pin or no_user), ("token_so_pin", _SO_PIN, no_pin))
    return [fact for prefix, first, why in states for fact in _pin_states(prefix, token.flags // first, why)]


def _pin_states(prefix: str, flags: int, why: str) -> list[Fact]:
    states = [bool(flags & 1 << step) for step in range(3)]
    worst = max((step + 1 for step, on in enumerate(states) if on), default=0)
    values = {**dict(zip(_PIN_STATES, map(int, states), strict=True)), "state": worst}
    return [Fact(f"{prefix}_{name}", None if why else value, why) for name, value in values.items()]


def clock_fact(token: Token, at: float) -> Fact:
    """Token clock minus host clock in whole seconds.

    utcTime makes sense where CKF_CLOCK_ON_TOKEN is set (section 3.2). Software tokens give the host's time without it,
    which is well; others give a date of their own making for ever, which is no clock that is off.
    """
    name, utc_time = "token_clock_offset_seconds", token.utc_time
    if not utc_time.strip(b" \0"):
        return Fact(name, None, NOT_REPORTED)
    if not (utc_time.isdigit() and utc_time.endswith(b"00")):  # YYYYMMDDhhmmss00, PKCS#11 2.40 section 3.2
        return Fact(name, None, "the module's utcTime is malformed")
    try:
        moment = dt.datetime.strptime(utc_time[:14].decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        return Fact(name, None, "the module's utcTime is malformed")
    offset = calendar.timegm(moment.timetuple()) - int(at)
    if abs(offset) > _NO_CLOCK_SECONDS and not token.flags & CKF_CLOCK_ON_TOKEN:
        return Fact(name, None, f"the token says that it has no clock, and its utcTime is {moment:%Y-%m-%d}")
    return Fact(name, offset)
