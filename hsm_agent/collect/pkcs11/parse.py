"""Turns the raw result of a poll into readings. Pure: the memory of earlier polls is an argument, the new one a result.

It must not let one slot's failure touch another's readings, nor report a value that was not read in this poll.
"""

from __future__ import annotations

import calendar
import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.collect.child_common import returned
from hsm_agent.collect.pkcs11 import steps
from hsm_agent.collect.pkcs11 import token as identity
from hsm_agent.collect.pkcs11.poll_state import SWEEP, ParseOptions, ParseState, PollMemory, TokenSlot
from hsm_agent.collect.pkcs11.token import (
    CKF_USER_PIN_INITIALIZED,
    NOT_REPORTED,
    Slot,
    Token,
    TokenIdentity,
    count,
    limit,
    memory,
)
from hsm_agent.collect.series import Fact
from hsm_agent.workers.pkcs11.return_values import ABSENT, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hsm_agent.collect.pkcs11.recording import RawPoll, Result
    from hsm_agent.collect.pkcs11.token import Token, TokenKey
    from hsm_agent.model import Reading

_MOST_LISTED = 8
_OWN_SESSIONS_ONLY = ("NSS", "Mozilla Foundation", "tpm2-software", "libsoftokn3", "libtpm2_pkcs11")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPoll:
    """Readings, isolated failures, the memory for the next poll, and whether any watched token could be read.

    `standing` are failures of earlier polls in what was not tried again in this one.
    `gone` are resources that are not read under that name any more: their token goes by another, or the slot is gone.
    `remarks` are for the log: they tell what no reading does.
    """

    readings: tuple[Reading, ...]
    errors: tuple[str, ...]
    memory: PollMemory
    well: bool
    standing: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sweep:
    """The slots of one sweep, sorted by their result."""

    tokens: dict[int, tuple[Token, Slot | None, float]] = field(default_factory=dict)
    empty: dict[int, Slot] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    stated: set[int] = field(default_factory=set)
    """Failed slots whose HSM gave the reason in its return value: readings of their own report it."""


def parse(raw: RawPoll, options: ParseOptions, memory: PollMemory) -> ParsedPoll:
    """Readings of one poll, fresh or replayed."""
    state = ParseState(raw, options, memory)
    well = True
    if raw.slots is not None:
        sweep = _sorted(raw)
        well = _read_sweep(state, sweep)
    steps.read(state)
    return ParsedPoll(
        readings=tuple(state.readings),
        errors=(*state.errors(), *raw.notes),
        standing=state.standing(),
        memory=state.memory_afterwards(),
        well=well,
        gone=tuple(sorted(state.forgotten)),
        remarks=tuple(state.remarks),
    )


def tokens_watched(results: Iterable[Result], globs: Sequence[str]) -> dict[TokenKey, int]:
    """Initialised tokens in the results of a sweep that the configuration names, and their slots."""
    found = {}
    for result in results:
        token = result.token if result.step == "token" else None
        if token is not None and token.initialized:
            found[result.slot] = TokenIdentity(token.label, token.serial)
    watched = {slot: token for slot, token in found.items() if identity.watched(token, globs)}
    return {key: slot for slot, key in identity.keys(watched).items()}


def _sorted(raw: RawPoll) -> _Sweep:
    sweep = _Sweep()
    for slot in raw.slots or ():
        result = raw.results.get(("token", slot))
        if result is None:
            sweep.failed[slot] = raw.failed.get(("token", slot), "not reached in this poll")
            continue
        slot_info = result.slot_info
        if result.token is not None:
            sweep.tokens[slot] = (result.token, slot_info, result.at)
            continue
        refusal = next((call for call in result.calls if call.function == "C_GetTokenInfo"), result.failure)
        if refusal is None or refusal.value in ABSENT:  # no failure at all: the slot says that it is empty
            sweep.empty[slot] = slot_info or Slot(description="", manufacturer="", hardware="", firmware="")
            continue
        sweep.failed[slot] = returned(refusal.function, refusal.value, slot, luna=raw.luna)
        if raw.luna and refusal.value in STATEMENTS:
            sweep.stated.add(slot)
    return sweep


