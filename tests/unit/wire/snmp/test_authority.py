"""Which community is heard, what is dropped and counted; and packets nobody would send."""

from __future__ import annotations

import random

import pytest

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.authority import Authority, Refusal
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.pdu import ErrorStatus, PduType, Request, Version
from tests.fakes.examples import examples
from tests.fakes.snmp_authority import AUTH, PRIV, Agent
from tests.fakes.snmp_messages import NOW, SYS_NAME, V3, community_message, engine, open_community, pdu


def test_a_v2c_request_is_handed_out_whole() -> None:
    agent = Agent()

    request = agent.heard(community_message(pdu(PduType.GETBULK, [SYS_NAME, (1, 3, 6)], first=1, second=-25)))

    assert request[:9] == (
        Version.V2C, "noc", "127.0.0.1", NOW, PduType.GETBULK, 4711, 1, -25, (SYS_NAME, (1, 3, 6)),
    )  # fmt: skip
    assert request.max_octets == 65507
    assert request.counter64
    assert agent.counted == {}
    assert agent.authority.counters[Count.IN_PKTS] == 1


@pytest.mark.parametrize(
    ("address", "principal"),
    [
        pytest.param("127.9.9.9", "noc", id="in the first one's network"),
        pytest.param("192.0.2.77", "lab", id="in the other's, same secret"),
        pytest.param("::ffff:127.0.0.1", "noc", id="IPv4 on an IPv6 socket"),
        pytest.param("2001:db8::1%eth0", "noc", id="IPv6 with a scope"),
    ],
)
def test_a_community_is_told_by_secret_and_network(address: str, principal: str) -> None:
    assert Agent().heard(community_message(pdu()), address).principal == principal


@pytest.mark.parametrize(
    ("community", "address"),
    [
        pytest.param(b"publik", "127.0.0.1", id="wrong secret"),
        pytest.param(b"", "127.0.0.1", id="empty secret"),
        pytest.param(b"public", "198.51.100.1", id="wrong network"),
        pytest.param(b"public", "::1", id="wrong family"),
        pytest.param(b"public", "no address", id="no address"),
    ],
)
def test_a_stranger_is_dropped_counted_and_told_of(community: bytes, address: str) -> None:
    agent = Agent()

    assert agent.receive(community_message(pdu(), community=community), address) is None
    assert agent.counted == {"IN_BAD_COMMUNITY_NAMES": 1}
    assert agent.failures == [address]


def test_v1_is_off_unless_configured() -> None:
    message = community_message(pdu(), version=Version.V1)
    without, with_v1 = Agent(), Agent(v1=True)

    assert without.receive(message) is None
    assert without.counted == {"IN_BAD_VERSIONS": 1}
    assert not with_v1.heard(message).counter64


def test_v1_has_no_getbulk() -> None:
    agent = Agent(v1=True)

    assert agent.receive(community_message(pdu(PduType.GETBULK), version=Version.V1)) is None
    assert agent.counted == {"UNKNOWN_PDU_HANDLERS": 1}


@pytest.mark.parametrize("version", [2, 4, -1])
def test_other_versions_are_dropped(version: int) -> None:
    agent = Agent()
    message = ber.encode(ber.SEQUENCE, ber.encode_integer(version) + ber.encode_octets(b"public") + pdu())

    assert agent.receive(message) is None
    assert agent.counted == {"IN_BAD_VERSIONS": 1}


def test_what_is_not_configured_is_a_bad_version() -> None:
    authority = Authority(engine=engine())

    assert authority.receive(community_message(pdu()), "127.0.0.1", NOW) == Refusal(Count.IN_BAD_VERSIONS)
    assert authority.receive(V3(keys=AUTH).encode(), "127.0.0.1", NOW) == Refusal(Count.IN_BAD_VERSIONS)
    assert authority.counters[Count.IN_BAD_VERSIONS] == 2


@pytest.mark.parametrize("pdu_type", [PduType.RESPONSE, PduType.TRAP, PduType.INFORM, PduType.REPORT])
def test_what_no_agent_answers_is_dropped(pdu_type: PduType) -> None:
    agent = Agent()

    assert agent.receive(community_message(pdu(pdu_type))) is None
    assert agent.counted == {"UNKNOWN_PDU_HANDLERS": 1}


