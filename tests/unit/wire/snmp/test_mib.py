"""The MIB's table of objects, the encoding of its values, and its text rooted elsewhere."""

from __future__ import annotations

import pytest

from hsm_agent.model import EventKind
from hsm_agent.wire.snmp import mib
from hsm_agent.wire.snmp.mib import BASE, Syntax, parse_base, rooted


@pytest.mark.parametrize(
    ("syntax", "value", "octets"),
    [
        pytest.param(Syntax.TEXT, "hsm", b"\x04\x03hsm", id="text"),
        pytest.param(Syntax.TEXT, "", b"\x04\x00", id="empty text"),
        pytest.param(Syntax.TEXT, "a\r\n\tb\x7f", b"\x04\x04a b ", id="control characters become a space"),
        pytest.param(Syntax.TEXT, "Zürich", b"\x04\x07Z\xc3\xbcrich", id="text is UTF-8"),
        pytest.param(Syntax.TEXT, "a\udcffb", b"\x04\x05a\xef\xbf\xbdb", id="a lone surrogate"),
        pytest.param(Syntax.TEXT, "a\u202eb\u2066", b"\x04\x08a\xef\xbf\xbdb\xef\xbf\xbd", id="directions"),
        pytest.param(Syntax.PERCENT, 75.1, b"\x42\x02\x1d\x56", id="percent in hundredths"),
        pytest.param(Syntax.PERCENT, -1.0, b"\x42\x01\x00", id="a percentage below 0 latches"),
        pytest.param(Syntax.GAUGE64, 2**40, b"\x46\x06\x01\x00\x00\x00\x00\x00", id="a level beyond 32 bits"),
        pytest.param(Syntax.GAUGE64, 2**64, b"\x46\x09\x00" + b"\xff" * 8, id="a 64-bit level latches"),
        pytest.param(Syntax.COUNTER64, 2**64 + 1, b"\x46\x01\x01", id="a counter wraps"),
        pytest.param(Syntax.GAUGE32, 2**32, b"\x42\x05\x00\xff\xff\xff\xff", id="a gauge latches"),
        pytest.param(Syntax.GAUGE32, 2.9, b"\x42\x01\x02", id="whole seconds"),
        pytest.param(Syntax.UNSIGNED32, 7, b"\x42\x01\x07", id="unsigned"),
        pytest.param(Syntax.ENUMERATION, 6, b"\x02\x01\x06", id="enumeration"),
        pytest.param(Syntax.TRUTH, True, b"\x02\x01\x01", id="true is 1"),
        pytest.param(Syntax.TRUTH, False, b"\x02\x01\x02", id="false is 2"),
    ],
)
def test_value_is_encoded_by_its_syntax(syntax: Syntax, value: mib.CellValue, octets: bytes) -> None:
    assert mib.encode_value(syntax, value) == octets


def test_date_and_time_is_utc_with_tenths() -> None:
    assert mib.date_and_time(1_700_000_000.96).hex(" ") == "07 e7 0b 0e 16 0d 14 09 2b 00 00"


def test_long_text_is_cut_between_characters() -> None:
    octets = mib.text_octets("x" * 254 + "ü")

    assert octets == b"x" * 254


def test_text_of_255_octets_stays_whole() -> None:
    assert mib.text_octets("x" * 253 + "ü") == b"x" * 253 + "ü".encode()


def test_a_number_is_demanded_where_the_syntax_is_one() -> None:
    with pytest.raises(TypeError, match="not a number: 'seven'"):
        mib.encode_value(Syntax.GAUGE32, "seven")


def test_every_kind_of_event_has_a_notification() -> None:
    assert [arc for arc, _name in (mib.NOTIFICATIONS[kind] for kind in EventKind)] == [(0, n) for n in range(1, 7)]


def test_columns_follow_the_promised_numbers() -> None:
    prefixes = [mib.TOKEN.prefix(mib.BASE, column)[-4:] for column in mib.TOKEN.columns]

    assert prefixes == [(1, 3, 1, number) for number in range(2, 30)]
    assert [column.name for column in mib.TOKEN.columns if column.number in {27, 28, 29}] == [
        "hsmTokenSoPinStatus",
        "hsmTokenResource",
        "hsmTokenName",
    ]
    assert (mib.AUDIT.columns[-1].number, mib.AUDIT.columns[-1].name) == (11, "hsmAuditFilling")
    assert (mib.ALARM[-1].number, mib.ALARM[-1].name) == (15, "hsmAlarmKind")


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
