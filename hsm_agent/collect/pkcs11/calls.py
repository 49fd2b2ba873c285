"""Which calls a source makes: the steps that ask Luna's own functions, their rhythms, the sum of a day. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.pkcs11.rhythm import Group
from hsm_agent.metrics import hsm, tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from hsm_agent.collect.pkcs11.source import Pkcs11Settings

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class VendorStep:
    """A step of the worker's: the function it calls, how often in one go, and the rhythm it is due with."""

    function: str
    group: Group
    calls: int = 1


VENDOR_STEPS = {
    # What operators wait for comes first: a poll may run out of time.
    "audit": VendorStep("CA_LogGetStatus", Group.AUDIT),
    "ha": VendorStep("CA_GetHAState", Group.SWEEP),
    "stats": VendorStep("CA_GetHSMStats", Group.SWEEP),
    "tamper": VendorStep("CA_MTKGetState", Group.STORAGE),
    "transport": VendorStep("CA_STMGetState", Group.STORAGE),
    "role_so": VendorStep("CA_RoleStateGet", Group.STORAGE),
    "role_crypto_officer": VendorStep("CA_RoleStateGet", Group.STORAGE),
    "role_crypto_user": VendorStep("CA_RoleStateGet", Group.STORAGE),
    "storage": VendorStep("CA_GetTokenStorageInformation", Group.STORAGE),
    "hsm_storage": VendorStep("CA_GetHSMStorageInformation", Group.STORAGE),
    "firmware": VendorStep("CA_GetFirmwareVersion", Group.INVENTORY),
    "capabilities": VendorStep("CA_GetHSMCapabilitySet", Group.INVENTORY, calls=2),
    "policies": VendorStep("CA_GetHSMPolicySet", Group.INVENTORY, calls=2),
    "token_policies": VendorStep("CA_GetTokenPolicies", Group.INVENTORY, calls=2),
}
_OWN_STEPS = {"alive": Group.LIVENESS, "objects": Group.OBJECTS}


def due_steps(
    due: Collection[Group], slots: Iterable[int], functions: Collection[str], unsupported: Collection[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Steps on slots that are due beside the sweep and can be asked, most urgent first."""
    slots = sorted(slots)
    names = [name for name, step in VENDOR_STEPS.items() if step.group in due and step.function in functions]
    names += [name for name, group in _OWN_STEPS.items() if group in due]
    # Luna counts a partition's objects itself, and at less cost.
    brings_count = VENDOR_STEPS["storage"].function in functions
    counted = {("objects", slot) for slot in slots if brings_count and ("storage", slot) not in unsupported}
    steps = [(name, slot) for name in names for slot in slots]
    return [step for step in steps if step not in unsupported and step not in counted]


def is_needed(group: Group, functions: Collection[str]) -> bool:
    """Whether the module has a function that is due with this rhythm."""
    return any(step.group is group and step.function in functions for step in VENDOR_STEPS.values())


def is_incomplete(
    group: Group,
    results: Iterable[Sequence[Any]],
    failed: Iterable[Sequence[Any]],
    unsupported: Collection[tuple[str, int]],
) -> bool:
    """Whether a step of that rhythm failed in a poll's raw result, other than by not being there at all."""
    wrong = [(step, slot) for step, slot, _ in failed]
    wrong += [(step, slot) for step, slot, _, _, payload in results if payload is None]
    return any(
        name in VENDOR_STEPS and VENDOR_STEPS[name].group is group and (name, slot) not in unsupported
        for name, slot in wrong
    )


def nowhere(slots: Collection[int], unsupported: Collection[tuple[str, int]]) -> set[str]:
    """Steps that none of these slots knows."""
    return {name for name in VENDOR_STEPS if slots and all((name, slot) in unsupported for slot in slots)}


def calls_a_day(
    settings: Pkcs11Settings, functions: Collection[str], unknown: Collection[str] = ()
) -> dict[str, float]:
    """The number of C calls a day for one token.

    `functions` are the vendor functions the module has, `unknown` the steps its slots turned out not to know: each
    worker asks for those once.
    """
    sweeps = _DAY / settings.every
    loads = _DAY / settings.rediscover_every
    calls = dict.fromkeys(("C_GetFunctionList", "C_Initialize", "C_GetInfo", "C_Finalize"), loads)
    calls |= {"C_GetSlotList": 2 * sweeps, "C_GetSlotInfo": sweeps, "C_GetTokenInfo": sweeps}
    rhythms = {
        Group.SWEEP: sweeps,
        Group.AUDIT: _DAY / settings.audit_every,
        Group.STORAGE: _DAY / settings.storage_every,
        Group.INVENTORY: 1.0,
    }
    for name, step in VENDOR_STEPS.items():
        if step.function in functions:
            times = rhythms[step.group]
            made = min(times, loads) if name in unknown else step.calls * times
            calls[step.function] = calls.get(step.function, 0.0) + made
    in_session = [
        (settings.liveness_every, ("C_GenerateRandom",)),
        (settings.objects_every, ("C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal")),
    ]
    for every, names in in_session:
        for name in ("C_OpenSession", *names, "C_CloseSession") if every is not None else ():
            calls[name] = calls.get(name, 0.0) + _DAY / (every or _DAY)
    return calls


IF_LUNA = "if the module is a Luna's"
_STORAGE = tuple(f"token_storage_{what}" for what in ("total_bytes", "used_bytes", "free_bytes", "used_percent"))


def brings(settings: Pkcs11Settings) -> dict[str, str]:
    """Metrics a source may bring, and on what that depends: see SourceSettings.brings."""
    asked = {
        "token_alive": settings.liveness_every is not None,
        "token_objects": settings.objects_every is not None,
        **dict.fromkeys(_STORAGE, settings.object_store is not None),
    }
    names = [metric.name for metric in tokens.METRICS if not metric.name.startswith("source_")]
    found = dict.fromkeys([*(name for name in names if asked.get(name, True)), "hsm_firmware_info"], "")
    if settings.luna == "off":
        return found
    chosen = {"hsm_capability": settings.capabilities, "hsm_policy": settings.policies}
    chosen["token_policy"] = settings.policies
    luna = [*(metric.name for metric in hsm.METRICS if chosen.get(metric.name, True)), *_STORAGE, "token_objects"]
    return {**dict.fromkeys(luna, IF_LUNA), **found}
