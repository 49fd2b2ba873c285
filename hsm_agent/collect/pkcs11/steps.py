"""The steps asked of a token besides the sweep: what each calls, when, and the readings in its answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.child_common import returned
from hsm_agent.collect.pkcs11 import luna
from hsm_agent.collect.pkcs11.luna import fill_facts, store_facts
from hsm_agent.collect.pkcs11.poll_state import STORE, AnswerError
from hsm_agent.collect.series import Fact
from hsm_agent.workers.pkcs11.return_values import (
    FUNCTION_NOT_SUPPORTED,
    HSM_TAMPERED,
    LOG_AUDIT_NOT_INITIALIZED,
    LOG_FULL,
    MTK_ZEROIZED,
    NEVER_HERE,
    OK,
    RANDOM_NO_RNG,
    SESSION_COUNT,
    is_refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from hsm_agent.collect.pkcs11.poll_state import ParseState, PollMemory, TokenSlot
    from hsm_agent.collect.pkcs11.recording import RawPoll, Result
    from hsm_agent.collect.pkcs11.token import TokenKey
    from hsm_agent.model import Labels


class Group(Enum):
    """Steps that are read together, at one interval."""

    SWEEP = "sweep"
    AUDIT = "audit"
    STORAGE = "storage"
    INVENTORY = "inventory"
    LIVENESS = "liveness"
    OBJECTS = "objects"


def _returned(values: Collection[int]) -> Callable[[ParseState, str, Result], bool]:
    """Whether a step failed with one of these return values."""
    return lambda _state, _resource, result: result.failure is not None and result.failure.value in values


_is_unsupported = _returned({FUNCTION_NOT_SUPPORTED})


def _decoded(decode: Callable[[Any, int], list[Fact]]) -> Callable[[ParseState, str, Result], list[Fact]]:
    """The facts that follow from the payload alone; the decoder is also given the bytes of a CK_ULONG."""
    return lambda state, _resource, result: decode(result.payload, state.raw.ulong_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of the worker's.

    `function` is the vendor's function that the module must have; empty for standard functions. It is called `calls`
    times in one go. `read` turns an answer into facts. When the step fails, `series` become unavailable, also the first
    time, and every series of `labelled` that was read before; or `failed` says what is known all the same.
    `is_absent` tells of a failure whether the slot simply has no such thing. A refusal of a step that `may_be_refused`
    is only logged; that the others cannot be read is a failure of the source.
    """

    group: Group
    function: str = ""
    calls: int = 1
    series: tuple[tuple[str, Labels], ...] = ()
    labelled: str = ""
    read: Callable[[ParseState, str, Result], list[Fact]]
    failed: Callable[[ParseState, str, Result | None, str], list[Fact]] | None = None
    is_absent: Callable[[ParseState, str, Result], bool] = _is_unsupported
    may_be_refused: bool = True

    def lost(self, state: ParseState, resource: str, reason: str, *, known_only: bool = False) -> list[Fact]:
        """Everything the step brings, without a value; with `known_only` without what was never read."""
        members = [(self.labelled, labels) for labels in state.labels_known(resource, self.labelled)]
        facts = []
        for metric, labels in (*self.series, *members):
            known = state.labels_known(resource, metric)
            # The labels of an `..._info` metric are its content: they stay what they were.
            shown = next(iter(known), labels) if metric.endswith("_info") else labels
            if not known_only or shown in known:
                facts.append(Fact(metric, None, reason, shown))
        return facts


def _plain(*metrics: str) -> tuple[tuple[str, Labels], ...]:
    return tuple((metric, ()) for metric in metrics)


def _role(role: str) -> Step:
    labels = (("role", role),)
    return Step(
        group=Group.STORAGE,
        function="CA_RoleStateGet",
        series=(("token_login_attempts_left", labels), ("token_role_locked", labels)),
        read=_decoded(lambda payload, _: luna.role_facts(role, payload)),
        is_absent=_returned(NEVER_HERE),
    )


def _set(step: str) -> Step:
    function, metric, _ = luna.SETS[step]
    return Step(group=Group.INVENTORY, function=function, calls=2, labelled=metric, read=luna.read_set)


def _not_alive(state: ParseState, resource: str, result: Result | None, reason: str) -> list[Fact]:
    """A call that did not return is a token that is not alive; a refused session says nothing either way."""
    del state, resource
    failure = None if result is None else result.failure
    if failure is not None and failure.value in {SESSION_COUNT, RANDOM_NO_RNG}:
        return [Fact("token_alive", None, reason)]
    return [Fact("token_alive", 0)]


