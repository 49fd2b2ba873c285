"""wire.ber_values: what net-snmp reads is read, and what can't be decoded is described. More in test_ber."""

from __future__ import annotations

import pytest

from hsm_agent.wire.snmp import ber


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        pytest.param("0205000000002a", 42, id="integer of five octets"),
        pytest.param("0208ffffffffffffffd6", -42, id="negative integer of eight octets"),
        pytest.param("020500ffffffff", 2**32 - 1, id="unsigned number written as INTEGER"),
        pytest.param("4209000000000000000005", 5, id="Gauge32 of nine octets"),
        pytest.param("47012a", 42, id="UInteger32"),
        pytest.param("4503010203", b"\1\2\3", id="NsapAddress"),
        pytest.param("03020081", b"\x81", id="BIT STRING"),
        pytest.param("0600", (0, 0), id="empty OID"),
        pytest.param("06042b068001", (1, 3, 6, 1), id="subidentifier with a leading zero"),
        pytest.param("050101", None, id="NULL with content"),
        pytest.param("820101", None, id="endOfMibView with content"),
    ],
)
def test_what_net_snmp_reads_is_read(encoded: str, value: ber.Value) -> None:
    data = bytes.fromhex(encoded)

    assert ber.read_value(data, 0, len(data)) == (data[0], value, len(data))


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        pytest.param("4000", "IpAddress of 0 octets", id="nothing in it"),
        pytest.param("40080102030405060708", "IpAddress of 8 octets: 0102030405060708", id="too long"),
        pytest.param("0101ff", "type 0x01, which SNMP does not have, of 1 octet: ff", id="another type"),
        pytest.param("0209" + "01" * 9, "INTEGER of 9 octets: 010101010101010101", id="a long integer"),
        pytest.param("0614" + "ff" * 20, f"OBJECT IDENTIFIER of 20 octets: {'ff' * 16}…", id="cut for people"),
        pytest.param("", "no value at all", id="nothing"),
        pytest.param("0480", "a value whose length is wrong (length): 0480", id="indefinite length"),
    ],
)
def test_what_cannot_be_decoded_is_described(encoded: str, reason: str) -> None:
    data = bytes.fromhex(encoded)

    assert ber.undecodable(data, 0, len(data)).reason == reason
