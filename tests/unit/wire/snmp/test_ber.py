"""BER: single values both ways, and what cannot be decoded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.ber import DecodeError, Reason
from tests.fakes.snmp_messages import encode_value

VALUES = [
    pytest.param(ber.INTEGER, 0, "020100", id="zero"),
    pytest.param(ber.INTEGER, 127, "02017f", id="largest of one octet"),
    pytest.param(ber.INTEGER, 128, "02020080", id="sign octet needed"),
    pytest.param(ber.INTEGER, -1, "0201ff", id="minus one"),
    pytest.param(ber.INTEGER, -128, "020180", id="smallest of one octet"),
    pytest.param(ber.INTEGER, -129, "0202ff7f", id="minus 129"),
    pytest.param(ber.INTEGER, 2**31 - 1, "02047fffffff", id="largest Integer32"),
    pytest.param(ber.INTEGER, -(2**31), "020480000000", id="smallest Integer32"),
    pytest.param(ber.OCTET_STRING, b"", "0400", id="empty string"),
    pytest.param(ber.OCTET_STRING, b"hsm", "040368736d", id="string"),
    pytest.param(ber.OCTET_STRING, bytes(128), "048180" + "00" * 128, id="length of two octets"),
    pytest.param(ber.OCTET_STRING, bytes(256), "04820100" + "00" * 256, id="length of three octets"),
    pytest.param(ber.NULL_TAG, None, "0500", id="null"),
    pytest.param(ber.OBJECT_IDENTIFIER, (0, 0), "060100", id="null OID"),
    pytest.param(ber.OBJECT_IDENTIFIER, (1, 3, 6, 1, 4, 1, 8072), "06072b06010401bf08", id="net-snmp"),
    pytest.param(ber.OBJECT_IDENTIFIER, (1, 39, 2**32 - 1), "06064f8fffffff7f", id="largest subidentifier"),
    pytest.param(ber.OBJECT_IDENTIFIER, (2, 999, 3), "0603883703", id="X.690 8.19.5"),
    pytest.param(ber.OBJECT_IDENTIFIER, (2, 2**32 - 1), "0605908080804f", id="largest second arc"),
    pytest.param(ber.IP_ADDRESS, bytes((192, 0, 2, 10)), "4004c000020a", id="IpAddress"),
    pytest.param(ber.COUNTER32, 2**32 - 1, "410500ffffffff", id="largest Counter32"),
    pytest.param(ber.GAUGE32, 200, "420200c8", id="Gauge32"),
    pytest.param(ber.TIMETICKS, 42, "43012a", id="TimeTicks"),
    pytest.param(ber.OPAQUE, b"\x9f\x78", "44029f78", id="Opaque"),
    pytest.param(ber.COUNTER64, 2**64 - 1, "460900ffffffffffffffff", id="largest Counter64"),
    pytest.param(ber.NO_SUCH_OBJECT_TAG, None, "8000", id="noSuchObject"),
    pytest.param(ber.NO_SUCH_INSTANCE_TAG, None, "8100", id="noSuchInstance"),
    pytest.param(ber.END_OF_MIB_VIEW_TAG, None, "8200", id="endOfMibView"),
]


@pytest.mark.parametrize(("tag", "value", "encoded"), VALUES)
def test_a_value_is_encoded(tag: int, value: int | bytes | ber.Oid | None, encoded: str) -> None:
    assert encode_value(tag, value).hex() == encoded


@pytest.mark.parametrize(("tag", "value", "encoded"), VALUES)
def test_a_value_is_decoded(tag: int, value: int | bytes | ber.Oid | None, encoded: str) -> None:
    data = bytes.fromhex(encoded)

    assert ber.read_value(data, 0, len(data)) == (tag, value, len(data))


@pytest.mark.parametrize(("tag", "value", "encoded"), VALUES)
def test_what_follows_a_value_is_left_alone(tag: int, value: int | bytes | ber.Oid | None, encoded: str) -> None:
    data = bytes.fromhex("30" + encoded + "02012a")

    assert ber.read_value(data, 1, len(data)) == (tag, value, len(data) - 3)


@pytest.mark.parametrize(("tag", "value", "encoded"), VALUES)
def test_a_value_that_is_cut_short_is_refused(tag: int, value: int | bytes | ber.Oid | None, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    for end in range(len(data)):
        with pytest.raises(DecodeError) as caught:
            ber.read_value(data, 0, end)
        assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        pytest.param("0480", Reason.LENGTH, id="indefinite length"),
        pytest.param("04850000000001aa", Reason.LENGTH, id="length of five octets"),
        pytest.param("048200", Reason.TRUNCATED, id="length cut short"),
        pytest.param("0484ffffffffaa", Reason.TRUNCATED, id="four gigabytes announced"),
        pytest.param("1f8101", Reason.TAG, id="high tag number"),
        pytest.param("0200", Reason.RANGE, id="empty integer"),
        pytest.param("02050100000000", Reason.RANGE, id="integer of 33 bits"),
        pytest.param("0205ff7fffffff", Reason.RANGE, id="negative integer of 33 bits"),
        pytest.param("0209000000000000000001", Reason.RANGE, id="integer of nine octets"),
        pytest.param("4003c00002", Reason.RANGE, id="IpAddress of three octets"),
        pytest.param("4100", Reason.RANGE, id="empty counter"),
        pytest.param("41050100000000", Reason.RANGE, id="Counter32 of 33 bits"),
        pytest.param("420a00000000000000000001", Reason.RANGE, id="Gauge32 of ten octets"),
        pytest.param("0300", Reason.RANGE, id="BIT STRING without a count of unused bits"),
        pytest.param("030208ff", Reason.RANGE, id="BIT STRING with eight unused bits"),
        pytest.param("4609010000000000000000", Reason.RANGE, id="Counter64 of 65 bits"),
        pytest.param("0101ff", Reason.TAG, id="a type SNMP does not have"),
        pytest.param("3000", Reason.TAG, id="a sequence where a value belongs"),
        pytest.param("06022b86", Reason.OID, id="subidentifier without end"),
        pytest.param("06062b9080808000", Reason.OID, id="subidentifier of 33 bits"),
        pytest.param("06072bffffffffff7f", Reason.OID, id="subidentifier of six octets"),
        pytest.param("068180" + "01" * 128, Reason.OID, id="129 subidentifiers"),
        pytest.param("06830186a0" + "01" * 100000, Reason.OID, id="a hundred thousand subidentifiers"),
        pytest.param("060c" + "ff" * 11 + "7f", Reason.OID, id="nothing but continuations"),
    ],
)
def test_hostile_values_are_refused_with_a_reason(encoded: str, reason: Reason) -> None:
    data = bytes.fromhex(encoded)

    with pytest.raises(DecodeError) as caught:
        ber.read_value(data, 0, len(data))

    assert caught.value.reason is reason


def test_128_subidentifiers_are_taken() -> None:
    oid = (1, 3, *range(126))

    encoded = ber.encode_oid(oid)

    assert ber.read_oid(encoded, 0, len(encoded)) == (oid, len(encoded))


def test_a_value_of_another_type_is_not_entered() -> None:
    for read in (ber.read_integer, ber.read_octets, ber.read_oid):
        with pytest.raises(DecodeError) as caught:
            read(b"\x05\x00", 0, 2)
        assert caught.value.reason is Reason.TAG


def test_lengths_longer_than_needed_are_understood() -> None:
    assert ber.read_octets(bytes.fromhex("0484000000016101"), 0, 8) == (b"a", 7)


def test_unsigned_values_without_sign_octet_are_understood() -> None:
    data = bytes.fromhex("4104ffffffff")

    assert ber.read_value(data, 0, len(data))[1] == 2**32 - 1


@pytest.mark.parametrize(
    "oid",
    [
        pytest.param((1,), id="one arc"),
        pytest.param((3, 1), id="first arc three"),
        pytest.param((1, 40), id="second arc forty"),
        pytest.param((1, 3, -1), id="negative"),
        pytest.param((1, 3, 2**32), id="33 bits"),
        pytest.param((1, 3, *range(127)), id="129 subidentifiers"),
    ],
)
def test_what_is_no_oid_is_not_encoded(oid: ber.Oid) -> None:
    with pytest.raises(ValueError, match="not an object identifier"):
        ber.encode_oid(oid)


@pytest.mark.parametrize("subid", [-1, 2**32 + 80])
def test_what_is_no_subidentifier_is_not_encoded(subid: int) -> None:
    with pytest.raises(ValueError, match="not a subidentifier"):
        ber.encode_subids((subid,))


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_integers_out_of_range_are_not_encoded(value: int) -> None:
    with pytest.raises(ValueError, match="not an Integer32"):
        ber.encode_integer(value)


def test_gauges_latch() -> None:
    assert ber.encode_gauge32(2**40) == ber.encode_gauge32(2**32 - 1)
    assert ber.encode_gauge32(-5) == ber.encode_gauge32(0)


def test_counters_wrap() -> None:
    assert ber.encode_counter32(2**32 + 7) == ber.encode_counter32(7)
    assert ber.encode_counter64(2**64 + 7) == ber.encode_counter64(7)
    assert ber.encode_timeticks(2**32 + 7) == ber.encode_timeticks(7)


def test_a_varbind_is_a_sequence_of_name_and_value() -> None:
    assert ber.encode_varbind((1, 3, 6, 1), ber.NULL).hex() == "300706032b06010500"


def test_trailing_octets_are_refused() -> None:
    with pytest.raises(DecodeError) as caught:
        ber.finish(3, 4)
    assert caught.value.reason is Reason.TRAILING


subids = st.integers(0, 2**32 - 1)
oids = st.one_of(st.tuples(st.integers(0, 1), st.integers(0, 39)), st.tuples(st.just(2), subids)).flatmap(
    lambda head: st.lists(subids, max_size=126).map(lambda rest: (*head, *rest))
)


@given(oids)
def test_every_oid_survives(oid: ber.Oid) -> None:
    encoded = ber.encode_oid(oid)

    assert ber.read_oid(encoded, 0, len(encoded)) == (oid, len(encoded))


@given(st.integers(-(2**31), 2**31 - 1))
def test_every_integer_survives(value: int) -> None:
    encoded = ber.encode_integer(value)

    assert ber.read_integer(encoded, 0, len(encoded)) == (value, len(encoded))


@given(st.binary(max_size=2000))
def test_every_string_survives(value: bytes) -> None:
    encoded = ber.encode_octets(value)

    assert ber.read_octets(encoded, 0, len(encoded)) == (value, len(encoded))


@given(st.binary(max_size=64))
def test_any_octets_are_a_value_or_a_decode_error(data: bytes) -> None:
    try:
        tag, value, position = ber.read_value(data, 0, len(data))
    except DecodeError:
        return
    assert 0 < position <= len(data)
    again = encode_value(tag, value)
    assert ber.read_value(again, 0, len(again)) == (tag, value, len(again))


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        pytest.param("0205000000002a", 42, id="padded"),
        pytest.param("0208ffffffffffffffd6", -42, id="padded and negative"),
        pytest.param("020500ffffffff", 2**32 - 1, id="unsigned"),
        pytest.param("02050100000005", 5, id="of 33 bits"),
        pytest.param("0205ff00000001", -1, id="of 33 bits and negative"),
        pytest.param("0208ffffffff7fffffff", -(2**31) + 1, id="below the least"),
        pytest.param("0208fffffffe00000001", -1, id="far below the least"),
    ],
)
def test_a_request_id_is_cut_to_32_bits_as_net_snmp_does(encoded: str, value: int) -> None:
    data = bytes.fromhex(encoded)

    assert ber.read_cut_integer(data, 0, len(data)) == (value, len(data))


@pytest.mark.parametrize("encoded", ["0200", "0209000000000000000001"])
def test_a_request_id_of_no_or_nine_octets_is_refused(encoded: str) -> None:
    data = bytes.fromhex(encoded)

    with pytest.raises(DecodeError) as caught:
        ber.read_cut_integer(data, 0, len(data))

    assert caught.value.reason is Reason.RANGE


@pytest.mark.parametrize("encoded", ["02050080000000", "0205ff7fffffff"])
def test_a_number_of_the_protocol_has_32_bits(encoded: str) -> None:
    data = bytes.fromhex(encoded)

    with pytest.raises(DecodeError) as caught:
        ber.read_integer(data, 0, len(data))

    assert caught.value.reason is Reason.RANGE


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


@pytest.mark.parametrize(
    ("text", "oid"),
    [("1.3.6.1", (1, 3, 6, 1)), (".1.3.6.1", (1, 3, 6, 1)), ("7", (7,)), ("1.4294967295", (1, 4294967295))],
)
def test_the_text_of_an_oid_is_numbers_with_dots_between_them(text: str, oid: tuple[int, ...]) -> None:
    assert ber.parse_oid(text) == oid


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "1.", "1..3", "..1.3", "1.x", "1.-3", " 1.3", "1.3\n", "1.\u0663"),
        *("1.4294967296", "1." + "9" * 5000, "1" + ".3" * 128),
    ],
)
def test_text_that_is_no_oid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an object identifier"):
        ber.parse_oid(text)
