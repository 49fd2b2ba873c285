"""Readings of the slower rhythms: audit store, storage, firmware, liveness, object count, object store. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hsm_agent.collect.pkcs11 import reasons as pkcs11_reasons
from hsm_agent.collect.pkcs11.luna import steps as pkcs11_luna_steps
from hsm_agent.collect.pkcs11.luna.audit_and_storage import (
    AUDIT_METRICS,
    audit_facts,
    audit_role_facts,
    fill_facts,
    storage_facts,
    store_facts,
)
from hsm_agent.collect.pkcs11.poll_state import STORE
from hsm_agent.collect.pkcs11.token import Fact
from hsm_agent.collect.series import KEPT_POINTS
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

    from hsm_agent.collect.pkcs11.poll_state import Book
    from hsm_agent.collect.pkcs11.recording import Call, Result

_LOG_FULL = "the HSM refuses to work until its audit log is exported: CKR_LOG_FULL"
_FINDINGS = {
    LOG_FULL: _LOG_FULL,
    LOG_AUDIT_NOT_INITIALIZED: "the HSM's audit role is not initialised",
    HSM_TAMPERED: "the HSM refuses to work because it was tampered with: CKR_HSM_TAMPERED",
    MTK_ZEROIZED: "the HSM refuses to work because its master key was zeroized: CKR_MTK_ZEROIZED",
    SESSION_COUNT: "the token refuses another session: CKR_SESSION_COUNT",
}
"""Answers that say something about the token; the source did its work."""


def read(book: Book) -> None:
    """Everything but the sweep."""
    full, tampered = _said(book, {LOG_FULL}), _said(book, {HSM_TAMPERED, MTK_ZEROIZED})
    for slot, token in book.tokens.items():
        for step in (*_STEPS, *pkcs11_luna_steps.STEPS):
            _read_step(book, step, slot, token.resource)
    pkcs11_luna_steps.read_digests(book)
    _note_sessions(book)
    for resource in full:
        _replace(book, resource, [Fact("audit_used_percent", 100.0), Fact("audit_seconds_to_full", 0.0)])
    for resource in tampered:
        _replace(book, resource, [Fact("hsm_tampered", 1)])
    _read_store(book)


def _read_step(book: Book, step: str, slot: int, resource: str) -> None:
    result, reason = book.raw.results.get((step, slot)), book.raw.failed.get((step, slot))
    if result is None and reason is None:
        return
    if reason is not None:
        book.fail((step, resource), f"{resource}: {reason}")
    elif result is not None and _settled(book, resource, result):
        return
    reason = reason or _reason(book, resource, result)
    at = book.raw.time if result is None else result.at
    if step in _STEPS:
        facts = _STEPS[step](book, resource, result, reason)
    elif result is None or result.failure is not None:
        facts = pkcs11_luna_steps.lost(book, resource, step, reason)
    else:
        facts = pkcs11_luna_steps.STEPS[step](book, resource, result)
    book.add(resource, facts, at)


def _said(book: Book, values: set[int]) -> set[str]:
    """Tokens of which any call of this poll returned one of these."""
    slots = {**book.tokens, **book.failed}
    return {
        slots[result.slot].resource
        for result in book.raw.results.values()
        if book.raw.luna and result.slot in slots and any(call.value in values for call in result.calls)
    }


def _settled(book: Book, resource: str, result: Result) -> bool:
    """Whether the slot simply has no such thing: no reading, no error, and it is not asked again."""
    failure, of_luna = result.failure, result.step in pkcs11_luna_steps.STEPS
    if failure is None or (book.raw.luna and failure.value in _FINDINGS):
        return False
    unknown = failure.value == FUNCTION_NOT_SUPPORTED
    if not (pkcs11_luna_steps.is_nothing_here(book, resource, result) if of_luna else unknown):
        return False
    book.unsupported.add((result.step, book.tokens[result.slot].key))
    if of_luna:
        facts = pkcs11_luna_steps.lost(book, resource, result.step, "no longer supported", known_only=True)
    else:
        gone = [name for name in _METRICS[result.step] if book.labels_known(resource, name)]
        facts = [Fact(name, None, "no longer supported") for name in gone]
    book.add(resource, facts, result.at)
    return True


def _reason(book: Book, resource: str, result: Result | None) -> str:
    failure = None if result is None else result.failure
    if result is None or failure is None:
        return ""
    if failure.value in _FINDINGS and (book.raw.luna or failure.value == SESSION_COUNT):
        return _FINDINGS[failure.value]
    reason = pkcs11_reasons.returned(failure.function, failure.value, result.slot, luna=book.raw.luna)
    if result.step in pkcs11_luna_steps.STEPS and is_refusal(failure.value):
        pkcs11_luna_steps.note_refusal(book, resource, result, reason)
    elif failure.value != RANDOM_NO_RNG:
        book.fail((result.step, resource), f"{resource}: {reason}")
    return reason


def _values(result: Result | None) -> Sequence[int] | None:
    return None if result is None or result.failure is not None else result.payload


def _audit(book: Book, resource: str, result: Result | None, reason: str) -> list[Fact]:
    status = _values(result)
    if status is not None and result is not None:
        points = (*book.audit.get(resource, ()), (result.at, status[4]))
        book.audit[resource] = points[-KEPT_POINTS:]
    capacity = book.watch.audit_capacity
    facts = audit_facts(status, book.audit.get(resource, ()), capacity, full=False, reason=reason)
    failure = None if result is None else result.failure
    uninitialized = failure is not None and failure.value == LOG_AUDIT_NOT_INITIALIZED
    return facts + audit_role_facts(status, reason, uninitialized=uninitialized)


def _storage(book: Book, resource: str, result: Result | None, reason: str) -> list[Fact]:
    del resource
    return storage_facts(_values(result), book.raw.word, reason=reason)


def _firmware(book: Book, resource: str, result: Result | None, reason: str) -> list[Fact]:
    version = _values(result)
    if version is None:
        labels = next(iter(book.labels_known(resource, "hsm_firmware_info")), ())
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


def _replace(book: Book, resource: str, facts: list[Fact]) -> None:
    """The HSM's own word outranks what was computed for the same metric in this poll."""
    metrics = {fact.metric for fact in facts}
    book.readings = [
        reading for reading in book.readings if reading.resource != resource or reading.metric not in metrics
    ]
    book.add(resource, facts, book.raw.time)