STEPS = {
    # Most urgent first: a poll may run out of time.
    "audit": Step(
        function="CA_LogGetStatus",
        group=Group.AUDIT,
        series=_plain(*luna.AUDIT_METRICS),
        read=luna.read_audit,
        failed=luna.failed_audit,
        may_be_refused=False,
    ),
    "ha": Step(
        function="CA_GetHAState",
        group=Group.SWEEP,
        series=_plain("ha_members_up", "ha_members_expected"),
        labelled="ha_member_up",
        read=luna.read_ha,
        is_absent=luna.is_no_group,
    ),
    "stats": Step(
        function="CA_GetHSMStats",
        group=Group.SWEEP,
        series=_plain("hsm_commands_total", "hsm_uptime_seconds", "hsm_utilization_percent"),
        read=luna.read_stats,
    ),
    "tamper": Step(
        function="CA_MTKGetState",
        group=Group.STORAGE,
        series=_plain("hsm_tampered"),
        read=_decoded(luna.tamper_facts),
    ),
    "transport": Step(
        function="CA_STMGetState",
        group=Group.STORAGE,
        series=_plain("hsm_transport_mode"),
        read=_decoded(luna.transport_facts),
    ),
    **{step: _role(role) for step, role in luna.ROLES.items()},
    "storage": Step(
        function="CA_GetTokenStorageInformation",
        group=Group.STORAGE,
        series=_plain(*luna.STORAGE_METRICS, "token_objects"),
        read=_decoded(luna.storage_facts),
        may_be_refused=False,
    ),
    "hsm_storage": Step(
        function="CA_GetHSMStorageInformation",
        group=Group.STORAGE,
        series=_plain(*luna.HSM_STORAGE_METRICS),
        read=_decoded(luna.hsm_storage_facts),
    ),
    "firmware": Step(
        function="CA_GetFirmwareVersion",
        group=Group.INVENTORY,
        series=_plain("hsm_firmware_info"),
        read=_decoded(luna.firmware_facts),
        may_be_refused=False,
    ),
    "capabilities": _set("capabilities"),
    "policies": _set("policies"),
    "token_policies": _set("token_policies"),
    "alive": Step(
        group=Group.LIVENESS,
        series=_plain("token_alive"),
        read=lambda *_: [Fact("token_alive", 1)],
        failed=_not_alive,
        may_be_refused=False,
    ),
    "objects": Step(
        group=Group.OBJECTS,
        series=_plain("token_objects"),
        read=lambda _state, _resource, result: [Fact("token_objects", result.payload[0])],
        may_be_refused=False,
    ),
}
"""By the worker's names of them (workers/pkcs11/steps.py)."""


def due_steps(
    due: Collection[Group],
    tokens: Iterable[TokenKey],
    functions: Collection[str],
    memory: PollMemory,
) -> list[tuple[str, TokenKey]]:
    """Steps of tokens that are due beside the sweep and can be asked, most urgent first."""
    unsupported = memory.unsupported
    tokens = list(tokens)
    names = [
        name for name, step in STEPS.items() if step.group in due and (not step.function or step.function in functions)
    ]
    # Luna counts a partition's objects itself, and at less cost.
    brings_count = STEPS["storage"].function in functions
    uncounted = unsupported | memory.unsupported_before
    counted = {("objects", token) for token in tokens if brings_count and ("storage", token) not in uncounted}
    steps = [(name, token) for name in names for token in tokens]
    return [step for step in steps if step not in unsupported and step not in counted]


def is_needed(group: Group, functions: Collection[str]) -> bool:
    """Whether the module has a vendor function that is due with this rhythm."""
    return any(step.group is group and step.function in functions for step in STEPS.values())


def is_incomplete(group: Group, raw: RawPoll, memory: PollMemory) -> bool:
    """Whether a step of that rhythm failed in a poll, other than by not being there at all."""
    wrong = [*raw.failed, *(asked for asked, result in raw.results.items() if result.payload is None)]
    return any(
        name in STEPS
        and STEPS[name].group is group
        and (slot not in memory.tokens or (name, memory.tokens[slot].key) not in memory.unsupported)
        for name, slot in wrong
    )


def nowhere(tokens: Collection[TokenKey], unsupported: Collection[tuple[str, TokenKey]]) -> set[str]:
    """Steps that make sense for none of these tokens."""
    return {name for name in STEPS if tokens and all((name, token) in unsupported for token in tokens)}


_FINDINGS = {
    LOG_FULL: "the HSM refuses to work until its audit log is exported: CKR_LOG_FULL",
    LOG_AUDIT_NOT_INITIALIZED: "the HSM's audit role is not initialised",
    HSM_TAMPERED: "the HSM refuses to work because it was tampered with: CKR_HSM_TAMPERED",
    MTK_ZEROIZED: "the HSM refuses to work because its master key was zeroized: CKR_MTK_ZEROIZED",
    SESSION_COUNT: "the token refuses another session: CKR_SESSION_COUNT",
}
"""Answers that say something about the token; the source did its work."""


