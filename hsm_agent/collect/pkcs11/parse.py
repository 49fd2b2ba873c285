"""From the raw result of a poll to readings. Pure: what was known before is an argument, what is known now a result.

It must not let one slot's failure touch another's readings, nor report a value that was not read in this poll.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.collect.pkcs11 import identity as pkcs11_naming
from hsm_agent.collect.pkcs11 import reasons as pkcs11_reasons
from hsm_agent.collect.pkcs11 import step_results as pkcs11_extras
from hsm_agent.collect.pkcs11.identity import Identity
from hsm_agent.collect.pkcs11.poll_state import SWEEP, Book, Known, TokenSlot, Watch
from hsm_agent.collect.pkcs11.recording import Raw, Result, typed
from hsm_agent.collect.pkcs11.token import (
    Fact,
    Slot,
    Token,
    clock_fact,
    count,
    decode_slot,
    decode_token,
    memory_facts,
    pin_facts,
    session_facts,
)
from hsm_agent.workers.pkcs11.return_values import ABSENT, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import Any

    from hsm_agent.collect.pkcs11.identity import Key
    from hsm_agent.model import Reading

_MOST_LISTED = 8
_OWN_SESSIONS_ONLY = ("NSS", "Mozilla Foundation", "tpm2-software", "libsoftokn3", "libtpm2_pkcs11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """Readings, isolated failures, what is known from now on, and whether any watched token could be read.

    `standing` are failures of earlier polls in what was not tried again in this one.
    `gone` are resources that are not read under that name any more: their token goes by another, or the slot is gone.
    `remarks` are for the log: what people should know and no reading says.
    """

    readings: tuple[Reading, ...]
    errors: tuple[str, ...]
    known: Known
    well: bool
    standing: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sweep:
    """The slots of one sweep, sorted by what came of them."""

    tokens: dict[int, tuple[Token, Slot | None, float]] = field(default_factory=dict)
    empty: dict[int, Slot] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    stated: set[int] = field(default_factory=set)
    """Failed ones whose HSM said why, and has readings for it."""


def parse(recorded: Mapping[str, Any], watch: Watch, known: Known) -> Parsed:
    """Readings of one poll, fresh or replayed."""
    raw = typed(recorded)
    book = Book(raw, watch, known)
    well = True
    if raw.slots is not None:
        sweep = _sorted(raw)
        well = _read_sweep(book, sweep)
    pkcs11_extras.read(book)
    return Parsed(
        readings=tuple(book.readings),
        errors=(*book.errors(), *raw.notes),
        standing=book.standing(),
        known=book.known_now(),
        well=well,
        gone=tuple(sorted(book.forgotten)),
        remarks=tuple(book.remarks),
    )


def tokens_watched(results: Iterable[Sequence[Any]], word: int, globs: Sequence[str]) -> dict[Key, int]:
    """Initialised tokens in the results of a sweep that the configuration names, and their slots."""
    found = {}
    for step, slot, _, _, payload in results:
        if step != "token" or payload[1] is None:
            continue
        token = decode_token(bytes.fromhex(payload[1]), word)
        identity = Identity(token.label, token.serial)
        if token.initialized and pkcs11_naming.watched(identity, globs):
            found[slot] = identity
    return {key: slot for slot, key in pkcs11_naming.keys(found).items()}


def _sorted(raw: Raw) -> _Sweep:
    sweep = _Sweep()
    for slot in raw.slots or ():
        result = raw.results.get(("token", slot))
        if result is None:
            sweep.failed[slot] = raw.failed.get(("token", slot), "not reached in this poll")
        else:
            _sort_one(raw, sweep, result)
    return sweep


def _sort_one(raw: Raw, sweep: _Sweep, result: Result) -> None:
    slot_data, token_data = result.payload
    slot_info = decode_slot(bytes.fromhex(slot_data), raw.word) if slot_data else None
    if token_data is not None:
        token = decode_token(bytes.fromhex(token_data), raw.word)
        sweep.tokens[result.slot] = (token, slot_info, result.at)
        return
    refusal = next((call for call in result.calls if call.function == "C_GetTokenInfo"), result.failure)
    if refusal is None or refusal.value in ABSENT:  # no failure at all: the slot says that it is empty
        sweep.empty[result.slot] = slot_info or Slot(description="", manufacturer="", hardware="", firmware="")
        return
    sweep.failed[result.slot] = pkcs11_reasons.returned(refusal.function, refusal.value, result.slot, luna=raw.luna)
    if raw.luna and refusal.value in STATEMENTS:
        sweep.stated.add(result.slot)


def _read_sweep(book: Book, sweep: _Sweep) -> bool:
    """Readings of all slots. False if slots failed and no watched token could be read."""
    globs = book.watch.tokens
    initialized = {slot: found for slot, found in sweep.tokens.items() if found[0].initialized}
    everyone = {slot: Identity(token.label, token.serial) for slot, (token, _, _) in initialized.items()}
    identities = {slot: token for slot, token in everyone.items() if pkcs11_naming.watched(token, globs)}
    seen = {name: token for name, token in book.known.seen.items() if pkcs11_naming.watched(token, globs)}
    names, keys = pkcs11_naming.resources(identities, seen), pkcs11_naming.keys(identities)
    book.tokens = {slot: TokenSlot(names[slot], identities[slot], keys[slot]) for slot in identities}
    for slot in sorted(identities, key=names.__getitem__):
        token, slot_info, at = initialized[slot]
        book.add(names[slot], _token_facts(book, slot, token, at), at)
        if slot_info is not None:
            book.add(names[slot], [_slot_fact(slot, slot_info)], at)
    _read_nameless(book, sweep)
    unknown = _read_failed(book, sweep)
    _read_missing(book, unknown)
    if not (book.readings_of_tokens() or sweep.failed):
        book.fail(SWEEP, f"no token is watched: the module shows {_list(everyone.values())}, none that `tokens` names")
    elif not sweep.failed:
        _remark_unmatched(book, everyone.values())
    failed = [slot for slot in sweep.failed if slot not in sweep.stated]
    return bool(identities) or not failed


def _list(tokens: Collection[Identity]) -> str:
    """Tokens as the operator may name them."""
    names = [f"{token.label or 'a blank label'} ({token.serial})" for token in tokens]
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more if names else "no initialised token"


def _remark_unmatched(book: Book, tokens: Collection[Identity]) -> None:
    """A name or glob that means no token, present or missed, may be mistyped: what stands there does nothing."""
    everyone, watch = [*tokens, *book.seen.values()], book.watch
    tables = {"tokens": watch.tokens, "memory_total": watch.memory_total, "sessions_max": watch.sessions_max}
    for key, globs in tables.items():
        for glob in globs:
            topic = f"{key}: {glob}"
            if any(pkcs11_naming.watched(token, [glob]) for token in everyone):
                book.told.discard(topic)
            elif topic not in book.told:
                book.told.add(topic)
                book.remarks.append(f"{glob!r} in `{key}` names no token; the module shows {_list(tokens)}")


def _token_facts(book: Book, slot: int, token: Token, at: float) -> list[Fact]:
    watch, given = book.watch, Identity(token.label, token.serial)
    scope = session_scope(watch.sessions_scope, (book.raw.manufacturer, token.manufacturer, book.raw.module))
    labels = {
        "firmware": token.firmware,
        "hardware": token.hardware,
        "label": token.label,
        "manufacturer": token.manufacturer,
        "model": token.model,
        "serial": token.serial,
    }
    private = count(token.total_private, token.word), count(token.free_private, token.word)
    public = count(token.total_public, token.word), count(token.free_public, token.word)
    facts = [
        book.presence(present=True, expected=pkcs11_naming.expected(given, watch.tokens)),
        Fact("token_initialized", int(token.initialized)),
        *memory_facts("private", *private, _given(watch.memory_total, given)),
        *memory_facts("public", *public),
        *session_facts(token, scope=scope, given_max=_given(watch.sessions_max, given)),
        *pin_facts(token),
        clock_fact(token, at),
        Fact("token_info", 1, labels=tuple(sorted(labels.items()))),
    ]
    if (
        "CA_GetFirmwareVersion" not in book.raw.functions
        or ("firmware", book.tokens[slot].key) in book.known.unsupported
    ):
        facts.append(Fact("hsm_firmware_info", 1, labels=(("version", token.firmware),)))
    return book.with_refusals(book.tokens[slot].resource, facts)


def _given(table: Mapping[str, int], identity: Identity) -> int | None:
    """The operator's figure for a token: by its name if that stands there, else by the first glob that means it."""
    for name in (identity.label, identity.serial):
        if name in table:
            return table[name]
    return next((value for glob, value in table.items() if pkcs11_naming.watched(identity, [glob])), None)


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


