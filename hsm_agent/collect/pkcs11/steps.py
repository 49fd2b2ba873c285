"""Which calls a source makes: the steps that ask Luna's own functions, their rhythms, the sum of a day. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.pkcs11.schedule import Group
from hsm_agent.metrics import tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from hsm_agent.collect.pkcs11.identity import Key
    from hsm_agent.collect.pkcs11.poll_state import Known
    from hsm_agent.collect.pkcs11.source import Pkcs11Settings


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
    due: Collection[Group], tokens: Iterable[Key], functions: Collection[str], unsupported: Collection[tuple[str, Key]]
) -> list[tuple[str, Key]]:
    """Steps of tokens that are due beside the sweep and can be asked, most urgent first."""
    tokens = list(tokens)
    names = [name for name, step in VENDOR_STEPS.items() if step.group in due and step.function in functions]
    names += [name for name, group in _OWN_STEPS.items() if group in due]
    # Luna counts a partition's objects itself, and at less cost.
    brings_count = VENDOR_STEPS["storage"].function in functions
    counted = {("objects", token) for token in tokens if brings_count and ("storage", token) not in unsupported}
    steps = [(name, token) for name in names for token in tokens]
    return [step for step in steps if step not in unsupported and step not in counted]


def is_needed(group: Group, functions: Collection[str]) -> bool:
    """Whether the module has a function that is due with this rhythm."""
    return any(step.group is group and step.function in functions for step in VENDOR_STEPS.values())


def is_incomplete(group: Group, raw: Mapping[str, Any], known: Known) -> bool:
    """Whether a step of that rhythm failed in a poll's raw result, other than by not being there at all."""
    wrong = [(step, slot) for step, slot, _ in raw["failed"]]
    wrong += [(step, slot) for step, slot, _, _, payload in raw["results"] if payload is None]
    return any(
        name in VENDOR_STEPS
        and VENDOR_STEPS[name].group is group
        and (slot not in known.tokens or (name, known.tokens[slot].key) not in known.unsupported)
        for name, slot in wrong
    )


def nowhere(tokens: Collection[Key], unsupported: Collection[tuple[str, Key]]) -> set[str]:
    """Steps that make sense for none of these tokens."""
    return {name for name in VENDOR_STEPS if tokens and all((name, token) in unsupported for token in tokens)}


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
    luna = [*(metric.name for metric in tokens.HSM if chosen.get(metric.name, True)), *_STORAGE, "token_objects"]
    return {**dict.fromkeys(luna, IF_LUNA), **found}