def read(state: ParseState) -> None:
    """Everything but the sweep."""
    for slot, token in state.tokens.items():
        for name, step in STEPS.items():
            result = state.raw.results.get((name, slot))
            if (name, slot) in state.raw.failed or (result is not None and result.failure is not None):
                _read_failure(state, name, token, slot)
            elif result is not None:
                _read_answer(state, step, token, result)
    _note_sessions(state)
    if state.raw.luna:
        luna.read_digests(state)
        # Last: what the HSM says by refusing calls counts for more than what was computed.
        for resource in _that_returned(state, {LOG_FULL}):
            _replace(state, resource, [Fact("audit_used_percent", 100.0), Fact("audit_seconds_to_full", 0.0)])
        for resource in _that_returned(state, {HSM_TAMPERED, MTK_ZEROIZED}):
            _replace(state, resource, [Fact("hsm_tampered", 1)])
    if state.raw.fill is not None:
        _read_store(state, state.raw.fill)


def _read_answer(state: ParseState, step: Step, token: TokenSlot, result: Result) -> None:
    try:
        facts = step.read(state, token.resource, result)
        state.unsupported_before.discard((result.step, token.key))
    except AnswerError as error:
        state.fail((result.step, token.resource), f"{token.resource}: {error}")
        facts = step.lost(state, token.resource, str(error))
    state.add(token.resource, facts, result.at)


def _read_failure(state: ParseState, name: str, token: TokenSlot, slot: int) -> None:
    """A step that was not answered, or of which a call failed."""
    step, resource = STEPS[name], token.resource
    result = state.raw.results.get((name, slot))
    failure = None if result is None else result.failure
    if result is None or failure is None:
        reason = state.raw.failed[name, slot]
        state.fail((name, resource), f"{resource}: {reason}")
    elif failure.value in _FINDINGS and (state.raw.luna or failure.value == SESSION_COUNT):
        reason = _FINDINGS[failure.value]
    elif step.is_absent(state, resource, result):
        # The slot simply has no such thing: no error, and no reading but of what was read before.
        state.unsupported.add((name, token.key))
        # Another step may bring the same metric: the one that counts objects does where Luna's own count is not there.
        if (name, token.key) not in state.unsupported_before:
            state.add(resource, step.lost(state, resource, "no longer supported", known_only=True), result.at)
        return
    else:
        reason = returned(failure.function, failure.value, slot, luna=state.raw.luna)
        if step.may_be_refused and is_refusal(failure.value):
            _log_refusal(state, name, token, reason)
        elif failure.value != RANDOM_NO_RNG:
            state.fail((name, resource), f"{resource}: {reason}")
    facts = step.failed(state, resource, result, reason) if step.failed else step.lost(state, resource, reason)
    state.add(resource, facts, state.raw.time if result is None else result.at)


def _log_refusal(state: ParseState, name: str, token: TokenSlot, reason: str) -> None:
    """A slot that refuses is asked again by the next worker, when it may be allowed; the log says so once.

    It is no failure of the source, which would stay raised for ever.
    """
    state.unsupported.add((name, token.key))
    topic = f"{token.resource}: {name}"
    if topic not in state.logged:
        state.logged.add(topic)
        state.remarks.append(f"{token.resource}: {reason}; what it would tell is unavailable")


def _that_returned(state: ParseState, values: set[int]) -> set[str]:
    """Tokens of which any call of this poll returned one of these values."""
    slots = {**state.tokens, **state.failed}
    return {
        slots[result.slot].resource
        for result in state.raw.results.values()
        if result.slot in slots and any(call.value in values for call in result.calls)
    }


def _note_sessions(state: ParseState) -> None:
    """CKR_SESSION_COUNT is the token's own statement that its sessions are used up; it stands until it opens one."""
    for result in state.raw.results.values():
        opened = next((call for call in result.calls if call.function == "C_OpenSession"), None)
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


def _read_store(state: ParseState, fill: Mapping[str, Any]) -> None:
    """Fill of a file-backed token's directory; of one that serves several, each token's share of it as well."""
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
    sizes = {
        token.resource: [size for folder, size in folders.items() if _ends_in(folder, token.identity.serial)]
        for token in state.tokens.values()
    }
    return {resource: sum(found) if found else None for resource, found in sizes.items()}


def _ends_in(folder: str, serial: str) -> bool:
    return bool(serial) and "".join(char for char in folder.rstrip("/") if char != "-").endswith(serial)
