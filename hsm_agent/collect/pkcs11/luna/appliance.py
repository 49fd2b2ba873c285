"""What Luna says of the HSM and its roles: storage, statistics, capabilities, policies, tamper, transport. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from hsm_agent.collect.pkcs11.token import NOT_REPORTED, Fact, count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Pairs = tuple[tuple[int, int], ...]
Shown = Literal["all"] | tuple[int, ...]
Clock = tuple[int, int]
"""Time the HSM was up, and time it was idle, in the same unit."""

_UP, _IDLE, _COMMANDS = 2, 3, 4
_ROLE_INITIALIZED, _ROLE_LOCKED = 0x01, 0x02
# The master tamper key was zeroized by a tamper or by hand, or is locked after one; 1 says that a re-split was aborted.
_TAMPERED = 0x02 | 0x04 | 0x08
_DIGEST_CHARACTERS = 16
ROLES = {"role_so": "so", "role_crypto_officer": "crypto_officer", "role_crypto_user": "crypto_user"}
"""Roles by the step that asks for them."""
SET_METRICS = {
    "capabilities": ("hsm_capability", "capability_id"),
    "policies": ("hsm_policy", "policy_id"),
    "token_policies": ("token_policy", "policy_id"),
}
"""Metric and label of each set, by the step that asks for it."""


def hsm_storage_facts(values: Sequence[int], word: int) -> list[Fact]:
    """Storage of the whole HSM from CA_GetHSMStorageInformation: what is used is given to partitions."""
    _, total, used, free = (count(value, word) for value in values)
    why = NOT_REPORTED
    if total == 0:
        why, total = "its total is reported as 0 bytes", None
    elif total is not None and used is not None and used > total:
        why = f"{used} bytes used of {total} cannot be"
        total = used = free = None
    percent = None if total is None or used is None else 100 * used / total
    found = {"total_bytes": total, "used_bytes": used, "free_bytes": free, "used_percent": percent}
    return [Fact(f"hsm_storage_{name}", value, "" if value is not None else why) for name, value in found.items()]


def statistics(answers: Iterable[Sequence[int]]) -> dict[int, int]:
    """Values of CA_GetHSMStats by their id: each comes as a high and a low word of 32 bits."""
    return {number: high << 32 | low for number, high, low in answers}


def clock(values: dict[int, int]) -> Clock | None:
    """Both times, if the HSM gave both."""
    return (values[_UP], values[_IDLE]) if _UP in values and _IDLE in values else None


def stats_facts(values: dict[int, int], before: Clock | None) -> list[Fact]:
    """Commands, uptime, and the share of time the HSM was busy since the reading before."""
    busy, why = _busy(clock(values), before)
    return [
        _reported("hsm_commands_total", values.get(_COMMANDS)),
        _reported("hsm_uptime_seconds", values.get(_UP)),
        Fact("hsm_utilization_percent", busy, why),
    ]


def _reported(metric: str, value: int | None) -> Fact:
    return Fact(metric, value, "" if value is not None else NOT_REPORTED)


def _busy(now: Clock | None, before: Clock | None) -> tuple[float | None, str]:
    if now is None:
        return None, NOT_REPORTED
    if before is None:
        return None, "known from the second reading on"
    up, idle = now[0] - before[0], now[1] - before[1]
    if up < 0 or idle < 0:
        return None, "the HSM was restarted since the last reading"
    if up == 0:
        return None, "the HSM's clock has not moved since the last reading"
    if idle > up + 1:  # both are whole numbers, so one too much is rounding
        return None, f"idle for {idle} of {up} cannot be"
    return 100 * max(0, up - idle) / up, ""


def role_facts(role: str, state: Sequence[int]) -> list[Fact]:
    """Login attempts a role has left, and whether it is locked; nobody can log in to one that is not initialised."""
    flags, attempts = state
    labels = (("role", role),)
    if not flags & _ROLE_INITIALIZED:
        why = "the role is not initialised"
        return [
            Fact("token_login_attempts_left", None, why, labels),
            Fact("token_role_locked", None, why, labels),
        ]
    return [
        Fact("token_login_attempts_left", attempts, labels=labels),
        Fact("token_role_locked", int(bool(flags & _ROLE_LOCKED)), labels=labels),
    ]


def tamper_facts(state: int) -> list[Fact]:
    """Whether the HSM was tampered with or zeroized, from CA_MTKGetState."""
    return [Fact("hsm_tampered", int(bool(state & _TAMPERED)))]


def transport_facts(state: int) -> list[Fact]:
    """Secure transport mode, from CA_STMGetState."""
    return [Fact("hsm_transport_mode", int(state != 0))]


def set_facts(step: str, pairs: Pairs, shown: Shown, known: Iterable[str]) -> list[Fact]:
    """Those values of a set that are to be shown; `known` are ids that were read before."""
    metric, label = SET_METRICS[step]
    facts = [Fact(metric, value, labels=((label, str(name)),)) for name, value in pairs if _is_shown(name, shown)]
    now = {dict(fact.labels)[label] for fact in facts}
    gone = [name for name in known if name not in now]
    return facts + [Fact(metric, None, "no longer reported", ((label, name),)) for name in gone]


def _is_shown(name: int, shown: Shown) -> bool:
    return shown == "all" or name in shown


def digest_fact(metric: str, parts: Iterable[tuple[str, Pairs]]) -> Fact:
    """One short digest over whole sets, whatever order the HSM lists them in."""
    lines = [f"{part} {name}={value}\n" for part, pairs in parts for name, value in sorted(pairs)]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return Fact(metric, 1, labels=(("digest", digest),))


def differences(step: str, before: Pairs, now: Pairs) -> list[str]:
    """What changed between two readings of a set, for the log: `policy 12: 0 -> 1`."""
    old, new = dict(before), dict(now)
    word = "capability" if step == "capabilities" else "policy" if step == "policies" else "partition policy"
    return [
        f"{word} {name}: {old.get(name, 'absent')} -> {new.get(name, 'absent')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