def test_a_v2c_set_is_handed_out_and_counted_as_a_bad_use() -> None:
    agent = Agent()

    assert agent.heard(community_message(pdu(PduType.SET))).pdu_type is PduType.SET
    assert agent.counted == {"IN_BAD_COMMUNITY_USES": 1}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30\x80\x00\x00", id="indefinite length"),
        pytest.param(community_message(pdu())[:-1], id="cut short"),
        pytest.param(community_message(b"\x02\x01\x00"), id="no PDU"),
        pytest.param(V3(keys=AUTH, max_size=483).encode(), id="v3 that takes less than 484 octets"),
        pytest.param(V3(keys=AUTH, engine_id=bytes(33)).encode(), id="v3 engine ID of 33 octets"),
        pytest.param(V3(keys=b"u" * 33, flags=4).encode(), id="v3 user name of 33 octets"),
        pytest.param(V3(keys=AUTH, boots=-1).encode(), id="v3 negative boots"),
        pytest.param(V3(keys=AUTH, message_id=-1).encode(), id="v3 negative message ID"),
        pytest.param(V3(keys=AUTH, inner=b"\xa0\x00").encode(), id="v3 authentic and malformed"),
    ],
)
def test_malformed_messages_are_dropped_and_counted(message: bytes) -> None:
    agent = Agent()

    assert agent.receive(message) is None
    assert agent.counted == {"IN_ASN_PARSE_ERRS": 1}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(community_message(pdu()) + b"\x00", id="something behind"),
        pytest.param(community_message(pdu() + b"\x05\x00"), id="something behind the PDU"),
        pytest.param(V3(keys=AUTH, inner=pdu() + b"\x00").encode(), id="v3 something behind the PDU"),
    ],
)
def test_octets_to_spare_do_not_matter(message: bytes) -> None:
    assert Agent().heard(message).names == (SYS_NAME,)


def test_an_octet_behind_a_v3_message_is_part_of_what_is_authenticated() -> None:
    agent = Agent()

    agent.report(V3(keys=AUTH).encode() + b"\x00")

    assert agent.counted == {"WRONG_DIGESTS": 1}


@pytest.mark.parametrize("request_id", [bytes.fromhex("0205000000002a"), bytes.fromhex("020500ffffffff")])
def test_a_request_id_of_five_octets_is_given_back(request_id: bytes) -> None:
    agent = Agent()
    inner = ber.encode(PduType.GET, request_id + pdu()[6:])

    request = agent.heard(community_message(inner))

    answer = agent.authority.respond(request, 0, 0, ())
    assert answer is not None
    assert open_community(answer)[2].request_id == int.from_bytes(request_id[2:], "big")


SHORT = (1, 3)


@pytest.mark.parametrize(
    ("count", "name", "answered"),
    [
        pytest.param(500, SHORT, True, id="500 names"),
        pytest.param(501, SHORT, False, id="501 names"),
        pytest.param(9000, SHORT, False, id="a full datagram of names"),
        pytest.param(120, (1, 3, *[7] * 126), True, id="15 KiB of long names"),
        pytest.param(130, (1, 3, *[7] * 126), False, id="17 KiB of long names"),
    ],
)
@pytest.mark.parametrize("pdu_type", [PduType.GET, PduType.GETNEXT, PduType.GETBULK, PduType.SET])
def test_a_request_that_would_take_too_long_is_too_big(
    pdu_type: PduType, count: int, name: ber.Oid, answered: bool
) -> None:
    agent = Agent()
    inner = pdu(pdu_type, [name] * count)

    for message in (community_message(inner), V3(keys=AUTH, inner=inner).encode()):
        outcome = agent.receive(message)

        assert isinstance(outcome, Request) is answered
        assert answered or outcome is not None
    if not answered:
        refused = agent.receive(community_message(inner))
        assert isinstance(refused, bytes)
        assert open_community(refused)[2] == (PduType.RESPONSE, 4711, ErrorStatus.TOO_BIG, 0, b"")


def test_mutated_packets_raise_nothing() -> None:
    agent, packets = Agent(v1=True), examples(20_000, 4000)
    dice = random.Random(20240901)
    seeds = [
        community_message(pdu()),
        community_message(pdu(PduType.GETBULK, second=5), version=Version.V1),
        V3(keys=AUTH).encode(),
        V3(keys=PRIV).encode(),
        V3(keys=b"", flags=4, engine_id=b"").encode(),
    ]

    for _ in range(packets):
        packet = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(packet))
            match dice.randrange(4):
                case 0:
                    packet[at] = dice.randrange(256)
                case 1:
                    packet[at] ^= 1 << dice.randrange(8)
                case 2:
                    del packet[at:]
                case _:
                    packet[at:at] = dice.randbytes(dice.randint(1, 9))
            if not packet:
                break
        agent.receive(bytes(packet))

    assert agent.authority.counters[Count.IN_PKTS] == packets
    assert agent.counted["IN_ASN_PARSE_ERRS"] > packets / 20
