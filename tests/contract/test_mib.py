"""The text of the MIB and the table of the code say the same, and the checkers of the field accept the text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from hsm_agent.wire.snmp import mib
from tests.peers.mibs import OURS, Mibs, base_mibs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = (OURS / "HSM-AGENT-MIB.txt").read_text(encoding="utf-8")


class MibObject(NamedTuple):
    """An object as the code has it: its arc below the base, without the instance."""

    arc: tuple[int, ...]
    name: str
    syntax: mib.Syntax
    access: str


def objects() -> Iterator[MibObject]:
    """Every object that has a value somewhere, and each table's index, in the MIB's order."""
    for scalar in mib.SCALARS:
        yield MibObject((1, 1, scalar.number), scalar.name, scalar.syntax, "read-only")
    for table in mib.TABLES:
        yield MibObject((1, table.arc, 1, 1), f"{table.name}Index", mib.Syntax.UNSIGNED32, "not-accessible")
        for column in table.columns:
            yield MibObject((1, table.arc, 1, column.number), column.name, column.syntax, "read-only")
    for item in mib.ALARM:
        yield MibObject((*mib.ALARM_ARC, item.number), item.name, item.syntax, "accessible-for-notify")


@pytest.fixture(scope="module")
def mibs() -> Mibs:
    return base_mibs()


def dotted(oid: tuple[int, ...]) -> str:
    return ".".join(map(str, oid))


def oids(listing: str, below: tuple[int, ...]) -> dict[str, str]:
    """Names and OIDs that snmptranslate -Tz lists below a root."""
    found = dict(re.findall(r'^"(\w+)"\s+"([\d.]+)"$', listing, re.MULTILINE))
    return {name: oid for name, oid in found.items() if oid.startswith(dotted(below) + ".")}


def structure(name: str) -> bool:
    """Whether a name is a node that holds no value: a table, an entry, a group, an arc."""
    return name.endswith(("Table", "Entry", "Group", "Groups", "Compliance", "Compliances", "Conformance")) or name in {
        "hsmAgentNotifications",
        "hsmAgentObjects",
        "hsmAgentProducts",
        "hsmAgentProduct",
        "hsmAgentScalars",
        "hsmAlarm",
    }


def test_every_oid_of_the_code_is_in_the_text_and_back(mibs: Mibs) -> None:
    ours = {item.name: dotted(mib.BASE + item.arc) for item in objects()}
    ours |= {name: dotted(mib.BASE + arc) for arc, name in mib.NOTIFICATIONS.values()}

    listed = oids(mibs.translate("-Tz"), mib.BASE)

    assert {name: oid for name, oid in listed.items() if not structure(name)} == ours
    assert listed["hsmAgentProduct"] == dotted(mib.BASE + mib.PRODUCT)


def test_smilint_has_nothing_to_say(mibs: Mibs) -> None:
    assert mibs.lint(OURS / "HSM-AGENT-MIB.txt") == ""


def test_smilint_would_have_found_a_fault(mibs: Mibs, tmp_path: Path) -> None:
    wrong = tmp_path / "HSM-AGENT-MIB.txt"
    wrong.write_text(TEXT.replace("    hsmTokenSerial HsmText,\n", ""), encoding="utf-8")

    assert "hsmTokenSerial" in mibs.lint(wrong)


@pytest.mark.parametrize("base", ["1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999", "1.3.6.1.3.42.7.9"])
def test_the_text_rooted_elsewhere_is_sound_too(mibs: Mibs, tmp_path: Path, base: str) -> None:
    moved = tmp_path / "HSM-AGENT-MIB.txt"
    root = mib.parse_base(base)
    moved.write_text(mib.rooted(TEXT, root), encoding="utf-8")

    listed = oids(mibs.translate("-Tz", extra=tmp_path), root)

    assert mibs.lint(moved) == ""
    assert {item.name: dotted(root + item.arc) for item in objects()}.items() <= listed.items()


@pytest.mark.parametrize("item", list(objects()), ids=lambda item: str(item.name))
def test_syntax_and_access_of_the_code_are_those_of_the_text(item: MibObject) -> None:
    block = re.search(
        rf"^{item.name} OBJECT-TYPE\n    SYNTAX (.*)\n(?:.*\n)*?    MAX-ACCESS (.*)\n", TEXT, re.MULTILINE
    )
    assert block is not None
    syntax = block[1].split(" (")[0]
    enumerations = set(
        re.findall(r"^(\w+) ::= TEXTUAL-CONVENTION\n(?:    .*\n)*?    SYNTAX INTEGER", TEXT, re.MULTILINE)
    )

    written = "enumeration" if syntax in enumerations else syntax

    assert (written, block[2]) == (item.syntax.value, item.access)


def test_each_table_has_its_promised_arc_and_an_index_that_is_not_accessible() -> None:
    assert [(item.arc, item.name) for item in objects() if item.access == "not-accessible"] == [
        ((1, 2, 1, 1), "hsmSourceIndex"),
        ((1, 3, 1, 1), "hsmTokenIndex"),
        ((1, 4, 1, 1), "hsmAuditIndex"),
        ((1, 5, 1, 1), "hsmReadingIndex"),
        ((1, 6, 1, 1), "hsmActiveIndex"),
        ((1, 7, 1, 1), "hsmSinkIndex"),
        ((1, 9, 1, 1), "hsmMemberIndex"),
    ]


def test_notifications_carry_all_objects_in_order() -> None:
    blocks = re.findall(r"^(\w+) NOTIFICATION-TYPE\n    OBJECTS \{\n((?:        .*\n)*)", TEXT, re.MULTILINE)

    carried = {name: re.findall(r"\w+", names) for name, names in blocks}

    every = [item.name for item in mib.ALARM]
    assert carried == {name: every for _arc, name in mib.NOTIFICATIONS.values()}


def test_each_notification_has_its_words_for_trap_translators() -> None:
    blocks = re.findall(r"^(\w+) NOTIFICATION-TYPE\n(.*?)::=", TEXT, re.MULTILINE | re.DOTALL)

    for name, block in blocks:
        for word in ("TYPE", "SUMMARY", "ARGUMENTS", "SEVERITY"):
            assert re.search(rf"^    --#{word} \S", block, re.MULTILINE), (name, word)
        summary = re.search(r'--#SUMMARY "(.*)"', block)
        arguments = re.search(r"--#ARGUMENTS \{(.*)\}", block)
        assert summary is not None
        assert arguments is not None
        assert summary[1].count("%s") == len(arguments[1].split(","))
        assert all(int(number) < len(mib.ALARM) for number in arguments[1].split(","))
