"""From the answers of Luna's functions to facts in the book: statistics, roles, sets, HA groups, tamper. Pure.

Called for steps that were answered; what a failed step takes from the readings is said by `lost`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.collect.pkcs11.luna import appliance as pkcs11_hsm
from hsm_agent.collect.pkcs11.luna import ha as pkcs11_ha
from hsm_agent.collect.pkcs11.luna.appliance import ROLES, SET_METRICS
from hsm_agent.collect.pkcs11.steps import VENDOR_STEPS
from hsm_agent.collect.pkcs11.token import Fact
from hsm_agent.workers.pkcs11.return_values import FUNCTION_NOT_SUPPORTED, NEVER_HERE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.collect.pkcs11.poll_state import Book
    from hsm_agent.collect.pkcs11.recording import Result
    from hsm_agent.model import Labels

_HA_MODEL = slice(64, 80)
_DIGESTS = {"hsm_policies_info": ("capabilities", "policies"), "token_policies_info": ("token_policies",)}
_HSM_STORAGE = tuple(fact.metric for fact in pkcs11_hsm.hsm_storage_facts([0, 0, 0, 0], 8))
_SERIES: dict[str, tuple[tuple[str, Labels], ...]] = {
    "ha": (("ha_members_up", ()), ("ha_members_expected", ())),
    "stats": tuple((fact.metric, ()) for fact in pkcs11_hsm.stats_facts({}, None)),
    "hsm_storage": tuple((metric, ()) for metric in _HSM_STORAGE),
    "tamper": (("hsm_tampered", ()),),
    "transport": (("hsm_transport_mode", ()),),
    **{
        step: (("token_login_attempts_left", (("role", role),)), ("token_role_locked", (("role", role),)))
        for step, role in ROLES.items()
    },
    **dict.fromkeys(SET_METRICS, ()),
}
"""What each step always brings: the series that are unavailable when it fails the first time already."""


def lost(book: Book, resource: str, step: str, reason: str, *, known_only: bool = False) -> list[Fact]:
    """Everything a step brings, without a value; `known_only`: what was never read is not mentioned."""
    by_members = [("ha_member_up", labels) for labels in book.labels_known(resource, "ha_member_up")]
    series = [*_SERIES[step], *(by_members if step == "ha" else ())]
    if step in SET_METRICS:
        metric, _ = SET_METRICS[step]
        series = [(metric, labels) for labels in book.labels_known(resource, metric)]
    return [
        Fact(metric, None, reason, labels)
        for metric, labels in series
        if not known_only or labels in book.labels_known(resource, metric)
    ]


def is_nothing_here(book: Book, resource: str, result: Result) -> bool:
    """Whether the answer means that the slot has no such thing: no such function or role, or it is no HA group.

    It is not known with what a slot that is no group answers; what was a group before, or calls itself a virtual
    token, must answer.
    """
    failure = result.failure
    if failure is None:
        return False
    if failure.value == FUNCTION_NOT_SUPPORTED or (result.step in ROLES and failure.value in NEVER_HERE):
        return True
    return result.step == "ha" and not _is_group(book, resource, result.slot)


def _is_group(book: Book, resource: str, slot: int) -> bool:
    """Whether it is known to be an HA group without asking."""
    return bool(book.labels_known(resource, "ha_members_up")) or _is_virtual(book, slot)


def note_refusal(book: Book, resource: str, result: Result, reason: str) -> None:
    """A slot that won't tell is asked again by the next worker, when it may be allowed; the log says so once.

    No failure of the source, which would stay raised for ever. The audit store, the partition's storage and the
    firmware do not come here: that they cannot be read has to be told.
    """
    book.unsupported.add((result.step, book.tokens[result.slot].key))
    key = f"{resource}: {result.step}"
    if key not in book.told:
        book.told.add(key)
        book.remarks.append(f"{resource}: {reason}; what it would tell is unavailable")


def _is_virtual(book: Book, slot: int) -> bool:
    swept = book.raw.results.get(("token", slot))
    token = swept.payload[1] if swept is not None else None
    return token is not None and bytes.fromhex(token)[_HA_MODEL].startswith(b"LunaVirtual")


def _ha(book: Book, resource: str, result: Result) -> list[Fact]:
    state = pkcs11_ha.decode(bytes.fromhex(result.payload), book.raw.word)
    if state is None:
        book.fail(("ha", resource), f"{resource}: {pkcs11_ha.UNKNOWN_LAYOUT}")
        return lost(book, resource, "ha", pkcs11_ha.UNKNOWN_LAYOUT)
    if not state.members and not _is_group(book, resource, result.slot):
        book.unsupported.add(("ha", book.tokens[result.slot].key))
        return []
    members = {serial for serial, _ in state.members}
    if members & {token.identity.serial for token in book.tokens.values()}:
        book.told.discard(resource)
    elif resource not in book.told:
        book.told.add(resource)
        book.remarks.append(
            f"{resource} is an HA group and none of its members' own slots is watched, so what one of them lacks "
            "(memory, sessions, log-in attempts) is not seen: check `tokens`, and HAOnly in the client's configuration"
        )
    before = [dict(labels)["member"] for labels in book.labels_known(resource, "ha_member_up")]
    return pkcs11_ha.ha_facts(state, before)


def _stats(book: Book, resource: str, result: Result) -> list[Fact]:
    values = pkcs11_hsm.statistics(result.payload)
    facts = pkcs11_hsm.stats_facts(values, book.known.clocks.get(resource))
    clock = pkcs11_hsm.clock(values)
    if clock is not None:
        book.clocks[resource] = clock
    return facts


def _role(book: Book, resource: str, result: Result) -> list[Fact]:
    del book, resource
    return pkcs11_hsm.role_facts(ROLES[result.step], result.payload)


def _hsm_storage(book: Book, resource: str, result: Result) -> list[Fact]:
    del resource
    return pkcs11_hsm.hsm_storage_facts(result.payload, book.raw.word)


def _tamper(book: Book, resource: str, result: Result) -> list[Fact]:
    del book, resource
    return pkcs11_hsm.tamper_facts(result.payload[0])


def _transport(book: Book, resource: str, result: Result) -> list[Fact]:
    del book, resource
    return pkcs11_hsm.transport_facts(result.payload[0])


def _pairs(result: Result) -> pkcs11_hsm.Pairs:
    return tuple((name, value) for name, value in result.payload)


def _set(book: Book, resource: str, result: Result) -> list[Fact]:
    pairs, key = _pairs(result), (result.step, resource)
    before = book.sets.get(key)
    if before is not None:
        changed = pkcs11_hsm.differences(result.step, before, pairs)
        book.remarks += [f"{resource}: {', '.join(changed)}"] if changed else []
    book.sets[key] = pairs
    shown = book.watch.capabilities if result.step == "capabilities" else book.watch.policies
    metric, label = SET_METRICS[result.step]
    known = [dict(labels)[label] for labels in book.labels_known(resource, metric)]
    return pkcs11_hsm.set_facts(result.step, pairs, shown, known)


STEPS: dict[str, Callable[[Book, str, Result], list[Fact]]] = {
    "ha": _ha,
    "stats": _stats,
    "tamper": _tamper,
    "transport": _transport,
    **dict.fromkeys(ROLES, _role),
    "hsm_storage": _hsm_storage,
    **dict.fromkeys(SET_METRICS, _set),
}


def read_digests(book: Book) -> None:
    """One digest of all capabilities and policies, only where all of them were read in this poll."""
    for slot, token in book.tokens.items():
        for metric, steps in _DIGESTS.items():
            asked = [step for step in steps if _was_due(book, step, slot)]
            if asked:
                book.add(token.resource, [_digest(book, token.resource, metric, slot, asked)], book.raw.time)


def _was_due(book: Book, step: str, slot: int) -> bool:
    result = book.raw.results.get((step, slot))
    if result is None:
        return (step, slot) in book.raw.failed
    return result.failure is None or result.failure.value != FUNCTION_NOT_SUPPORTED


def _digest(book: Book, resource: str, metric: str, slot: int, steps: Sequence[str]) -> Fact:
    parts = []
    for step in steps:
        result = book.raw.results.get((step, slot))
        if result is None or result.failure is not None:
            labels = next(iter(book.labels_known(resource, metric)), ())
            return Fact(metric, None, f"{VENDOR_STEPS[step].function} gave no answer", labels)
        parts.append((step, _pairs(result)))
    return pkcs11_hsm.digest_fact(metric, parts)
