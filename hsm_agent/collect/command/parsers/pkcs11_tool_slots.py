"""What OpenSC's `pkcs11-tool --list-slots` prints: slots, and the tokens in them. Pure."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers.text import ParsedOutput, name_in, one_line, split_field, unlike, whole_lines
from hsm_agent.collect.identity import ObjectIdentity
from hsm_agent.collect.series import Fact

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADING = re.compile(r"\s*(?:available slots:?|no slots\.?)\s*", re.IGNORECASE)
_SLOT = re.compile(r"\s*Slot ([0-9]{1,20}) \((0x[0-9a-f]{1,16})\):\s*(.*)", re.IGNORECASE)
_EMPTY = re.compile(r"\s*\(empty\)\s*", re.IGNORECASE)
_UNREADABLE = re.compile(
    r"\s*(?:\(token not recognized\)|\(?C_GetTokenInfo\(\) failed|\(?GetSlotInfo failed)", re.IGNORECASE
)
_ONCE = frozenset({"token label", "serial num", "token flags", "token state"})
_LONGEST_PIN = re.compile(r"[0-9]{1,20}/([0-9]{1,20})")
_PINS = {
    "token_pin": ("user pin count low", "final user pin try", "user pin locked"),
    "token_so_pin": ("so pin count low", "final so pin try", "so pin locked"),
}
_PIN_STATES = ("count_low", "final_try", "locked")


@dataclass(slots=True)
class _Slot:
    """A slot as printed; `trouble` says why its token cannot be read."""

    name: str
    description: str
    fields: dict[str, str] = field(default_factory=dict)
    is_empty: bool = False
    is_cut: bool = False
    trouble: str = ""

    @property
    def has_token(self) -> bool:
        return not (self.trouble or self.is_empty or self.is_uninitialized)

    @property
    def is_uninitialized(self) -> bool:
        return self.fields.get("token state", "").casefold() == "uninitialized"

    @property
    def flags(self) -> frozenset[str]:
        """Lower case; empty where they are not printed, as a token has some."""
        shown = name_in(self.fields.get("token flags", ""), most=1000)
        return frozenset(flag for each in shown.split(",") if (flag := each.strip().casefold()))


def parse_slots(text: str) -> ParsedOutput:
    """Readings of every slot. Raises Malformed where the output is not one."""
    lines = whole_lines(text)
    slots = _slots(lines)
    first = next((number for number, line in enumerate(lines) if _SLOT.fullmatch(line)), len(lines))
    has_strays = any(pair[0] in _ONCE for line in lines[:first] if (pair := split_field(line)) is not None)
    if not slots and not all(_HEADING.fullmatch(line) for line in lines if line.strip()):
        raise unlike("pkcs11-tool --list-slots", lines)
    if not slots and not any(map(str.strip, lines)):
        raise unlike("pkcs11-tool --list-slots", lines)
    facts: list[Fact] = []
    tokens: dict[str, ObjectIdentity] = {}
    for slot in slots:
        if not slot.has_token:
            facts += _no_token(slot)
            continue
        token = _identity(slot)
        resource = _resource(token, tokens)
        tokens[resource] = token
        facts += _token(slot, resource)
    # A last line that has no end was cut, and others after it may have been.
    whole = text.endswith("\n") and not has_strays and not any(slot.trouble for slot in slots)
    return ParsedOutput(facts=tuple(facts), whole=whole, tokens=tokens)


def _slots(lines: list[str]) -> list[_Slot]:
    slots: list[_Slot] = []
    for line in lines:
        found = _SLOT.fullmatch(line)
        if found is not None:
            slots.append(_Slot(name=f"slot {int(found[2], 16)}", description=name_in(found[3])))
        if not slots:
            continue
        slot = slots[-1]
        state = line if found is None else found[3]
        if _UNREADABLE.match(state):
            slot.trouble = f"the token cannot be read: {one_line(line)}"
        elif _EMPTY.fullmatch(state):
            slot.is_empty = True
        elif found is None and (pair := split_field(line)) is not None:
            if pair[0] in _ONCE and pair[0] in slot.fields:
                slot.is_cut = True  # the line is lost that begins the next slot
                slot.trouble = f"stands twice for this slot: {one_line(line)}"
            slot.fields.setdefault(*pair)
    _find_cut(slots)
    return slots


def _find_cut(slots: list[_Slot]) -> None:
    """Tell which slots have lost a line, or have the lines of two."""
    labels: set[str] = set()
    for slot in slots:
        label = slot.fields.get("token label", "")
        lost = next((name for name in ("token label", "serial num") if name not in slot.fields), "")
        if "token label" in slot.fields and (slot.is_empty or slot.is_uninitialized):
            slot.is_cut = True
            slot.trouble = "the output shows a token and none for this slot"
        # Without a serial number a token is told from the others by its label.
        elif slot.has_token and (lost == "token label" or (lost and label in labels)):
            slot.is_cut = True
            slot.trouble = f"the output has no line '{lost}' for this slot"
        labels.add(label)


def _identity(slot: _Slot) -> ObjectIdentity:
    return ObjectIdentity(name_in(slot.fields["token label"]), name_in(slot.fields.get("serial num", "")), slot.name)


def _resource(token: ObjectIdentity, taken: Mapping[str, ObjectIdentity]) -> str:
    """Label, else serial number, where these tell it from the others; else the slot."""
    again = (f"{token.place} ({number})" for number in itertools.count(2))
    names = itertools.chain((token.label, token.serial, token.place), again)
    return next(name for name in names if name and name not in taken)


def _info(slot: _Slot, resource: str) -> Fact:
    labels = (("description", slot.description), ("slot_id", slot.name.removeprefix("slot ")))
    return Fact(metric="slot_info", value=1, resource=resource, labels=labels)


def _no_token(slot: _Slot) -> list[Fact]:
    """A slot without a token, or with one that is not initialised or cannot be read, goes by its number."""
    state: list[Fact] = []
    if slot.trouble:
        state = [Fact(metric="token_initialized", value=None, resource=slot.name, reason=slot.trouble)]
    elif not slot.is_empty:
        state = [Fact(metric="token_initialized", value=0, resource=slot.name)]
    return state if slot.is_cut else [*state, _info(slot, slot.name)]


def _token(slot: _Slot, resource: str) -> list[Fact]:
    return [
        Fact(metric="token_present", value=1, resource=resource),
        *_states(slot, resource),
        Fact(metric="token_info", value=1, resource=resource, labels=_labels(slot)),
        _info(slot, resource),
    ]


def _states(slot: _Slot, resource: str) -> list[Fact]:
    """From the flags; OpenSC leaves uninitialised tokens' fields out unless it is told to be verbose."""
    if not slot.flags:
        return []
    pins = [fact for metric, flags in _PINS.items() for fact in _pin(slot, resource, metric, flags)]
    return [
        Fact(metric="token_initialized", value=int("token initialized" in slot.flags), resource=resource),
        *pins,
    ]


