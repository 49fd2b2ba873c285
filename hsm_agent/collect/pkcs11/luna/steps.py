"""From the answers of Luna's functions to facts: one reader for each step of `steps.py`. Pure.

A reader is called where the step was answered. Those that begin with `failed_` are called where it was not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.collect.pkcs11.luna import appliance, ha
from hsm_agent.collect.pkcs11.luna.appliance import ROLES, SET_METRICS
from hsm_agent.collect.pkcs11.poll_state import AnswerError
from hsm_agent.collect.series import KEPT_POINTS, Fact
from hsm_agent.workers.pkcs11.return_values import FUNCTION_NOT_SUPPORTED, LOG_AUDIT_NOT_INITIALIZED, NEVER_HERE

if TYPE_CHECKING:
    from hsm_agent.collect.pkcs11.poll_state import ParseState
    from hsm_agent.collect.pkcs11.recording import Result

_HA_MODEL = slice(64, 80)  # the field `model` of CK_TOKEN_INFO


def read_audit(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_LogGetStatus."""
    status = result.payload
    points = (*state.audit.get(resource, ()), (result.at, status[4]))
    state.audit[resource] = points[-KEPT_POINTS:]
    facts = appliance.audit_facts(status, state.audit[resource], state.options.audit_capacity, full=False, reason="")
    return facts + appliance.audit_role_facts(status, "")


def failed_audit(state: ParseState, resource: str, result: Result | None, reason: str) -> list[Fact]:
    """The capacity is known all the same, and one return value says that there is no auditor."""
    points = state.audit.get(resource, ())
    facts = appliance.audit_facts(None, points, state.options.audit_capacity, full=False, reason=reason)
    failure = None if result is None else result.failure
    uninitialized = failure is not None and failure.value == LOG_AUDIT_NOT_INITIALIZED
    return facts + appliance.audit_role_facts(None, reason, uninitialized=uninitialized)


def read_storage(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_GetTokenStorageInformation."""
    del resource
    return appliance.storage_facts(result.payload, state.raw.word)


def read_firmware(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_GetFirmwareVersion."""
    del state, resource
    return [Fact("hsm_firmware_info", 1, labels=(("version", ".".join(map(str, result.payload))),))]


def read_ha(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_GetHAState. A slot that is no group may answer with a group without members. Raises AnswerError."""
    group = ha.decode(bytes.fromhex(result.payload), state.raw.word)
    if group is None:
        raise AnswerError(ha.UNKNOWN_LAYOUT)
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
    return ha.ha_facts(group, before)


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
    values = appliance.statistics(result.payload)
    facts = appliance.stats_facts(values, state.memory.clocks.get(resource))
    clock = appliance.clock(values)
    if clock is not None:
        state.clocks[resource] = clock
    return facts


def read_role(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_RoleStateGet."""
    del state, resource
    return appliance.role_facts(ROLES[result.step], result.payload)


def is_no_role(state: ParseState, resource: str, result: Result) -> bool:
    """Whether a failure of CA_RoleStateGet means that the slot has no such role."""
    del state, resource
    failure = result.failure
    return failure is not None and (failure.value == FUNCTION_NOT_SUPPORTED or failure.value in NEVER_HERE)


def read_hsm_storage(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_GetHSMStorageInformation."""
    del resource
    return appliance.hsm_storage_facts(result.payload, state.raw.word)


def read_tamper(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_MTKGetState."""
    del state, resource
    return appliance.tamper_facts(result.payload[0])


def read_transport(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_STMGetState."""
    del state, resource
    return appliance.transport_facts(result.payload[0])


def pairs(result: Result) -> appliance.Pairs:
    """Ids and values of a set of capabilities or policies."""
    return tuple((number, value) for number, value in result.payload)


def read_set(state: ParseState, resource: str, result: Result) -> list[Fact]:
    """CA_GetHSMCapabilitySet, CA_GetHSMPolicySet, CA_GetTokenPolicies. What changed goes to the log."""
    now, key = pairs(result), (result.step, resource)
    before = state.sets.get(key)
    if before is not None:
        changed = appliance.differences(result.step, before, now)
        state.remarks += [f"{resource}: {', '.join(changed)}"] if changed else []
    state.sets[key] = now
    shown = state.options.capabilities if result.step == "capabilities" else state.options.policies
    metric, label = SET_METRICS[result.step]
    known = [dict(labels)[label] for labels in state.labels_known(resource, metric)]
    return appliance.set_facts(result.step, now, shown, known)
