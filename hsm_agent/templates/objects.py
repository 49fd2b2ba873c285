"""The objects of the MIB as a manager sees them: dotted OIDs, and the words of enumerated columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.model import EventKind, GroupRole, Severity, SinkState, SourceState
from hsm_agent.serve.snapshot import PinStatus, TokenStatus
from hsm_agent.wire.snmp import mib
from hsm_agent.wire.snmp.mib import Syntax

if TYPE_CHECKING:
    from enum import Enum

    from hsm_agent.wire.snmp.ber import Oid
    from hsm_agent.wire.snmp.mib import Column

Words = dict[int, str]
"""The words of an enumeration by number, as the MIB's text spells them."""


def _spelled(name: str) -> str:
    """`FINAL_TRY` as SMIv2 writes it: `finalTry`."""
    first, *rest = name.lower().split("_")
    return first + "".join(word.capitalize() for word in rest)


def _words(states: type[Enum]) -> Words:
    return {state.value: _spelled(state.name) for state in states}


SEVERITY_WORDS: Words = {severity.number: severity.value for severity in Severity}
ROLE_WORDS: Words = {role.number: role.value for role in GroupRole}
TRUTH_WORDS: Words = {1: "true", 2: "false"}  # RFC 2579

_ENUMERATIONS: dict[str, Words] = {
    "hsmAgentWorstSeverity": SEVERITY_WORDS,
    "hsmAgentRole": ROLE_WORDS,
    "hsmSourceStatus": _words(SourceState),
    "hsmTokenStatus": _words(TokenStatus),
    "hsmTokenPinStatus": _words(PinStatus),
    "hsmTokenSoPinStatus": _words(PinStatus),
    "hsmAuditChain": {1: "unknown", 2: "intact", 3: "broken", 4: "unverifiable"},
    "hsmReadingSeverity": SEVERITY_WORDS,
    "hsmActiveSeverity": SEVERITY_WORDS,
    "hsmSinkGuarantee": {1: "bestEffort", 2: "atLeastOnce"},
    "hsmSinkStatus": _words(SinkState),
    "hsmMemberRole": ROLE_WORDS,
    "hsmAlarmSeverity": SEVERITY_WORDS,
}


def words_of(column: Column) -> Words:
    """The words of a column's values; empty where it holds no enumeration."""
    return TRUTH_WORDS if column.syntax is Syntax.TRUTH else _ENUMERATIONS.get(column.name, {})


def words_by_name(name: str) -> Words:
    """The words of an enumerated column, scalar or notification object. KeyError if it is none."""
    return _ENUMERATIONS[name]


def dotted(oid: Oid) -> str:
    """An OID as text, without a leading dot."""
    return ".".join(map(str, oid))


_ARCS: dict[str, Oid] = {
    **{scalar.name: (1, 1, scalar.number) for scalar in mib.SCALARS},
    **{column.name: table.prefix((), column) for table in mib.TABLES for column in table.columns},
    **{item.name: (*mib.ALARM_ARC, item.number) for item in mib.ALARM},
    **{name: arc for arc, name in mib.NOTIFICATIONS.values()},
    "hsmAgentProduct": mib.PRODUCT,
}
"""Arcs below the base by name: scalars, columns, notification objects, notifications, the product."""


def oid_of(base: Oid, name: str) -> str:
    """The OID of a named object, without instance or index."""
    return dotted((*base, *_ARCS[name]))


def varbind_number(name: str) -> int:
    """The place of a notification's object among its own variable bindings, from 1: those before it are not counted."""
    return next(item.number for item in mib.ALARM if item.name == name)


NOTIFICATION_NAMES: dict[EventKind, str] = {kind: name for kind, (_arc, name) in mib.NOTIFICATIONS.items()}