def _read_sweep(state: ParseState, sweep: _Sweep) -> bool:
    """Readings of all slots. False if slots failed and no watched token could be read."""
    globs = state.options.tokens
    initialized = {slot: found for slot, found in sweep.tokens.items() if found[0].initialized}
    everyone = {slot: TokenIdentity(token.label, token.serial) for slot, (token, _, _) in initialized.items()}
    identities = {slot: token for slot, token in everyone.items() if identity.watched(token, globs)}
    seen = {name: token for name, token in state.memory.seen.items() if identity.watched(token, globs)}
    names, keys = identity.resources(identities, seen), identity.keys(identities)
    state.tokens = {slot: TokenSlot(names[slot], identities[slot], keys[slot]) for slot in identities}
    for slot in sorted(identities, key=names.__getitem__):
        token, slot_info, at = initialized[slot]
        state.add(names[slot], _token_facts(state, slot, token, at), at)
        if slot_info is not None:
            state.add(names[slot], [_slot_fact(slot, slot_info)], at)
    _read_nameless(state, sweep)
    unknown = _read_failed(state, sweep) if sweep.failed else []
    _read_missing(state, unknown)
    if not (sweep.failed or any(reading.metric == "token_present" for reading in state.readings)):
        state.fail(SWEEP, f"no token is watched: the module shows {_list(everyone.values())}, none that `tokens` names")
    elif not sweep.failed:
        _remark_unmatched(state, everyone.values())
    failed = [slot for slot in sweep.failed if slot not in sweep.stated]
    return bool(identities) or not failed


def _list(tokens: Collection[TokenIdentity]) -> str:
    """Tokens by the names under which `tokens` may name them."""
    names = [f"{token.label or 'a blank label'} ({token.serial})" for token in tokens]
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more if names else "no initialised token"


def _remark_unmatched(state: ParseState, tokens: Collection[TokenIdentity]) -> None:
    """Remark on a name or glob that matches no token, present or missed: it may be mistyped, and has no effect."""
    everyone, options = [*tokens, *state.seen.values()], state.options
    tables = {
        "tokens": options.tokens,
        "memory_total": options.memory_total,
        "sessions_max": options.sessions_max,
    }
    for key, globs in tables.items():
        for glob in globs:
            topic = f"{key}: {glob}"
            if any(identity.watched(token, [glob]) for token in everyone):
                state.logged.discard(topic)
            elif topic not in state.logged:
                state.logged.add(topic)
                state.remarks.append(f"{glob!r} in `{key}` names no token; the module shows {_list(tokens)}")


def _token_facts(state: ParseState, slot: int, token: Token, at: float) -> list[Fact]:
    options, given = state.options, TokenIdentity(token.label, token.serial)
    scope = session_scope(options.sessions_scope, (state.raw.manufacturer, token.manufacturer, state.raw.module))
    labels = {
        "firmware": token.firmware,
        "hardware": token.hardware,
        "label": token.label,
        "manufacturer": token.manufacturer,
        "model": token.model,
        "serial": token.serial,
    }
    private = count(token.total_private, token.ulong_bytes), count(token.free_private, token.ulong_bytes)
    public = count(token.total_public, token.ulong_bytes), count(token.free_public, token.ulong_bytes)
    facts = [
        state.presence(present=True, expected=identity.expected(given, options.tokens)),
        Fact("token_initialized", int(token.initialized)),
        *memory_facts("private", *private, _given(options.memory_total, given)),
        *memory_facts("public", *public),
        *session_facts(token, scope=scope, given_max=_given(options.sessions_max, given)),
        *pin_facts(token),
        clock_fact(token, at),
        Fact("token_info", 1, labels=tuple(sorted(labels.items()))),
    ]
    if (
        "CA_GetFirmwareVersion" not in state.raw.functions
        or ("firmware", state.tokens[slot].key) in state.memory.unsupported
    ):
        facts.append(Fact("hsm_firmware_info", 1, labels=(("version", token.firmware),)))
    return state.with_refusals(state.tokens[slot].resource, facts)


def _given(table: Mapping[str, int], token: TokenIdentity) -> int | None:
    """The operator's figure for a token: by its name if that stands there, else by the first glob that means it."""
    for name in (token.label, token.serial):
        if name in table:
            return table[name]
    return next((value for glob, value in table.items() if identity.watched(token, [glob])), None)