def _read_store(book: Book) -> None:
    """Fill of a file-backed token's directory; of one that serves several, each token's share of it as well."""
    fill = book.raw.fill
    if fill is None:
        return
    owner, shares = _store_owner(book), _shares(book, fill.get("parts", {}))
    if "error" in fill:
        book.fail(STORE, f"object_store: {fill['error']}")
        for resource in (*shares, owner):
            book.add(resource, fill_facts(None, None, why=fill["error"]), book.raw.time)
        return
    capacity, used = book.watch.store_capacity, fill["bytes"]
    book.add(owner, store_facts(capacity, used), book.raw.time)
    for resource, share in shares.items():
        if share is None:
            why = "none of the object store's folders has the token's serial in its name"
            book.add(resource, fill_facts(None, None, why=why), book.raw.time)
        else:
            book.add(resource, store_facts(capacity, share, free=max(0, capacity - used)), book.raw.time)


def _store_owner(book: Book) -> str:
    """Whose directory it is: the token whose serial it ends in, as SoftHSM names them, or the only one there is."""
    owners = [token for token in book.tokens.values() if _ends_in(book.watch.store_directory, token.identity.serial)]
    tokens = owners or [*book.tokens.values()]
    return tokens[0].resource if len(tokens) == 1 else ""


def _shares(book: Book, parts: Mapping[str, int]) -> dict[str, int | None]:
    """Bytes of each token in a store that serves several, by the folders that are named by their serials."""
    if _store_owner(book):
        return {}
    tokens = book.tokens.values()
    return {token.resource: _share(token.identity.serial, parts) for token in tokens}


def _share(serial: str, parts: Mapping[str, int]) -> int | None:
    found = [size for folder, size in parts.items() if _ends_in(folder, serial)]
    return sum(found) if found else None


def _ends_in(folder: str, serial: str) -> bool:
    return bool(serial) and "".join(char for char in folder.rstrip("/") if char != "-").endswith(serial)
