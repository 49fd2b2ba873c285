"""Where the MIB can be rooted, and how its text changes when it is."""

from __future__ import annotations

import pytest

from hsm_agent.wire.snmp.mib import BASE, parse_base, rooted

TEXT = """X DEFINITIONS ::= BEGIN
IMPORTS
    Gauge32,
    Counter64
        FROM SNMPv2-SMI
    OBJECT-GROUP
        FROM SNMPv2-CONF
    netSnmpPlaypen
        FROM NET-SNMP-MIB;

hsmAgentMIB MODULE-IDENTITY
    ::= { netSnmpPlaypen 4801 }

END
"""
ROOTED = """X DEFINITIONS ::= BEGIN
IMPORTS
    Gauge32,
    Counter64,
    enterprises
        FROM SNMPv2-SMI
    OBJECT-GROUP
        FROM SNMPv2-CONF;

hsmAgentMIB MODULE-IDENTITY
    ::= { hsmAgentRoot1 1 }

hsmAgentRoot1 OBJECT IDENTIFIER ::= { enterprises 99999 }

END
"""


def test_text_is_rooted_below_an_enterprise() -> None:
    assert rooted(TEXT, (1, 3, 6, 1, 4, 1, 99999, 1)) == ROOTED


def test_an_enterprise_itself_needs_no_node_between() -> None:
    assert "    ::= { enterprises 99999 }\n\nEND" in rooted(TEXT, (1, 3, 6, 1, 4, 1, 99999))


def test_text_is_rooted_below_experimental() -> None:
    text = rooted(TEXT, (1, 3, 6, 1, 3, 7, 8, 9))

    assert "    Counter64,\n    experimental\n" in text
    assert "::= { hsmAgentRoot2 9 }" in text
    assert "hsmAgentRoot2 OBJECT IDENTIFIER ::= { hsmAgentRoot1 8 }" in text


def test_text_stays_as_it_is_for_its_own_base() -> None:
    assert rooted(TEXT, BASE) == TEXT


def test_another_text_is_refused() -> None:
    with pytest.raises(ValueError, match="not the text of HSM-AGENT-MIB"):
        rooted("END", (1, 3, 6, 1, 4, 1, 99999))


def test_a_base_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="below enterprises or experimental"):
        rooted(TEXT, (1, 3, 6, 1, 2, 1))


@pytest.mark.parametrize(
    ("text", "oid"),
    [
        ("1.3.6.1.4.1.8072.9999.9999.4801", BASE),
        (".1.3.6.1.4.1.99999.1", (1, 3, 6, 1, 4, 1, 99999, 1)),
        ("1.3.6.1.3.5", (1, 3, 6, 1, 3, 5)),
    ],
)
def test_base_is_parsed(text: str, oid: tuple[int, ...]) -> None:
    assert parse_base(text) == oid


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "not an object identifier", id="empty"),
        pytest.param("1.3.6.1.4.1.x", "not an object identifier", id="a word"),
        pytest.param("1.3.6.1.4.1.", "not an object identifier", id="a dot at the end"),
        pytest.param("1.3.6.1.4.1", "must lie below enterprises", id="enterprises itself"),
        pytest.param("1.3.6.1.2.1.99", "must lie below enterprises", id="the standard's own tree"),
        pytest.param("1.3.6.1.4.1.4294967296", "numbers up to 4294967295", id="a number too large"),
        pytest.param("1.3.6.1.4.1" + ".1" * 60, "at most 64 numbers", id="too deep"),
    ],
)
def test_a_base_that_cannot_be_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_base(text)
