"""What OpenSC's `pkcs11-tool --list-slots` prints: slots, and the tokens in them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hsm_agent.collect.shell.sheet import unlike
from hsm_agent.collect.shell.text import Fact, Parsed, one_line, split_field, whole_lines

_HEADING = re.compile(r"\s*available slots:?\s*", re.IGNORECASE)
_SLOT = re.compile(r"\s*Slot ([0-9]{1,20}) \((0x[0-9a-f]{1,16})\):\s*(.*)", re.IGNORECASE)
_EMPTY = re.compile(r"\(empty\)", re.IGNORECASE)
_UNREADABLE = re.compile(r"\(token not recognized\)|C_GetTokenInfo\(\) failed|GetSlotInfo failed", re.IGNORECASE)


@dataclass(slots=True)
class _Slot:
    """A slot as printed; `trouble` is the line that says why its token cannot be read."""

    name: str
    description: str
    fields: dict[str, str] = field(default_factory=dict)
    is_empty: bool = False
    trouble: str = ""


def parse(text: str) -> Parsed:
    """Readings of every slot. Raises Malformed where the output is not one."""
    lines = whole_lines(text)
    slots = _slots(lines)
    if not slots and not any(_HEADING.fullmatch(line) for line in lines):
        raise unlike("pkcs11-tool --list-slots", lines)
    facts: list[Fact] = []
    taken: set[str] = set()
    for slot in slots:
        resource = _resource(slot, taken)
        taken.add(resource)
        facts += _facts(slot, resource)
    # A last line that has no end was cut, and others after it may have been.
    whole = text.endswith("\n") and not any(slot.trouble for slot in slots)
    return Parsed(facts=tuple(facts), whole=whole)


def _slots(lines: list[str]) -> list[_Slot]:
    slots: list[_Slot] = []
    for line in lines:
        found = _SLOT.fullmatch(line)
        if found is not None:
            slots.append(_Slot(name=f"slot {int(found[2], 16)}", description=one_line(found[3], 64)))
        if not slots:
            continue
        slot = slots[-1]
        if _UNREADABLE.search(line):
            slot.trouble = line
        elif _EMPTY.search(line):
            slot.is_empty = True
        elif found is None and (pair := split_field(line)) is not None:
            slot.fields.setdefault(*pair)
    return slots


def _resource(slot: _Slot, taken: set[str]) -> str:
    """Label, else serial number, where these tell it from the others; else the slot."""
    names = (slot.fields.get("token label", ""), slot.fields.get("serial num", ""), slot.name)
    return next((name for each in names if (name := one_line(each, 64)) and name not in taken), slot.name)


def _facts(slot: _Slot, resource: str) -> list[Fact]:
    labels = (("description", slot.description), ("slot_id", slot.name.removeprefix("slot ")))
    info = Fact(metric="slot_info", value=1, resource=resource, labels=labels)
    if slot.trouble:
        reason = f"the token cannot be read: {one_line(slot.trouble)}"
        return [Fact(metric="token_initialized", value=None, resource=slot.name, reason=reason), info]
    if slot.is_empty:
        return [info]
    if slot.fields.get("token state", "").casefold() == "uninitialized":
        return [Fact(metric="token_initialized", value=0, resource=resource), info]
    if "token label" not in slot.fields:
        reason = "the output has no line 'token label' for this slot"
        return [Fact(metric="token_initialized", value=None, resource=resource, reason=reason)]
    return [
        Fact(metric="token_present", value=1, resource=resource),
        *_initialized(slot, resource),
        Fact(metric="token_info", value=1, resource=resource, labels=_identity(slot)),
        info,
    ]


def _initialized(slot: _Slot, resource: str) -> list[Fact]:
    """From the flags; OpenSC leaves uninitialised tokens' fields out unless it is told to be verbose."""
    flags = [flag.strip().casefold() for flag in slot.fields.get("token flags", "").split(",")]
    if not any(flags):
        return []
    return [Fact(metric="token_initialized", value=int("token initialized" in flags), resource=resource)]


def _identity(slot: _Slot) -> tuple[tuple[str, str], ...]:
    names = {
        "firmware": "firmware version",
        "hardware": "hardware version",
        "label": "token label",
        "manufacturer": "token manufacturer",
        "model": "token model",
        "serial": "serial num",
    }
    found = {label: one_line(slot.fields.get(name, ""), 64) for label, name in names.items()}
    return tuple(sorted((label, text) for label, text in found.items() if text))
