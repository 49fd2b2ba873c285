"""Readings of the slower rhythms: audit store, storage, firmware, liveness, object count, object store. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hsm_agent.collect import pkcs11_reasons
from hsm_agent.collect.audit_forecast import KEPT_POINTS
from hsm_agent.collect.pkcs11_luna import (
    AUDIT_METRICS,
    audit_facts,
    fill_facts,
    storage_facts,
    store_facts,
)
from hsm_agent.collect.pkcs11_token import Fact
from hsm_agent.worker.names import (
    FUNCTION_NOT_SUPPORTED,
    LOG_AUDIT_NOT_INITIALIZED,
    LOG_FULL,
    OK,
    RANDOM_NO_RNG,
    SESSION_COUNT,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.collect.pkcs11_book import Book
    from hsm_agent.collect.pkcs11_raw import Call, Result

_LOG_FULL = "the HSM refuses to work until its audit log is exported: CKR_LOG_FULL"
_FINDINGS = {
    LOG_FULL: _LOG_FULL,
    LOG_AUDIT_NOT_INITIALIZED: "the HSM's audit role is not initialised",
    SESSION_COUNT: "the token refuses another session: CKR_SESSION_COUNT",
}
"""Answers that say something about the token; the source did its work."""


def read(book: Book) -> None:
    """Everything but the sweep."""
    full = _refused_for_full_log(book)
    for slot, token in book.tokens.items():
        for step, facts_of in _STEPS.items():
            result, reason = book.raw.results.get((step, slot)), book.raw.failed.get((step, slot))
            if result is None and reason is None:
                continue
            if reason is not None:
                book.errors.append(f"{token.resource}: {reason}")
            elif result is not None and _settled(book, token.resource, result):
                continue
            reason = reason or _reason(book, token.resource, result)
            at = book.raw.time if result is None else result.at
            book.add(token.resource, facts_of(book, token.resource, result, reason), at)
    _note_sessions(book)
    _note_full_log(book, full)
    _read_store(book)


def _refused_for_full_log(book: Book) -> set[str]:
    """Tokens of which any call of this poll said that the audit store is full."""
    slots = {**book.tokens, **book.failed}
    return {
        slots[result.slot].resource
        for result in book.raw.results.values()
        if book.raw.luna and result.slot in slots and any(call.value == LOG_FULL for call in result.calls)
    }


def _settled(book: Book, resource: str, result: Result) -> bool:
    """Whether the slot simply has no such function: no reading, no error, and it is not asked again."""
    failure = result.failure
    if failure is None or failure.value != FUNCTION_NOT_SUPPORTED:
        return False
    book.unsupported.add((result.step, result.slot))
    gone = _METRICS[result.step]
    known = book.known.series.get(resource, {})
    book.add(resource, [Fact(name, None, "no longer supported") for name in gone if name in known], result.at)
    return True


def _reason(book: Book, resource: str, result: Result | None) -> str:
    failure = None if result is None else result.failure
    if result is None or failure is None:
        return ""
    if failure.value in _FINDINGS and (book.raw.luna or failure.value == SESSION_COUNT):
        return _FINDINGS[failure.value]
    reason = pkcs11_reasons.returned(failure.function, failure.value, result.slot, luna=book.raw.luna)
    if failure.value != RANDOM_NO_RNG:
        book.errors.append(f"{resource}: {reason}")
    return reason


def _values(result: Result | None) -> Sequence[int] | None:
    return None if result is None or result.failure is not None else result.payload


def _audit(book: Book, resource: str, result: Result | None, reason: str) -> list[Fact]:
    status = _values(result)
    if status is not None and result is not None:
        points = (*book.audit.get(resource, ()), (result.at, status[4]))
        book.audit[resource] = points[-KEPT_POINTS:]
    capacity = book.watch.audit_capacity
    return audit_facts(status, book.audit.get(resource, ()), capacity, full=False, reason=reason)


def _storage(book: Book, resource: str, result: Result | None, reason: str) -> list[Fact]:
    del resource
    return storage_facts(_values(result), book.raw.word, reason=reason)


def _firmware(book: Book, resource: str, result: Result | None, reason: str) -> list[Fact]:
    version = _values(result)
    if version is None:
        labels = book.known.series.get(resource, {}).get("hsm_firmware_info", ())
        return [Fact("hsm_firmware_info", None, reason, labels)]
    return [Fact("hsm_firmware_info", 1, labels=(("version", ".".join(map(str, version))),))]


def _alive(book: Book, resource: str, result: Result | None, reason: str) -> list[Fact]:
    """A call that never came back is a token that is not alive; a refused session says nothing either way."""
    del book, resource
    if result is None:
        return [Fact("token_alive", 0 if reason else None, "")]
    failure = result.failure
    if failure is not None and failure.value in {SESSION_COUNT, RANDOM_NO_RNG}:
        return [Fact("token_alive", None, reason)]
    return [Fact("token_alive", int(failure is None))]


def _objects(book: Book, resource: str, result: Result | None, reason: str) -> list[Fact]:
    del book, resource
    values = _values(result)
    return [Fact("token_objects", None if values is None else values[0], reason if values is None else "")]


_STEPS: dict[str, Callable[[Book, str, Any, str], list[Fact]]] = {
    "audit": _audit,
    "storage": _storage,
    "firmware": _firmware,
    "alive": _alive,
    "objects": _objects,
}
_METRICS = {
    "audit": AUDIT_METRICS,
    "storage": tuple(fact.metric for fact in storage_facts(None, 8, reason="")),
    "firmware": ("hsm_firmware_info",),
    "alive": ("token_alive",),
    "objects": ("token_objects",),
}


def _opened(result: Result) -> Call | None:
    return next((call for call in result.calls if call.function == "C_OpenSession"), None)


def _note_sessions(book: Book) -> None:
    """CKR_SESSION_COUNT is the token's own statement that its sessions are used up; it stands until it opens one."""
    for result in book.raw.results.values():
        opened = _opened(result)
        token = book.tokens.get(result.slot)
        if opened is None or token is None:
            continue
        if opened.value == OK:
            book.sessions_refused.discard(token.resource)
        elif opened.value == SESSION_COUNT:
            book.sessions_refused.add(token.resource)
            _replace(book, token.resource, [Fact("token_sessions_used_percent", 100.0)])