def _read_nameless(book: Book, sweep: _Sweep) -> None:
    """Slots without a token, or with one nobody has initialised: nothing to miss, so no `token_present`."""
    if not pkcs11_naming.watched(Identity("", ""), book.watch.tokens):
        return
    for slot, info in sweep.empty.items():
        book.add(f"slot {slot}", [_slot_fact(slot, info)], book.raw.time)
    for slot, (token, slot_info, at) in sweep.tokens.items():
        if not token.initialized:
            facts = [Fact("token_initialized", 0)]
            facts += [_slot_fact(slot, slot_info)] if slot_info is not None else []
            book.add(f"slot {slot}", facts, at)


def _read_failed(book: Book, sweep: _Sweep) -> list[str]:
    """Slots whose token could not be read. Returns the reasons of those whose token is not known for certain."""
    unknown = []
    present = {token.resource for token in book.tokens.values()}
    lasting = _lasting(book)
    for slot, reason in _failed_first(book, sweep):
        before = book.known.tokens.get(slot) if slot in lasting else None
        finding = slot in sweep.stated
        if before is None or before.resource in present:
            unknown.append(reason)
            if not finding:
                book.fail(SWEEP, reason)
            continue
        if not finding:
            book.fail(SWEEP, f"{before.resource}: {reason}")
        book.failed[slot] = before
        book.lose(before.resource, reason)
    return unknown


