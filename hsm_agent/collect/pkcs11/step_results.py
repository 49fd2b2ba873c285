"""Readings from the results of all steps but the sweep, and of the object store. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.collect.pkcs11 import reasons
from hsm_agent.collect.pkcs11.luna import appliance
from hsm_agent.collect.pkcs11.luna import steps as luna
from hsm_agent.collect.pkcs11.luna.appliance import fill_facts, store_facts
from hsm_agent.collect.pkcs11.poll_state import STORE, AnswerError
from hsm_agent.collect.pkcs11.steps import STEPS
from hsm_agent.collect.series import Fact
from hsm_agent.workers.pkcs11.return_values import (
    FUNCTION_NOT_SUPPORTED,
    HSM_TAMPERED,
    LOG_AUDIT_NOT_INITIALIZED,
    LOG_FULL,
    MTK_ZEROIZED,
    OK,
    RANDOM_NO_RNG,
    SESSION_COUNT,
    is_refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hsm_agent.collect.pkcs11.poll_state import ParseState
    from hsm_agent.collect.pkcs11.recording import Call, Result
    from hsm_agent.collect.pkcs11.steps import Step

_LOG_FULL = "the HSM refuses to work until its audit log is exported: CKR_LOG_FULL"
_FINDINGS = {
    LOG_FULL: _LOG_FULL,
    LOG_AUDIT_NOT_INITIALIZED: "the HSM's audit role is not initialised",
    HSM_TAMPERED: "the HSM refuses to work because it was tampered with: CKR_HSM_TAMPERED",
    MTK_ZEROIZED: "the HSM refuses to work because its master key was zeroized: CKR_MTK_ZEROIZED",
    SESSION_COUNT: "the token refuses another session: CKR_SESSION_COUNT",
}
"""Answers that say something about the token; the source did its work."""
_DIGESTS = {"hsm_policies_info": ("capabilities", "policies"), "token_policies_info": ("token_policies",)}


def read(state: ParseState) -> None:
    """Everything but the sweep."""
    full = _that_returned(state, {LOG_FULL})
    tampered = _that_returned(state, {HSM_TAMPERED, MTK_ZEROIZED})
    for slot, token in state.tokens.items():
        for step in STEPS:
            _read_step(state, step, slot, token.resource)
    _read_digests(state)
    _note_sessions(state)
    for resource in full:
        _replace(state, resource, [Fact("audit_used_percent", 100.0), Fact("audit_seconds_to_full", 0.0)])
    for resource in tampered:
        _replace(state, resource, [Fact("hsm_tampered", 1)])
    _read_store(state)


def _read_step(state: ParseState, name: str, slot: int, resource: str) -> None:
    step, result, reason = STEPS[name], state.raw.results.get((name, slot)), state.raw.failed.get((name, slot), "")
    if reason:
        state.fail((name, resource), f"{resource}: {reason}")
    elif result is None or _is_settled(state, step, resource, result):
        return
    else:
        reason = _reason(state, step, resource, result)
    at = state.raw.time if result is None else result.at
    try:
        if result is not None and result.failure is None:
            facts = step.read(state, resource, result)
        else:
            facts = (step.failed or _lost(step))(state, resource, result, reason)
    except AnswerError as error:
        state.fail((name, resource), f"{resource}: {error}")
        facts = step.lost(state, resource, str(error))
    state.add(resource, facts, at)


def _lost(step: Step) -> Callable[[ParseState, str, Result | None, str], list[Fact]]:
    return lambda state, resource, _result, reason: step.lost(state, resource, reason)


def _that_returned(state: ParseState, values: set[int]) -> set[str]:
    """Tokens of which any call of this poll returned one of these values."""
    slots = {**state.tokens, **state.failed}
    return {
        slots[result.slot].resource
        for result in state.raw.results.values()
        if state.raw.luna and result.slot in slots and any(call.value in values for call in result.calls)
    }


def _is_settled(state: ParseState, step: Step, resource: str, result: Result) -> bool:
    """Whether the slot simply has no such thing: no reading, no error, and it is not asked again."""
    failure = result.failure
    if failure is None or (state.raw.luna and failure.value in _FINDINGS):
        return False
    if not step.is_absent(state, resource, result):
        return False
    state.unsupported.add((result.step, state.tokens[result.slot].key))
    state.add(resource, step.lost(state, resource, "no longer supported", known_only=True), result.at)
    return True


def _reason(state: ParseState, step: Step, resource: str, result: Result) -> str:
    failure = result.failure
    if failure is None:
        return ""
    if failure.value in _FINDINGS and (state.raw.luna or failure.value == SESSION_COUNT):
        return _FINDINGS[failure.value]
    reason = reasons.returned(failure.function, failure.value, result.slot, luna=state.raw.luna)
    if step.may_be_refused and is_refusal(failure.value):
        _log_refusal(state, resource, result, reason)
    elif failure.value != RANDOM_NO_RNG:
        state.fail((result.step, resource), f"{resource}: {reason}")
    return reason


def _log_refusal(state: ParseState, resource: str, result: Result, reason: str) -> None:
    """A slot that refuses is asked again by the next worker, when it may be allowed; the log says so once.

    It is no failure of the source, which would stay raised for ever.
    """
    state.unsupported.add((result.step, state.tokens[result.slot].key))
    key = f"{resource}: {result.step}"
    if key not in state.logged:
        state.logged.add(key)
        state.remarks.append(f"{resource}: {reason}; what it would tell is unavailable")


def _read_digests(state: ParseState) -> None:
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
            return Fact(metric, None, f"{STEPS[step].function} gave no answer", labels)
        sets.append((step, luna.pairs(result)))
    return appliance.digest_fact(metric, sets)


def _opened(result: Result) -> Call | None:
    return next((call for call in result.calls if call.function == "C_OpenSession"), None)


def _note_sessions(state: ParseState) -> None:
    """CKR_SESSION_COUNT is the token's own statement that its sessions are used up; it stands until it opens one."""
    for result in state.raw.results.values():
        opened = _opened(result)
        token = state.tokens.get(result.slot)
        if opened is None or token is None:
            continue
        if opened.value == OK:
            state.sessions_refused.discard(token.resource)
        elif opened.value == SESSION_COUNT:
            state.sessions_refused.add(token.resource)
            _replace(state, token.resource, [Fact("token_sessions_used_percent", 100.0)])