def _note_full_log(book: Book, full: set[str]) -> None:
    for resource in full:
        _replace(book, resource, [Fact("audit_used_percent", 100.0), Fact("audit_seconds_to_full", 0.0)])


def _replace(book: Book, resource: str, facts: list[Fact]) -> None:
    """The HSM's own word outranks what was computed for the same metric in this poll."""
    metrics = {fact.metric for fact in facts}
    book.readings = [
        reading for reading in book.readings if reading.resource != resource or reading.metric not in metrics
    ]
    book.add(resource, facts, book.raw.time)


def _read_store(book: Book) -> None:
    """Fill of a file-backed token's directory."""
    fill = book.raw.fill
    if fill is None:
        return
    if "error" in fill:
        book.errors.append(f"object_store: {fill['error']}")
        facts = [Fact(fact.metric, None, fill["error"]) for fact in fill_facts(None, None)]
    else:
        facts = store_facts(book.watch.store_capacity, fill["bytes"])
    book.add(_store_resource(book), facts, book.raw.time)


def _store_resource(book: Book) -> str:
    """Whose directory it is: the token whose serial it ends in, as SoftHSM names them, or the only one there is."""
    digits = "".join(char for char in book.watch.store_directory.rstrip("/") if char != "-")
    tokens = list(book.tokens.values())
    owners = [token for token in tokens if token.identity.serial and digits.endswith(token.identity.serial)]
    if len(owners) == 1:
        return owners[0].resource
    return tokens[0].resource if len(tokens) == 1 else ""