def _failed_first(book: Book, sweep: _Sweep) -> list[tuple[int, str]]:
    """What failed goes before what was not reached because of it: the first reason is the one people see."""
    return sorted(sweep.failed.items(), key=lambda failed: ("token", failed[0]) not in book.raw.failed)


def _lasting(book: Book) -> frozenset[int]:
    """The slots whose numbers certainly mean what they did in the sweep before.

    Within a process all do. In another one only if whatever was read is where it was before. Even then a module that
    counts its slots has moved up all that follow a token which went: where the list is another one, those are certain
    that stand before a token which is still in its place.
    """
    slots = frozenset(book.raw.slots or ())
    if book.raw.process == book.known.process:
        return slots
    before = {slot: token.key for slot, token in book.known.tokens.items()}
    here = {slot: token.key for slot, token in book.tokens.items() if slot in before or token.key in before.values()}
    if not here or any(before.get(slot) != key for slot, key in here.items()):
        return frozenset()
    return slots if slots == book.known.listed else frozenset(slot for slot in slots if slot < max(here))


def _read_missing(book: Book, unknown: list[str]) -> None:
    """Tokens that should be there. While a slot fails whose token is unknown, nobody is declared gone."""
    slots = [*book.tokens.values(), *book.failed.values()]
    present = {token.resource: token.identity for token in slots}
    gone = pkcs11_naming.missing(present, book.known.seen, book.watch.tokens)
    for resource, (_, is_expected) in gone.items():
        if unknown:
            fact = book.presence(present=None, expected=is_expected, reason=unknown[0])
        else:
            fact = book.presence(present=False, expected=is_expected)
        book.add(resource, [fact], book.raw.time)
        book.lose(resource, unknown[0] if unknown else "the token is not present", but=("token_present",))
    book.seen = pkcs11_naming.remember(present, book.known.seen, book.watch.tokens)
    covered = {*present, *gone, *(reading.resource for reading in book.readings)}
    for resource in set(book.known.series) - covered - {""}:
        if unknown:
            book.lose(resource, unknown[0])  # it may be in one of the slots that failed
        else:
            book.forgotten.add(resource)
