"""Messages of net-snmp's, both ways; cut, lengthened, and with each field out of its range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.ber import DecodeError, Reason
from hsm_agent.wire.snmp.pdu import PduType, encode_pdu, open_message, read_names, read_pdu
from hsm_agent.wire.snmp.usm import AuthProtocol, Keys, PrivacyProtocol, User
from hsm_agent.wire.snmp.v3 import Header
from tests.fakes.snmp_messages import SYS_NAME, open_v3

ENGINE = bytes.fromhex("80001f8805000102030405060708")
# snmpget -d -v3 -e 80001f8805000102030405060708 -u noc -A maplesyrup -X syrup-of-maple … 1.3.6.1.2.1.1.5.0
PRIVATE = (
    "30818d02010330110204051a61e7020300ffe304010702010304413" + "03f040e80001f8805000102030405060708020100"
    "02010004036e6f630418d0e898b1e81aff022d3b2f745a79493847e777e37ca494cd04085df760d9632e4686043231bd"
    "5867adfd977b603c960df33aedb7fa83ba7c6c50d4456d6ad3deb60bc57561220f21994106cebcd3a6d787c8297b8c50"
)
AUTHENTIC = (
    "307702010330110204" + "0fd5bebc020300ffe3040105020103042d302b040e80001f8805000102030405060708020100"
    "02010004036e6f63040c47a5c6e251c831abc2910f2304003030040e80001f8805000102030405060708" + "0400a01c02047d"
    "fb9b270201000201003" + "00e300c06082b060102010105000500"
)
NOC_PRIVATE = User.from_secrets(
    name="noc",
    auth=AuthProtocol.SHA256,
    auth_secret="maplesyrup",
    privacy=PrivacyProtocol.AES128,
    privacy_secret="syrup-of-maple",
).localize(ENGINE)
NOC_AUTHENTIC = User.from_secrets(name="noc", auth=AuthProtocol.SHA, auth_secret="maplesyrup").localize(ENGINE)

MESSAGES = [
    pytest.param(PRIVATE, NOC_PRIVATE, Header(0x051A61E7, 65507, 7, 3), "5df760d9632e4686", id="authPriv"),
    pytest.param(AUTHENTIC, NOC_AUTHENTIC, Header(0x0FD5BEBC, 65507, 5, 3), "", id="authNoPriv"),
]


@pytest.mark.parametrize(("encoded", "keys", "header", "salt"), MESSAGES)
def test_a_message_of_net_snmp_is_understood(encoded: str, keys: Keys, header: Header, salt: str) -> None:
    answer = open_v3(bytes.fromhex(encoded), keys)

    assert answer.header == header
    assert answer.parameters[:4] == (ENGINE, 0, 0, b"noc")
    assert answer.parameters.salt.hex() == salt
    assert answer.scoped[:2] == (ENGINE, b"")
    assert answer.pdu.pdu_type is PduType.GET
    assert read_names(answer.pdu.varbinds) == (SYS_NAME,)


@pytest.mark.parametrize(("encoded", "keys", "header", "salt"), MESSAGES)
def test_a_message_is_encoded_as_net_snmp_does(encoded: str, keys: Keys, header: Header, salt: str) -> None:
    request_id = open_v3(bytes.fromhex(encoded), keys).pdu.request_id
    pdu = encode_pdu(PduType.GET, request_id, 0, 0, [ber.encode_varbind(SYS_NAME, ber.NULL)])

    message = v3.encode_message(
        header,
        engine_id=ENGINE,
        boots=0,
        time=0,
        keys=keys,
        scoped=v3.encode_scoped(ENGINE, b"", pdu),
        salt=bytes.fromhex(salt),
    )

    assert message.hex() == encoded


def _decode(message: bytes) -> None:
    _, position, end = open_message(message)
    header, position = v3.read_header(message, position, end)
    _, position = v3.read_parameters(message, position, end)
    if header.flags & v3.PRIVACY:
        ber.read_octets(message, position, end)
    else:
        scoped = v3.read_scoped(message, position, end)
        read_pdu(scoped.data, scoped.position, scoped.end)


@pytest.mark.parametrize("encoded", [PRIVATE, AUTHENTIC])
def test_a_message_cut_anywhere_is_refused(encoded: str) -> None:
    message = bytes.fromhex(encoded)
    for end in range(len(message)):
        with pytest.raises(DecodeError):
            _decode(message[:end])


@pytest.mark.parametrize("encoded", [PRIVATE, AUTHENTIC])
def test_octets_behind_a_message_are_ignored_until_its_digest_is_looked_at(encoded: str) -> None:
    _decode(bytes.fromhex(encoded) + b"\x00")


def _sequence(*fields: bytes) -> bytes:
    return ber.encode(ber.SEQUENCE, b"".join(fields))


INT, OCTETS = ber.encode_integer, ber.encode_octets


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param(_sequence(INT(-1), INT(484), OCTETS(b"\x04"), INT(3)), Reason.RANGE, id="negative message ID"),
        pytest.param(_sequence(INT(1), INT(483), OCTETS(b"\x04"), INT(3)), Reason.RANGE, id="maximum size too small"),
        pytest.param(_sequence(INT(1), INT(484), OCTETS(b""), INT(3)), Reason.RANGE, id="no flags"),
        pytest.param(_sequence(INT(1), INT(484), OCTETS(b"\x04\x04"), INT(3)), Reason.RANGE, id="two octets of flags"),
        pytest.param(_sequence(INT(1), INT(484), OCTETS(b"\x04"), INT(0)), Reason.RANGE, id="security model nought"),
        pytest.param(_sequence(INT(1), INT(484), OCTETS(b"\x04")), Reason.TRUNCATED, id="no security model"),
        pytest.param(
            _sequence(INT(1), INT(484), OCTETS(b"\x04"), INT(3), INT(3)), Reason.TRAILING, id="one field more"
        ),
    ],
)
def test_a_malformed_header_is_refused(header: bytes, reason: Reason) -> None:
    with pytest.raises(DecodeError) as caught:
        v3.read_header(header, 0, len(header))
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param((OCTETS(bytes(33)), INT(0), INT(0), *[OCTETS(b"")] * 3), Reason.RANGE, id="engine ID too long"),
        pytest.param((OCTETS(b""), INT(-1), INT(0), *[OCTETS(b"")] * 3), Reason.RANGE, id="negative boots"),
        pytest.param((OCTETS(b""), INT(0), INT(-1), *[OCTETS(b"")] * 3), Reason.RANGE, id="negative time"),
        pytest.param(
            (OCTETS(b""), INT(0), INT(0), OCTETS(bytes(33)), *[OCTETS(b"")] * 2), Reason.RANGE, id="name too long"
        ),
        pytest.param((OCTETS(b""), INT(0), INT(0), *[OCTETS(b"")] * 2), Reason.TRUNCATED, id="no salt"),
        pytest.param((OCTETS(b""), INT(0), INT(0), *[OCTETS(b"")] * 4), Reason.TRAILING, id="one field more"),
    ],
)
def test_malformed_parameters_are_refused(fields: tuple[bytes, ...], reason: Reason) -> None:
    data = OCTETS(_sequence(*fields))

    with pytest.raises(DecodeError) as caught:
        v3.read_parameters(data, 0, len(data))

    assert caught.value.reason is reason


def test_parameters_with_octets_to_spare_are_refused() -> None:
    data = OCTETS(_sequence(OCTETS(b""), INT(0), INT(0), *[OCTETS(b"")] * 3) + b"\x00")

    with pytest.raises(DecodeError) as caught:
        v3.read_parameters(data, 0, len(data))

    assert caught.value.reason is Reason.TRAILING


def test_padding_behind_a_decrypted_scoped_pdu_is_ignored() -> None:
    scoped = v3.encode_scoped(ENGINE, b"context", b"\xa0\x00")

    found = v3.read_scoped(scoped + b"\x07\x07\x07", 0, len(scoped) + 3)

    assert found[:2] == (ENGINE, b"context")
    assert found.data[found.position : found.end] == b"\xa0\x00"


@given(
    st.builds(Header, st.integers(0, 2**31 - 1), st.integers(484, 2**31 - 1), st.just(5), st.integers(1, 2**31 - 1)),
    st.binary(max_size=32),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**31 - 1),
    st.binary(max_size=40),
)
def test_every_message_survives(header: Header, engine_id: bytes, boots: int, time: int, context: bytes) -> None:
    pdu = encode_pdu(PduType.GET, 1, 2, 3, ())
    scoped = v3.encode_scoped(engine_id, context, pdu)

    message = v3.encode_message(header, engine_id=engine_id, boots=boots, time=time, keys=NOC_AUTHENTIC, scoped=scoped)

    answer = open_v3(message, NOC_AUTHENTIC)
    assert answer.header == header
    assert answer.parameters[:4] == (engine_id, boots, time, b"noc")
    assert answer.scoped[:2] == (engine_id, context)
    assert answer.pdu == (PduType.GET, 1, 2, 3, b"")


@given(st.binary(max_size=200))
def test_any_octets_are_a_message_or_a_decode_error(data: bytes) -> None:
    for read in (v3.read_header, v3.read_parameters, v3.read_scoped):
        try:
            read(data, 0, len(data))
        except DecodeError as error:
            assert error.reason in Reason
