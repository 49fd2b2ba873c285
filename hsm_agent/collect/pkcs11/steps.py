"""The steps that are asked of a token besides the sweep: what each calls, when, and what its answer becomes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.collect.pkcs11.luna import appliance
from hsm_agent.collect.pkcs11.luna import steps as luna
from hsm_agent.collect.pkcs11.schedule import Group
from hsm_agent.collect.series import Fact
from hsm_agent.workers.pkcs11.return_values import FUNCTION_NOT_SUPPORTED, RANDOM_NO_RNG, SESSION_COUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from hsm_agent.collect.pkcs11.identity import TokenKey
    from hsm_agent.collect.pkcs11.poll_state import ParseState, PollMemory
    from hsm_agent.collect.pkcs11.recording import RawPoll, Result
    from hsm_agent.model import Labels


def _is_unsupported(state: ParseState, resource: str, result: Result) -> bool:
    del state, resource
    return result.failure is not None and result.failure.value == FUNCTION_NOT_SUPPORTED


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
        read=luna.read_role,
        is_absent=luna.is_no_role,
    )


def _set(step: str, function: str) -> Step:
    metric, _ = appliance.SET_METRICS[step]
    return Step(group=Group.INVENTORY, function=function, calls=2, labelled=metric, read=luna.read_set)


def _alive(state: ParseState, resource: str, result: Result) -> list[Fact]:
    del state, resource, result
    return [Fact("token_alive", 1)]


def _not_alive(state: ParseState, resource: str, result: Result | None, reason: str) -> list[Fact]:
    """A call that did not return is a token that is not alive; a refused session says nothing either way."""
    del state, resource
    failure = None if result is None else result.failure
    if failure is not None and failure.value in {SESSION_COUNT, RANDOM_NO_RNG}:
        return [Fact("token_alive", None, reason)]
    return [Fact("token_alive", 0)]


def _objects(state: ParseState, resource: str, result: Result) -> list[Fact]:
    del state, resource
    return [Fact("token_objects", result.payload[0])]


STEPS = {
    # Most urgent first: a poll may run out of time.
    "audit": Step(
        function="CA_LogGetStatus",
        group=Group.AUDIT,
        series=_plain(*appliance.AUDIT_METRICS),
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
        function="CA_MTKGetState", group=Group.STORAGE, series=_plain("hsm_tampered"), read=luna.read_tamper
    ),
    "transport": Step(
        function="CA_STMGetState", group=Group.STORAGE, series=_plain("hsm_transport_mode"), read=luna.read_transport
    ),
    **{step: _role(role) for step, role in appliance.ROLES.items()},
    "storage": Step(
        function="CA_GetTokenStorageInformation",
        group=Group.STORAGE,
        series=_plain(*appliance.STORAGE_METRICS, "token_objects"),
        read=luna.read_storage,
        may_be_refused=False,
    ),
    "hsm_storage": Step(
        function="CA_GetHSMStorageInformation",
        group=Group.STORAGE,
        series=_plain(*appliance.HSM_STORAGE_METRICS),
        read=luna.read_hsm_storage,
    ),
    "firmware": Step(
        function="CA_GetFirmwareVersion",
        group=Group.INVENTORY,
        series=_plain("hsm_firmware_info"),
        read=luna.read_firmware,
        may_be_refused=False,
    ),
    "capabilities": _set("capabilities", "CA_GetHSMCapabilitySet"),
    "policies": _set("policies", "CA_GetHSMPolicySet"),
    "token_policies": _set("token_policies", "CA_GetTokenPolicies"),
    "alive": Step(
        group=Group.LIVENESS, series=_plain("token_alive"), read=_alive, failed=_not_alive, may_be_refused=False
    ),
    "objects": Step(group=Group.OBJECTS, series=_plain("token_objects"), read=_objects, may_be_refused=False),
}
"""By the worker's names of them (workers/pkcs11/steps.py)."""


def due_steps(
    due: Collection[Group],
    tokens: Iterable[TokenKey],
    functions: Collection[str],
    unsupported: Collection[tuple[str, TokenKey]],
) -> list[tuple[str, TokenKey]]:
    """Steps of tokens that are due beside the sweep and can be asked, most urgent first."""
    tokens = list(tokens)
    names = [
        name for name, step in STEPS.items() if step.group in due and (not step.function or step.function in functions)
    ]
    # Luna counts a partition's objects itself, and at less cost.
    brings_count = STEPS["storage"].function in functions
    counted = {("objects", token) for token in tokens if brings_count and ("storage", token) not in unsupported}
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
