"""PDUs and community messages, one table both ways, and whatever else may come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.ber import DecodeError, Reason, Undecodable, VarBind
from hsm_agent.wire.snmp.pdu import (
    PduType,
    Version,
    encode_community_message,
    encode_pdu,
    open_message,
    read_names,
    read_pdu,
    read_varbinds,
)
from tests.fakes.snmp_messages import encode_value

SYS_NAME = (1, 3, 6, 1, 2, 1, 1, 5, 0)
NET_SNMP = (1, 3, 6, 1, 4, 1, 8072)
Message = tuple[Version, bytes, PduType, int, int, int, tuple[VarBind, ...]]

# As net-snmp 5.9.3 sends them (snmpget -d and its like).
MESSAGES = [
    pytest.param(
        (Version.V2C, b"public", PduType.GET, 500570886, 0, 0, (VarBind(SYS_NAME, ber.NULL_TAG, None),)),
        "302902010104067075626c6963a01c02041dd61b06020100020100300e300c06082b060102010105000500",
        id="snmpget",
    ),
    pytest.param(
        (
            Version.V2C,
            b"public",
            PduType.GETBULK,
            1744511918,
            1,
            25,
            (VarBind(SYS_NAME, ber.NULL_TAG, None), VarBind(NET_SNMP, ber.NULL_TAG, None)),
        ),
        "303602010104067075626c6963a529020467fb23ae020101020119301b300c06082b060102010105000500"
        "300b06072b06010401bf080500",
        id="snmpbulkget",
    ),
    pytest.param(
        (
            Version.V2C,
            b"public",
            PduType.TRAP,
            1169644728,
            0,
            0,
            (
                VarBind((1, 3, 6, 1, 2, 1, 1, 3, 0), ber.TIMETICKS, 42),
                VarBind(
                    (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0),
                    ber.OBJECT_IDENTIFIER,
                    (1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 4801, 0, 1),
                ),
                VarBind((*NET_SNMP, 1, 0), ber.INTEGER, -5),
            ),
        ),
        "305902010104067075626c6963a74c020445b75cb8020100020100303e300d06082b0601020101030043012a"
        "301d060a2b060106030101040100060f2b06010401bf08ce0fce0fa5410001300e06092b06010401bf0801000201fb",
        id="snmptrap",
    ),
]


def _decode(data: bytes) -> Message:
    version, position, end = open_message(data)
    community, position = ber.read_octets(data, position, end)
    pdu = read_pdu(data, position, end)
    return (Version(version), community, *pdu[:4], read_varbinds(pdu.varbinds))


def _encode(message: Message) -> bytes:
    version, community, pdu_type, request_id, first, second, varbinds = message
    listed = [ber.encode_varbind(one.name, encode_value(one.tag, one.value)) for one in varbinds]
    return encode_community_message(version, community, encode_pdu(pdu_type, request_id, first, second, listed))


@pytest.mark.parametrize(("message", "encoded"), MESSAGES)
def test_a_message_is_encoded_as_net_snmp_does(message: Message, encoded: str) -> None:
    assert _encode(message).hex() == encoded


@pytest.mark.parametrize(("message", "encoded"), MESSAGES)
def test_a_message_is_decoded(message: Message, encoded: str) -> None:
    assert _decode(bytes.fromhex(encoded)) == message


@pytest.mark.parametrize(("message", "encoded"), MESSAGES)
def test_a_message_cut_anywhere_is_refused(message: Message, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            _decode(data[:end])


@pytest.mark.parametrize(("message", "encoded"), MESSAGES)
def test_octets_behind_a_message_are_ignored(message: Message, encoded: str) -> None:
    assert _decode(bytes.fromhex(encoded) + b"\x00") == _decode(bytes.fromhex(encoded))


@pytest.mark.parametrize(("message", "encoded"), MESSAGES)
def test_names_are_read_without_values(message: Message, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    _, position, end = open_message(data)
    _, position = ber.read_octets(data, position, end)

    assert read_names(read_pdu(data, position, end).varbinds) == tuple(one.name for one in message[-1])


@pytest.mark.parametrize(
    ("varbinds", "reason"),
    [
        pytest.param("3000", Reason.TRUNCATED, id="nothing in it"),
        pytest.param("300406022b06", Reason.TRUNCATED, id="no value"),
        pytest.param("3004050006002b06", Reason.TAG, id="value first"),
        pytest.param("300806022b0605000500", Reason.TRAILING, id="two values"),
        pytest.param("300606022b060501", Reason.TRUNCATED, id="value longer than its varbind"),
        pytest.param("300606022b060580", Reason.LENGTH, id="indefinite value"),
        pytest.param("310606022b060500", Reason.TAG, id="no sequence"),
        pytest.param("300606022b06050030", Reason.TRUNCATED, id="half a varbind more"),
    ],
)
def test_malformed_varbinds_of_requests_are_refused(varbinds: str, reason: Reason) -> None:
    with pytest.raises(DecodeError) as caught:
        read_names(bytes.fromhex(varbinds))
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("varbinds", "reason"),
    [
        pytest.param("310606022b060500", Reason.TAG, id="no sequence"),
        pytest.param("300606022b06050030", Reason.TRUNCATED, id="half a varbind more"),
    ],
)
def test_varbinds_without_bounds_are_refused(varbinds: str, reason: Reason) -> None:
    with pytest.raises(DecodeError) as caught:
        read_varbinds(bytes.fromhex(varbinds))
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("damaged", "found"),
    [
        pytest.param("3000", VarBind((), 5, Undecodable("no value at all")), id="nothing in it"),
        pytest.param("300406022b06", VarBind((1, 3, 6), 5, Undecodable("no value at all")), id="no value"),
        pytest.param(
            "300606022b060580",
            VarBind((1, 3, 6), 5, Undecodable("a value whose length is wrong (length): 0580")),
            id="indefinite value",
        ),
        pytest.param(
            "300606022b064000", VarBind((1, 3, 6), 0x40, Undecodable("IpAddress of 0 octets")), id="IpAddress"
        ),
        pytest.param(
            "3006060182020107", VarBind((), 6, Undecodable("OBJECT IDENTIFIER of 1 octet: 82")), id="damaged name"
        ),
        pytest.param("300906022b0602012a0500", VarBind((1, 3, 6), 2, 42), id="something behind the value"),
    ],
)
def test_damage_stays_with_its_varbind(damaged: str, found: VarBind) -> None:
    sound = "300706022b07020107"

    listed = read_varbinds(bytes.fromhex(sound + damaged + sound))

    assert listed == (VarBind((1, 3, 7), 2, 7), found, VarBind((1, 3, 7), 2, 7))


@pytest.mark.parametrize(
    ("pdu", "reason"),
    [
        pytest.param("a40b0201010201000201003000", Reason.TAG, id="a v1 trap"),
        pytest.param("a90b0201010201000201003000", Reason.TAG, id="no PDU of ours"),
        pytest.param("a0080201010201003000", Reason.TAG, id="an integer missing"),
        pytest.param("a00a02010102000201003000", Reason.RANGE, id="an error of no octets"),
    ],
)
def test_malformed_pdus_are_refused(pdu: str, reason: Reason) -> None:
    data = bytes.fromhex(pdu)

    with pytest.raises(DecodeError) as caught:
        read_pdu(data, 0, len(data))

    assert caught.value.reason is reason


_subids = st.integers(0, 2**32 - 1)
_oids = st.lists(_subids, max_size=20).map(lambda rest: (1, 3, *rest))
_varbinds = st.one_of(
    st.builds(VarBind, _oids, st.just(ber.INTEGER), st.integers(-(2**31), 2**31 - 1)),
    st.builds(VarBind, _oids, st.sampled_from((ber.COUNTER32, ber.GAUGE32, ber.TIMETICKS)), _subids),
    st.builds(VarBind, _oids, st.just(ber.COUNTER64), st.integers(0, 2**64 - 1)),
    st.builds(VarBind, _oids, st.sampled_from((ber.OCTET_STRING, ber.OPAQUE)), st.binary(max_size=300)),
    st.builds(VarBind, _oids, st.just(ber.IP_ADDRESS), st.binary(min_size=4, max_size=4)),
    st.builds(VarBind, _oids, st.just(ber.OBJECT_IDENTIFIER), _oids),
    st.builds(VarBind, _oids, st.sampled_from((0x05, 0x80, 0x81, 0x82)), st.none()),
)
_int32 = st.integers(-(2**31), 2**31 - 1)
_messages = st.tuples(
    st.sampled_from((Version.V1, Version.V2C)),
    st.binary(max_size=300),
    st.sampled_from([one for one in PduType if one is not PduType.TRAP_V1]),
    _int32,
    _int32,
    _int32,
    st.lists(_varbinds, max_size=6).map(tuple),
)


@given(_messages)
def test_every_message_survives(message: Message) -> None:
    assert _decode(_encode(message)) == message


@given(st.data())
def test_a_damaged_message_is_a_message_or_a_decode_error(data: st.DataObject) -> None:
    message = bytearray(_encode(data.draw(_messages)))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        _decode(bytes(message))
    except (DecodeError, ValueError) as error:
        assert isinstance(error, DecodeError) or "Version" in str(error)


@pytest.mark.parametrize(
    ("pdu", "request_id"),
    [
        pytest.param("a00d02010102010002010030000500", 1, id="something behind the list"),
        pytest.param("a00b02010102010002010030000500", 1, id="something behind the PDU"),
        pytest.param("a00f0205000000002a0201000201003000", 42, id="request ID of five octets"),
    ],
)
def test_what_net_snmp_ignores_in_a_pdu_is_ignored(pdu: str, request_id: int) -> None:
    data = bytes.fromhex(pdu)

    assert read_pdu(data, 0, len(data)) == (PduType.GET, request_id, 0, 0, b"")


@pytest.mark.parametrize(
    ("count", "read"),
    [("02050080000000", 2**31), ("0205000000000a", 10), ("0206010000000000", 0), ("0208ffffffffffffffff", -1)],
)
def test_the_counts_of_a_getbulk_may_have_more_than_four_octets(count: str, read: int) -> None:
    numbers = bytes.fromhex("020101" + count + count)
    data = ber.encode(PduType.GETBULK, numbers + b"\x30\0")

    assert read_pdu(data, 0, len(data)) == (PduType.GETBULK, 1, read, read, b"")


@pytest.mark.parametrize("request_id", [0, 2**31 - 1, 2**31, 2**32 - 1, -1, -(2**31)])
def test_every_request_id_that_is_read_can_be_given_back(request_id: int) -> None:
    data = encode_pdu(PduType.RESPONSE, request_id, 0, 0, ())

    assert read_pdu(data, 0, len(data)).request_id == request_id