def session_scope(configured: str, names: tuple[str, ...]) -> str:
    """Whose sessions the module counts. Only modules that were measured to count their own are known as such."""
    if configured != "auto":
        return configured
    own = any(known in name for known in _OWN_SESSIONS_ONLY for name in names)
    return "application" if own else "token"


def _slot_fact(slot: int, info: Slot) -> Fact:
    labels = {
        "description": info.description,
        "firmware": info.firmware,
        "hardware": info.hardware,
        "manufacturer": info.manufacturer,
        "slot_id": str(slot),
    }
    return Fact("slot_info", 1, labels=tuple(sorted(labels.items())))


def _read_nameless(state: ParseState, sweep: _Sweep) -> None:
    """Slots without an initialised token: none can be missing from them, so there is no `token_present`."""
    if not identity.watched(TokenIdentity("", ""), state.options.tokens):
        return
    for slot, info in sweep.empty.items():
        state.add(f"slot {slot}", [_slot_fact(slot, info)], state.raw.time)
    for slot, (token, slot_info, at) in sweep.tokens.items():
        if not token.initialized:
            facts = [Fact("token_initialized", 0)]
            facts += [_slot_fact(slot, slot_info)] if slot_info is not None else []
            state.add(f"slot {slot}", facts, at)


def _read_failed(state: ParseState, sweep: _Sweep) -> list[str]:
    """Slots whose token could not be read. Returns the reasons of those whose token is not known for certain."""
    unknown = []
    present = {token.resource for token in state.tokens.values()}
    lasting = _lasting(state)
    # Slots that failed go before those that were not reached because of them: the first reason is the one shown.
    for slot, reason in sorted(sweep.failed.items(), key=lambda failed: ("token", failed[0]) not in state.raw.failed):
        before = state.memory.tokens.get(slot) if slot in lasting else None
        finding = slot in sweep.stated
        if before is None or before.resource in present:
            unknown.append(reason)
            if not finding:
                state.fail(SWEEP, reason)
            continue
        if not finding:
            state.fail(SWEEP, f"{before.resource}: {reason}")
        state.failed[slot] = before
        state.lose(before.resource, reason)
    return unknown


def _lasting(state: ParseState) -> frozenset[int]:
    """The slots whose numbers certainly mean what they did in the sweep before.

    Within a process all do. In another one only if whatever was read is where it was before. Even then a module that
    counts its slots has moved up all that follow a token which went: where the list is another one, those are certain
    that stand before a token which is still in its place.
    """
    slots = frozenset(state.raw.slots or ())
    if state.raw.process == state.memory.process:
        return slots
    before = {slot: token.key for slot, token in state.memory.tokens.items()}
    here = {slot: token.key for slot, token in state.tokens.items() if slot in before or token.key in before.values()}
    if not here or any(before.get(slot) != key for slot, key in here.items()):
        return frozenset()
    return slots if slots == state.memory.listed else frozenset(slot for slot in slots if slot < max(here))


def _read_missing(state: ParseState, unknown: list[str]) -> None:
    """Tokens that should be there. While a slot fails whose token is unknown, none is declared absent."""
    slots = [*state.tokens.values(), *state.failed.values()]
    present = {token.resource: token.identity for token in slots}
    gone = identity.missing(present, state.memory.seen, state.options.tokens)
    for resource, (_, is_expected) in gone.items():
        if unknown:
            fact = state.presence(present=None, expected=is_expected, reason=unknown[0])
        else:
            fact = state.presence(present=False, expected=is_expected)
        state.add(resource, [fact], state.raw.time)
        state.lose(resource, unknown[0] if unknown else "the token is not present", but=("token_present",))
    state.seen = identity.remember(present, state.memory.seen, state.options.tokens)
    covered = {*present, *gone, *(reading.resource for reading in state.readings)}
    for resource in set(state.memory.series) - covered - {""}:
        if unknown:
            state.lose(resource, unknown[0])  # it may be in one of the slots that failed
        else:
            state.forgotten.add(resource)


NO_LIMIT = "the token has no limit"
CKF_LOGIN_REQUIRED = 0x4
CKF_CLOCK_ON_TOKEN = 0x40
_USER_PIN = 0x10000
_SO_PIN = 0x100000
_NO_CLOCK_SECONDS = 86400
"""A utcTime that is off by more is taken for a clock's only if the token says that it has one."""
_PIN_STATES = ("count_low", "final_try", "locked")  # each flag is the one before shifted by one bit


