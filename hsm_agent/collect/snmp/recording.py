"""What an appliance answered, fit to be recorded and shown to others, and a recording read again. Pure.

    {"values": {OID: value}, "rows": {OID of the entry: {index: {column: value}}}, "failed": {OID: reason}}

A value is a number, a text, {"oid": …}, or {"undecodable": what came}. Words that some profile knows as a state are
kept; of any other text letters become x and digits 9, so labels, serials, addresses and versions are gone and their
form is not. Indexes of more than one number, which may spell a serial, are counted instead.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.snmp.parse import ApplianceAnswers
from hsm_agent.collect.snmp.profile import names, profile
from hsm_agent.collect.snmp.values import text_of
from hsm_agent.wire.snmp.ber import Undecodable, parse_oid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hsm_agent.collect.snmp.values import RawValue
    from hsm_agent.wire.snmp.ber import Oid


def masked(answers: ApplianceAnswers) -> dict[str, Any]:
    """A recording of what was read."""
    return {
        "values": {text_of(oid): _value(raw) for oid, raw in answers.values.items()},
        "rows": {text_of(entry): _rows(rows) for entry, rows in answers.rows.items()},
        "failed": {text_of(oid): reason for oid, reason in answers.failed.items()},
    }


def replayed(recorded: Mapping[str, Any]) -> ApplianceAnswers:
    """The answers of a recording."""
    return ApplianceAnswers(
        values={parse_oid(oid): _raw(value) for oid, value in recorded["values"].items()},
        rows={
            parse_oid(entry): {
                parse_oid(index): {parse_oid(column): _raw(value) for column, value in row.items()}
                for index, row in rows.items()
            }
            for entry, rows in recorded["rows"].items()
        },
        failed={parse_oid(oid): reason for oid, reason in recorded["failed"].items()},
    )


def _rows(rows: Mapping[Oid, Mapping[Oid, RawValue]]) -> dict[str, dict[str, Any]]:
    plain = all(len(index) == 1 for index in rows)
    return {
        text_of(index) if plain else str(place): {text_of(column): _value(raw) for column, raw in row.items()}
        for place, (index, row) in enumerate(rows.items(), 1)
    }


def _value(raw: RawValue) -> object:
    if isinstance(raw, int):
        return raw
    text = text_of(raw)
    if isinstance(raw, tuple):
        return {"oid": text}
    if isinstance(raw, Undecodable):
        return {"undecodable": text.partition(":")[0]}  # without its octets, which may be a serial's
    return text if text.lower() in _words() else "".join(map(_mask, text))


def _mask(character: str) -> str:
    return "9" if character.isdigit() else "x" if character.isalpha() else character


@cache
def _words() -> frozenset[str]:
    """Texts that have a meaning in some profile; numbers are none, for a serial may be one."""
    values = (value for name in names() for value in _values(name))
    return frozenset(text.lower() for value in values for text in value if not text.isdigit())


def _values(name: str) -> Iterable[Iterable[str]]:
    one = profile(name)
    return [value.states for scope in (one, *one.tables) for value in scope.values]


def _raw(value: Any) -> RawValue:
    if isinstance(value, dict):
        return Undecodable(value["undecodable"]) if "undecodable" in value else parse_oid(value["oid"])
    return value if isinstance(value, int) else str(value).encode()
