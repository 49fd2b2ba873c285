"""Facts from the answers of Luna's functions: audit store, storage, statistics, roles, sets, tamper. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hsm_agent.collect.pkcs11 import luna_ha
from hsm_agent.collect.pkcs11.poll_state import AnswerError
from hsm_agent.collect.pkcs11.token import NOT_REPORTED, count
from hsm_agent.collect.series import KEPT_POINTS, Fact, Point, audit_fill_facts
from hsm_agent.workers.pkcs11.return_values import (
    FUNCTION_NOT_SUPPORTED,
    LOG_AUDIT_NOT_INITIALIZED,
    LOG_FULL,
    OK,
    name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hsm_agent.collect.pkcs11.poll_state import Clock, Pairs, ParseState, ShownIds
    from hsm_agent.collect.pkcs11.recording import Result

_UP, _IDLE, _COMMANDS = 2, 3, 4
_ROLE_INITIALIZED, _ROLE_LOCKED = 0x01, 0x02
# The master tamper key was zeroized by a tamper or by hand, or is locked after one; 1 says that a re-split was aborted.
_TAMPERED = 0x02 | 0x04 | 0x08
_DIGEST_CHARACTERS = 16
ROLES = {"role_so": "so", "role_crypto_officer": "crypto_officer", "role_crypto_user": "crypto_user"}
"""Roles by the step that asks for them."""
SETS = {
    "capabilities": ("CA_GetHSMCapabilitySet", "hsm_capability", "capability_id"),
    "policies": ("CA_GetHSMPolicySet", "hsm_policy", "policy_id"),
    "token_policies": ("CA_GetTokenPolicies", "token_policy", "policy_id"),
}
"""Function, metric and label of each set, by the step that asks for it."""
_DIGESTS = {"hsm_policies_info": ("capabilities", "policies"), "token_policies_info": ("token_policies",)}
AUDIT_METRICS = (
    "audit_records",
    "audit_capacity_records",
    "audit_used_percent",
    "audit_seconds_to_full",
    "audit_role_initialized",
    "audit_export_working",
)
STORAGE_METRICS = (
    "token_storage_total_bytes",
    "token_storage_used_bytes",
    "token_storage_free_bytes",
    "token_storage_used_percent",
)
HSM_STORAGE_METRICS = tuple(metric.replace("token_", "hsm_") for metric in STORAGE_METRICS)


def audit_facts(
    status: Sequence[int] | None, points: Sequence[Point], capacity: int, *, full: bool, reason: str
) -> list[Fact]:
    """The audit store. `full` means that the HSM itself refused a call because of it, whatever the count says."""
    facts = [Fact("audit_capacity_records", capacity)]
    if status is None:
        facts.append(Fact("audit_records", None, reason))
    else:
        facts.append(Fact("audit_records", status[4]))
        full = full or status[1] == LOG_FULL  # the last poll of the logging daemon met a full store
    if full:
        return [*facts, Fact("audit_used_percent", 100.0), Fact("audit_seconds_to_full", 0.0)]
    return [*facts, *audit_fill_facts(points, None if status is None else status[4], capacity, reason)]


def audit_role_facts(status: Sequence[int] | None, reason: str, *, uninitialized: bool = False) -> list[Fact]:
    """Whether there is an auditor, and whether the logging daemon's last poll succeeded.

    The library documents neither field: 1 and 0 are taken as yes and no, the vendor's code for "not initialised" as no.
    """
    role: int | None = None
    if uninitialized:
        role = 0
    elif status is not None:
        role = {0: 0, 1: 1, LOG_AUDIT_NOT_INITIALIZED: 0}.get(status[0])
        reason = "" if role is not None else f"the HSM says {name(status[0], luna=True)} of its audit role"
    initialized = Fact("audit_role_initialized", role, "" if role is not None else reason)
    if role == 0:
        return [initialized, Fact("audit_export_working", None, "the HSM's audit role is not initialised")]
    if status is None:
        return [initialized, Fact("audit_export_working", None, reason)]
    return [initialized, Fact("audit_export_working", int(status[1] == OK))]


def storage_facts(values: Sequence[int], ulong_bytes: int) -> list[Fact]:
    """Fill of the partition, and its number of objects, from CA_GetTokenStorageInformation."""
    _, total, used, free, objects = (count(value, ulong_bytes) for value in values)
    facts = fill_facts(total, used, free)
    return [*facts, Fact("token_objects", objects, "" if objects is not None else NOT_REPORTED)]


def fill_facts(total: int | None, used: int | None, free: int | None = None, *, why: str = NOT_REPORTED) -> list[Fact]:
    """Fill of any store of which total and used are known."""
    if total is not None and used is not None and used > total:
        why = f"{used} bytes used of {total} cannot be"
        total = used = None
    elif total == 0:
        why = "its total is reported as 0 bytes"
        total = None
    if total is None or used is None:
        return _fill_of("token", None, None, None, why)
    return _fill_of("token", total, used, total - used if free is None else free, why)


def _fill_of(prefix: str, total: int | None, used: int | None, free: int | None, why: str) -> list[Fact]:
    """The metrics of a store's fill; those without a value have the reason."""
    percent = None if total is None or used is None else 100 * used / total
    found = {"total_bytes": total, "used_bytes": used, "free_bytes": free, "used_percent": percent}
    return [Fact(f"{prefix}_storage_{each}", value, "" if value is not None else why) for each, value in found.items()]