def memory_facts(kind: str, total: int | None, free: int | None, given: int | None = None) -> list[Fact]:
    """Total, free, used and percent."""
    found = memory(total, free, given)
    values = {
        "total_bytes": found.total,
        "free_bytes": found.free,
        "used_bytes": found.used,
        "used_percent": found.percent,
    }
    return [
        Fact(f"token_memory_{kind}_{name}", value, "" if value is not None else found.reason)
        for name, value in values.items()
    ]


def session_facts(token: Token, *, scope: str, given_max: int | None) -> list[Fact]:
    """Session counts, limits and the used share; an application-scoped count says nothing of others."""
    why = NOT_REPORTED
    open_now, rw_now = count(token.sessions, token.ulong_bytes), count(token.rw_sessions, token.ulong_bytes)
    if scope == "application" and (open_now, rw_now) != (None, None):
        why = "the module counts this application's own sessions only"
        open_now = rw_now = None
    most = given_max if given_max is not None else limit(token.max_sessions, token.ulong_bytes)
    percent = None if open_now is None or not most else 100 * open_now / most
    most_rw = limit(token.max_rw_sessions, token.ulong_bytes)
    no_most, no_most_rw = (
        NO_LIMIT if reported == 0 else "the module reports no limit"
        for reported in (token.max_sessions, token.max_rw_sessions)
    )
    no_percent = why if open_now is None else no_most
    return [
        Fact("token_sessions", open_now, "" if open_now is not None else why),
        Fact("token_sessions_max", most, "" if most is not None else no_most),
        Fact("token_sessions_used_percent", percent, "" if percent is not None else no_percent),
        Fact("token_rw_sessions", rw_now, "" if rw_now is not None else why),
        Fact("token_rw_sessions_max", most_rw, "" if most_rw is not None else no_most_rw),
    ]


def pin_facts(token: Token) -> list[Fact]:
    """PIN states of the user and the security officer, where there is such a PIN.

    Tokens of key servers in the cloud have none, and show their security officer's as locked for ever.
    """
    no_pin = ""
    if not token.flags & CKF_LOGIN_REQUIRED and not count(token.max_pin, token.ulong_bytes):
        no_pin = "the token needs no log-in and has no PINs"
    no_user = "" if token.flags & CKF_USER_PIN_INITIALIZED else "the user PIN is not initialised"
    states = (("token_pin", _USER_PIN, no_pin or no_user), ("token_so_pin", _SO_PIN, no_pin))
    facts = []
    for prefix, first_flag, why in states:
        values = {name: int(bool(token.flags & first_flag << step)) for step, name in enumerate(_PIN_STATES)}
        values["state"] = max((step + 1 for step, name in enumerate(_PIN_STATES) if values[name]), default=0)
        facts += [Fact(f"{prefix}_{name}", None if why else value, why) for name, value in values.items()]
    return facts


def clock_fact(token: Token, at: float) -> Fact:
    """Token clock minus host clock in whole seconds.

    utcTime makes sense where CKF_CLOCK_ON_TOKEN is set (section 3.2). Software tokens give the host's time without it,
    which is well; others give a date of their own making for ever, which is no clock that is off.
    """
    name, utc_time = "token_clock_offset_seconds", token.utc_time
    if not utc_time.strip(b" \0"):
        return Fact(name, None, NOT_REPORTED)
    if not (utc_time.isdigit() and utc_time.endswith(b"00")):  # YYYYMMDDhhmmss00, PKCS#11 2.40 section 3.2
        return Fact(name, None, "the module's utcTime is malformed")
    try:
        moment = dt.datetime.strptime(utc_time[:14].decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        return Fact(name, None, "the module's utcTime is malformed")
    offset = calendar.timegm(moment.timetuple()) - int(at)
    if abs(offset) > _NO_CLOCK_SECONDS and not token.flags & CKF_CLOCK_ON_TOKEN:
        return Fact(name, None, f"the token says that it has no clock, and its utcTime is {moment:%Y-%m-%d}")
    return Fact(name, offset)