def _pin(slot: _Slot, resource: str, metric: str, flags: tuple[str, ...]) -> list[Fact]:
    """How near a PIN is to being locked, where there is one.

    Tokens of key servers in the cloud have none, and show their security officer's as locked for ever.
    """
    longest = _LONGEST_PIN.fullmatch(slot.fields.get("pin min/max", ""))
    reason = ""
    if "login required" not in slot.flags and (longest is None or int(longest[1]) == 0):
        reason = "the token needs no log-in and has no PINs"
    elif metric == "token_pin" and "pin initialized" not in slot.flags:
        reason = "the user PIN is not initialised"
    states = [flag in slot.flags for flag in flags]
    worst = max((number + 1 for number, on in enumerate(states) if on), default=0)
    values = {**dict(zip(_PIN_STATES, map(int, states), strict=True)), "state": worst}
    return [
        Fact(metric=f"{metric}_{name}", value=None if reason else value, resource=resource, reason=reason)
        for name, value in values.items()
    ]


def _labels(slot: _Slot) -> tuple[tuple[str, str], ...]:
    names = {
        "firmware": "firmware version",
        "hardware": "hardware version",
        "label": "token label",
        "manufacturer": "token manufacturer",
        "model": "token model",
        "serial": "serial num",
    }
    found = {label: name_in(slot.fields.get(name, "")) for label, name in names.items()}
    return tuple(sorted((label, text) for label, text in found.items() if text))