def store_facts(capacity: int, used: int, *, free: int | None = None) -> list[Fact]:
    """Fill of a directory against the capacity the operator gave it, which files can well outgrow.

    `free` is what is left of a capacity that others share.
    """
    return _fill_of("token", capacity, used, max(0, capacity - used) if free is None else free, "")


def hsm_storage_facts(values: Sequence[int], ulong_bytes: int) -> list[Fact]:
    """Storage of the whole HSM from CA_GetHSMStorageInformation: what is used is given to partitions."""
    _, total, used, free = (count(value, ulong_bytes) for value in values)
    why = NOT_REPORTED
    if total == 0:
        why, total = "its total is reported as 0 bytes", None
    elif total is not None and used is not None and used > total:
        why = f"{used} bytes used of {total} cannot be"
        total = used = free = None
    return _fill_of("hsm", total, used, free, why)


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
    """Login attempts a role has left, and whether it is locked. A role that is not initialised has neither."""
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


def tamper_facts(payload: Sequence[int], _word: int) -> list[Fact]:
    """Whether the HSM was tampered with or zeroized, from CA_MTKGetState."""
    return [Fact("hsm_tampered", int(bool(payload[0] & _TAMPERED)))]


def transport_facts(payload: Sequence[int], _word: int) -> list[Fact]:
    """Secure transport mode, from CA_STMGetState."""
    return [Fact("hsm_transport_mode", int(payload[0] != 0))]


def firmware_facts(payload: Sequence[int], _word: int) -> list[Fact]:
    """The version from CA_GetFirmwareVersion: major, minor, sub."""
    return [Fact("hsm_firmware_info", 1, labels=(("version", ".".join(map(str, payload))),))]


def set_facts(step: str, pairs: Pairs, shown: ShownIds, known: Iterable[str]) -> list[Fact]:
    """Those values of a set that are to be shown; `known` are ids that were read before."""
    _, metric, label = SETS[step]
    wanted = [(name, value) for name, value in pairs if shown == "all" or name in shown]
    facts = [Fact(metric, value, labels=((label, str(name)),)) for name, value in wanted]
    now = {dict(fact.labels)[label] for fact in facts}
    gone = [name for name in known if name not in now]
    return facts + [Fact(metric, None, "no longer reported", ((label, name),)) for name in gone]


def digest_fact(metric: str, sets: Iterable[tuple[str, Pairs]]) -> Fact:
    """One short digest over whole sets, independent of the order in which the HSM lists them."""
    lines = [f"{step} {number}={value}\n" for step, pairs in sets for number, value in sorted(pairs)]
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


_HA_MODEL = slice(64, 80)  # the field `model` of CK_TOKEN_INFO


