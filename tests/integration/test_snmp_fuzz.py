"""Spoiled packets: nothing is raised, nothing answered that the RFCs leave unanswered, nothing kept."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.pdu import MAX_MESSAGE_OCTETS, PduType, Version, open_message, read_pdu, read_varbinds
from tests.fakes.snmp_manager import Manager, community_request, keys, read_community_reply, read_v3_reply, request_pdu
from tests.fakes.snmp_mutator import Mutator, Packet
from tests.fakes.snmp_present import COMMUNITY, Clock, responder, store

if TYPE_CHECKING:
    from hsm_agent.serve.snmp.responder import Responder

PACKETS = 200_000
WARM_UP = 20_000
THROUGH_THE_SOCKET = 4_000
SEED = 20261121
MOST_GROWTH_BYTES = 5 * 1024 * 1024
ENGINE_TIME = 600
SYS_NAME = (1, 3, 6, 1, 2, 1, 1, 5, 0)
USER = keys()


def length(number: int) -> bytes:
    """A pattern for every form of a BER length."""
    forms = [bytes([number])] + [bytes([0x80 + octets]) + number.to_bytes(octets, "big") for octets in (1, 2, 3, 4)]
    return b"(?:" + b"|".join(re.escape(form) for form in forms) + b")"


# How a message must begin to be answered to a community: the outer header, a version, the right word.
_ASKED = re.compile(
    rb"\x30(?:[\x00-\x7f]|\x81.|\x82..|\x83...|\x84....)\x02(?:"
    + b"|".join(length(octets) + bytes(octets - 1) for octets in (1, 2, 3, 4))
    + rb")([\x00\x01])\x04"
    + length(len(COMMUNITY))
    + re.escape(COMMUNITY.encode()),
    re.DOTALL,
)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def check_answer(packet: Packet, answer: bytes) -> str:
    """That it may be answered so; what sort of answer it is."""
    assert len(answer) <= MAX_MESSAGE_OCTETS
    version, position, end = open_message(answer)
    if version != Version.V3:
        asked = _ASKED.match(packet.datagram)
        assert asked is not None
        assert asked[1] == bytes([version])
        _community, position = ber.read_octets(answer, position, end)
        pdu = read_pdu(answer, position, end)
        assert pdu.pdu_type is PduType.RESPONSE
        read_varbinds(pdu.varbinds)
        return "response"
    header, position = v3.read_header(answer, position, end)
    _parameters, position = v3.read_parameters(answer, position, end)
    if not header.flags & v3.PRIVACY:
        reply = read_v3_reply(answer, USER)
        assert reply.pdu_type is PduType.REPORT
        assert len(reply.varbinds) == 1
        return "report in clear"
    # What is encrypted to the user answers only a packet with the user's signature under every octet of it.
    assert packet.signed
    reply = read_v3_reply(answer, USER)
    assert reply.pdu_type in {PduType.RESPONSE, PduType.REPORT}
    return reply.pdu_type.name.lower()


def check_size(packet: Packet, answer: bytes) -> None:
    """No answer is larger than the sender can take."""
    if packet.signed and packet.version is Version.V3:
        _version, position, end = open_message(packet.datagram)
        header, _ = v3.read_header(packet.datagram, position, end)
        assert len(answer) <= header.max_octets


@pytest.mark.timeout(300)
async def test_spoiled_packets_raise_nothing_and_leave_nothing(tmp_path: Path) -> None:
    one = await responder(tmp_path, store(), Clock(), v1=True)
    await one.start()
    answers: Counter[str] = Counter()
    mutator = Mutator(SEED, ENGINE_TIME)

    def feed(count: int) -> None:
        for number, packet in enumerate(mutator.packets(count)):
            answer = one.handle(packet.datagram, f"127.0.{number % 7}.{number % 251}")
            if answer is None:
                answers["silence"] += 1
            else:
                answers[check_answer(packet, answer)] += 1
                check_size(packet, answer)

    feed(WARM_UP)
    before = resident_bytes()
    feed(PACKETS - WARM_UP)
    grown = resident_bytes() - before

    assert grown <= MOST_GROWTH_BYTES
    assert answers.total() == PACKETS
    # The mutator reaches every kind of end; a change that makes it blunt is seen here.
    assert all(answers[kind] > PACKETS // 1000 for kind in ("silence", "response", "report", "report in clear")), (
        answers
    )
    assert Manager(one).get(SYS_NAME).values == [b"hsm-monitor-1"]
    await one.close()


async def send(loop: asyncio.AbstractEventLoop, client: socket.socket, one: Responder) -> None:
    for number, packet in enumerate(Mutator(SEED + 1, ENGINE_TIME).packets(THROUGH_THE_SOCKET)):
        await loop.sock_sendto(client, packet.datagram[:60_000], ("127.0.0.1", one.addresses[0][1]))
        if number % 50 == 0:
            await asyncio.sleep(0)


async def ask_until_answered(loop: asyncio.AbstractEventLoop, port: int) -> bytes:
    """The answer to a good packet; the kernel may have dropped the first ones."""
    good = community_request(request_pdu(PduType.GET, [SYS_NAME]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
        for _ in range(20):
            await loop.sock_sendto(client, good, ("127.0.0.1", port))
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    return await loop.sock_recv(client, 65535)
    raise AssertionError("no answer")


async def test_spoiled_packets_through_the_socket_leave_the_responder_answering(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    problems: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(context))
    one = await responder(tmp_path, store(), Clock(), v1=True)
    await one.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
        client.bind(("127.0.0.1", 0))
        await send(loop, client, one)
    answer = await ask_until_answered(loop, one.addresses[0][1])
    await one.close()

    assert read_community_reply(answer).values == [b"hsm-monitor-1"]
    assert problems == []