def _replace(state: ParseState, resource: str, facts: list[Fact]) -> None:
    """What the HSM itself reported replaces what was computed for the same metric in this poll."""
    metrics = {fact.metric for fact in facts}
    state.readings = [
        reading for reading in state.readings if reading.resource != resource or reading.metric not in metrics
    ]
    state.add(resource, facts, state.raw.time)


def _read_store(state: ParseState) -> None:
    """Fill of a file-backed token's directory; of one that serves several, each token's share of it as well."""
    fill = state.raw.fill
    if fill is None:
        return
    owner, shares = _store_owner(state), _shares(state, fill.get("parts", {}))
    if "error" in fill:
        state.fail(STORE, f"object_store: {fill['error']}")
        for resource in (*shares, owner):
            state.add(resource, fill_facts(None, None, why=fill["error"]), state.raw.time)
        return
    capacity, used = state.options.store_capacity, fill["bytes"]
    state.add(owner, store_facts(capacity, used), state.raw.time)
    for resource, share in shares.items():
        if share is None:
            why = "none of the object store's folders has the token's serial in its name"
            state.add(resource, fill_facts(None, None, why=why), state.raw.time)
        else:
            state.add(resource, store_facts(capacity, share, free=max(0, capacity - used)), state.raw.time)


def _store_owner(state: ParseState) -> str:
    """Whose directory it is: the token whose serial it ends in, as SoftHSM names them, or the only one there is."""
    owners = [
        token for token in state.tokens.values() if _ends_in(state.options.store_directory, token.identity.serial)
    ]
    tokens = owners or [*state.tokens.values()]
    return tokens[0].resource if len(tokens) == 1 else ""


def _shares(state: ParseState, folders: Mapping[str, int]) -> dict[str, int | None]:
    """Bytes of each token in a store that serves several, by the folders that are named by their serials."""
    if _store_owner(state):
        return {}
    tokens = state.tokens.values()
    return {token.resource: _share(token.identity.serial, folders) for token in tokens}


def _share(serial: str, folders: Mapping[str, int]) -> int | None:
    found = [size for folder, size in folders.items() if _ends_in(folder, serial)]
    return sum(found) if found else None


def _ends_in(folder: str, serial: str) -> bool:
    return bool(serial) and "".join(char for char in folder.rstrip("/") if char != "-").endswith(serial)