def read_audit(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_LogGetStatus."""
    status = result.payload
    points = (*state.audit.get(resource, ()), (result.at, status[4]))
    state.audit[resource] = points[-KEPT_POINTS:]
    facts = audit_facts(status, state.audit[resource], state.options.audit_capacity, full=False, reason="")
    return facts + audit_role_facts(status, "")


def failed_audit(state: ParseState, resource: str, result: Result | None, reason: str) -> list[Fact]:
    """The capacity is known all the same, and one return value says that there is no auditor."""
    points = state.audit.get(resource, ())
    facts = audit_facts(None, points, state.options.audit_capacity, full=False, reason=reason)
    failure = None if result is None else result.failure
    uninitialized = failure is not None and failure.value == LOG_AUDIT_NOT_INITIALIZED
    return facts + audit_role_facts(None, reason, uninitialized=uninitialized)


def read_ha(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_GetHAState. A slot that is no group may answer with a group without members. Raises AnswerError."""
    group = luna_ha.decode(bytes.fromhex(result.payload), state.raw.ulong_bytes)
    if group is None:
        raise AnswerError(luna_ha.UNKNOWN_LAYOUT)
    if not group.members and not _is_group(state, resource, result.slot):
        state.unsupported.add(("ha", state.tokens[result.slot].key))
        return []
    members = {serial for serial, _ in group.members}
    if members & {token.identity.serial for token in state.tokens.values()}:
        state.logged.discard(resource)
    elif resource not in state.logged:
        state.logged.add(resource)
        state.remarks.append(
            f"{resource} is an HA group and none of its members' own slots is watched, so what one of them lacks "
            "(memory, sessions, log-in attempts) is not seen: check `tokens`, and HAOnly in the client's configuration"
        )
    before = [dict(labels)["member"] for labels in state.labels_known(resource, "ha_member_up")]
    return luna_ha.ha_facts(group, before)


def is_no_group(state: ParseState, resource: str, result: Result) -> bool:
    """Whether a failure of CA_GetHAState means that the slot is no HA group.

    It is not documented with what a slot that is no group answers. A slot that was a group before, or calls itself a
    virtual token, must answer.
    """
    failure = result.failure
    unsupported = failure is not None and failure.value == FUNCTION_NOT_SUPPORTED
    return unsupported or not _is_group(state, resource, result.slot)


def _is_group(state: ParseState, resource: str, slot: int) -> bool:
    """Whether it is known to be an HA group without asking."""
    if state.labels_known(resource, "ha_members_up"):
        return True
    swept = state.raw.results.get(("token", slot))
    token = swept.payload[1] if swept is not None else None
    return token is not None and bytes.fromhex(token)[_HA_MODEL].startswith(b"LunaVirtual")


def read_stats(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_GetHSMStats. The share of busy time is that since the reading before."""
    values = statistics(result.payload)
    facts = stats_facts(values, state.memory.clocks.get(resource))
    if (times := clock(values)) is not None:
        state.clocks[resource] = times
    return facts


def pairs(result: Result) -> Pairs:
    """Ids and values of a set of capabilities or policies."""
    return tuple((number, value) for number, value in result.payload)


def read_set(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_GetHSMCapabilitySet, CA_GetHSMPolicySet, CA_GetTokenPolicies. What changed goes to the log."""
    now, key = pairs(result), (result.step, resource)
    before = state.sets.get(key)
    if before is not None:
        changed = differences(result.step, before, now)
        state.remarks += [f"{resource}: {', '.join(changed)}"] if changed else []
    state.sets[key] = now
    shown = state.options.capabilities if result.step == "capabilities" else state.options.policies
    _, metric, label = SETS[result.step]
    known = [dict(labels)[label] for labels in state.labels_known(resource, metric)]
    return set_facts(result.step, now, shown, known)


def read_digests(state: ParseState) -> None:
    """One digest of all capabilities and policies, only where all of them were read in this poll."""
    for slot, token in state.tokens.items():
        for metric, steps in _DIGESTS.items():
            asked = [step for step in steps if _was_due(state, step, slot)]
            if asked:
                state.add(token.resource, [_digest(state, token.resource, metric, slot, asked)], state.raw.time)


def _was_due(state: ParseState, step: str, slot: int) -> bool:
    result = state.raw.results.get((step, slot))
    if result is None:
        return (step, slot) in state.raw.failed
    return result.failure is None or result.failure.value != FUNCTION_NOT_SUPPORTED


def _digest(state: ParseState, resource: str, metric: str, slot: int, steps: Sequence[str]) -> Fact:
    sets = []
    for step in steps:
        result = state.raw.results.get((step, slot))
        if result is None or result.failure is not None:
            labels = next(iter(state.labels_known(resource, metric)), ())
            return Fact(metric, None, f"{SETS[step][0]} gave no answer", labels)
        sets.append((step, pairs(result)))
    return digest_fact(metric, sets)
