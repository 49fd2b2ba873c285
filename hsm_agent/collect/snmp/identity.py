"""What the rows of a table are called: a name that was given stays its row's. Pure.

A row is told from others by its serial number where it has one, else by its label and its index. So of two rows of one
label the one known first keeps the label as its name, whichever of them is there, and the other has another name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.collect.identity import Names, ObjectIdentity, digest_of
from hsm_agent.collect.snmp.values import Unreadable, text_of, word_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from hsm_agent.collect.snmp.profile import ProfileTable
    from hsm_agent.collect.snmp.values import RowMeanings
    from hsm_agent.wire.snmp.ber import Oid

_SERIAL = "serial"
_PRINTABLE = range(32, 127)


@dataclass(frozen=True, slots=True)
class Named:
    """The resource of each row; rows known from now on, by name; names that are no more; rows that are missing.

    Names are without the table's prefix, resources are with it.
    """

    resources: Mapping[Oid, str]
    known: Mapping[str, ObjectIdentity]
    gone: Collection[str]
    missing: Collection[str]


def digest(table: ProfileTable) -> str:
    """What a table's rows are known by on disk: another way to name them is another memory."""
    where = (f"{name}={wanted}" for name, wanted in sorted(table.where.items()))
    return digest_of([text_of(table.oid), table.prefix, table.index, *table.resource, "where", *where], "snmp")


def named(table: ProfileTable, rows: Mapping[Oid, RowMeanings], before: Mapping[str, ObjectIdentity]) -> Named:
    """A name for each row; `before` are those that were known, by name, those known first before others."""
    words = {index: [word_of(row.named.get(name)) for name in table.resource] for index, row in rows.items()}
    shared = [Counter(column) for column in zip(*words.values(), strict=True)]
    keys = {text_of(index): index for index in rows}
    tokens = {key: _identity(table, rows[index], index, words[index], before) for key, index in keys.items()}

    def wishes(key: str, token: ObjectIdentity) -> Iterator[str]:
        index = keys[key]
        # What another row bears as well tells nobody which is meant, but for the label of the one known first.
        own = [word for word, bearers in zip(words[index], shared, strict=True) if bearers[word] == 1]
        yield from filter(None, dict.fromkeys([token.label, *own]))
        yield from _by_index(token.label, _index_text(index, table.index))

    names = Names()
    names.known[0] = dict(before)
    given, gone = names.give(0, tokens, wishes)
    known = names.known[0]
    prefixed = partial(str.__add__, table.prefix)
    return Named(
        resources={index: prefixed(given[key]) for key, index in keys.items()},
        known=known,
        gone={prefixed(name) for name in gone},
        missing=[prefixed(name) for name in known.keys() - set(given.values())],
    )


def _identity(
    table: ProfileTable, row: RowMeanings, index: Oid, words: Sequence[str], before: Mapping[str, ObjectIdentity]
) -> ObjectIdentity:
    """Who a row is: its first word, its serial number, its index. A word that can't be read now is what it was."""
    serial, place = word_of(row.named.get(_SERIAL)), text_of(index)
    label = next(filter(None, words), "")
    if any(isinstance(row.named.get(name), Unreadable) for name in table.resource):
        same = (one for one in before.values() if (one.serial == serial if serial else one.place == place))
        label = next((one.label for one in same), label)
    return ObjectIdentity(label, serial, place)


def _by_index(word: str, shown: str) -> Iterator[str]:
    if not word:
        yield shown
    text = f"{word} {shown}" if word else f"row {shown}"
    yield text
    number = 2
    while True:
        yield f"{text} ({number})"
        number += 1


def _index_text(index: Oid, form: str) -> str:
    """A row's index for people: a text with or without its length before it (RFC 2578 section 7.7), or numbers."""
    if form == "text":
        rest, words = index, []
        while rest and len(rest) > rest[0] > 0 and all(code in _PRINTABLE for code in rest[1 : rest[0] + 1]):
            words.append("".join(map(chr, rest[1 : rest[0] + 1])))
            rest = rest[rest[0] + 1 :]
        if words and not rest:
            return "/".join(words)
        if all(code in _PRINTABLE for code in index):
            return "".join(map(chr, index))
    return text_of(index)
