"""Odd messages, side by side with net-snmp: what snmpd answers we answer, octet by octet; what snmpget reads we read."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.authority import LOCAL_ENGINE_ID
from hsm_agent.wire.snmp.client_engine import Manager, SnmpResponse
from hsm_agent.wire.snmp.engine import Salts
from hsm_agent.wire.snmp.pdu import PduType, open_message, read_pdu, read_varbinds
from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol, User
from tests.fakes.snmp_messages import NOW
from tests.fakes.snmp_present import AUTH_SECRET, COMMUNITY, ENGINE_ID, PRIVACY_SECRET, Clock, responder, store
from tests.peers import netsnmp
from tests.peers.netsnmp import NetSnmp
from tests.peers.snmpd import Snmpd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hsm_agent.serve.snmp.responder import Responder

SYS_NAME = (1, 3, 6, 1, 2, 1, 1, 5, 0)
SNMP_ENGINE_ID = (1, 3, 6, 1, 6, 3, 10, 2, 1, 1, 0)
NMS = User.from_secrets(
    name="nms",
    auth=AuthProtocol.SHA256,
    auth_secret=AUTH_SECRET,
    privacy=PrivacyProtocol.AES128,
    privacy_secret=PRIVACY_SECRET,
)
KEYS = NMS.localize(ENGINE_ID)
ASKED = ber.encode_varbind(SYS_NAME, ber.NULL)
NUMBER = ber.encode_integer(42)


def pdu(
    *varbinds: bytes,
    number: bytes = NUMBER,
    kind: int = PduType.GET,
    first: bytes = b"\2\1\0",
    second: bytes = b"\2\1\0",
    behind: bytes = b"",
) -> bytes:
    listed = ber.encode(ber.SEQUENCE, b"".join(varbinds or (ASKED,)))
    return ber.encode(kind, number + first + second + listed + behind)


def v2c(inner: bytes, *, version: bytes = b"\2\1\1") -> bytes:
    return ber.encode(ber.SEQUENCE, version + ber.encode_octets(COMMUNITY.encode()) + inner)


def odd(value: str) -> bytes:
    """A varbind of sysName whose value is these octets, and a sound one behind it."""
    return ber.encode(ber.SEQUENCE, ber.encode_oid(SYS_NAME) + bytes.fromhex(value)) + ASKED


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[tuple[Snmpd, Responder]]:
    """An snmpd with the engine ID, the user and the name of our own responder."""
    lines = [
        f'rocommunity "{COMMUNITY}"',
        f"exactEngineID 0x{ENGINE_ID.hex()}",
        f'createUser nms SHA-256 "{AUTH_SECRET}" AES "{PRIVACY_SECRET}"',
        "rouser nms priv",
        "sysName hsm-monitor-1",
    ]
    ours = await responder(tmp_path, store(), Clock())
    await ours.start()
    async with Snmpd(tmp_path / "snmpd", lines) as theirs:
        yield theirs, ours
    await ours.close()


async def ask(port: int, datagram: bytes, *, timeout: float = 2.0) -> bytes | None:
    """The answer; None if there is none."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
        client.connect(("127.0.0.1", port))
        await loop.sock_sendall(client, datagram)
        try:
            async with asyncio.timeout(timeout):
                return await loop.sock_recv(client, 65535)
        except TimeoutError:
            return None


ANSWERED = {
    "plain": v2c(pdu()),
    "an octet behind the message": v2c(pdu()) + b"\0",
    "an octet behind the PDU": v2c(pdu() + b"\0"),
    "an octet behind the varbinds": v2c(pdu(behind=b"\0")),
    "a request ID of five octets": v2c(pdu(number=bytes.fromhex("0205000000002a"))),
    "a request ID without a sign": v2c(pdu(number=bytes.fromhex("020500ffffffff"))),
    "a request ID of 33 bits": v2c(pdu(number=bytes.fromhex("02050100000005"))),
    "a negative request ID of 33 bits": v2c(pdu(number=bytes.fromhex("0205ff00000001"))),
    "a request ID of eight octets": v2c(pdu(number=bytes.fromhex("0208ffffffffffffffd6"))),
    "a request ID below the least": v2c(pdu(number=bytes.fromhex("0208ffffffff7fffffff"))),
    "a version of five octets": v2c(pdu(), version=bytes.fromhex("02050000000001")),
    "an error-status of five octets": v2c(pdu(first=bytes.fromhex("02050000000000"))),
    "an error-index of 33 bits": v2c(pdu(second=bytes.fromhex("02050100000001"))),
    "max-repetitions that are cut to none": v2c(pdu(kind=PduType.GETBULK, second=bytes.fromhex("0206010000000000"))),
    "no names": v2c(ber.encode(PduType.GET, NUMBER + b"\2\1\0\2\1\0\x30\0")),
    "an integer of five octets": v2c(pdu(odd("0205000000002a"))),
    "NULL with an octet": v2c(pdu(odd("050101"))),
    "UInteger32": v2c(pdu(odd("47012a"))),
    "an empty name": v2c(pdu(ber.encode(ber.SEQUENCE, b"\6\0\5\0"), ASKED)),
    "a subidentifier with a leading zero": v2c(pdu(bytes.fromhex("300d06092b8006010201010500" + "0500"), ASKED)),
}
IGNORED = {
    "a request ID of nine octets": v2c(pdu(number=bytes.fromhex("0209000000000000000001"))),
    "a request ID of none": v2c(pdu(number=b"\2\0")),
    "an IpAddress of no octets": v2c(pdu(odd("4000"))),
    "a type SNMP does not have": v2c(pdu(odd("0101ff"))),
    "an octet behind the value": v2c(pdu(odd("050000"))),
    "no value": v2c(pdu(odd(""))),
}


async def test_what_snmpd_answers_is_answered_octet_by_octet(peers: tuple[Snmpd, Responder]) -> None:
    theirs, ours = peers
    for name, datagram in ANSWERED.items():
        answer = await ask(theirs.port, datagram)
        assert answer is not None, name
        assert ours.handle(datagram, "127.0.0.1") == answer, name


async def test_what_snmpd_ignores_is_ignored(peers: tuple[Snmpd, Responder]) -> None:
    theirs, ours = peers
    answers = await asyncio.gather(*(ask(theirs.port, datagram) for datagram in IGNORED.values()))

    assert dict(zip(IGNORED, answers, strict=True)) == dict.fromkeys(IGNORED)
    assert {name: ours.handle(datagram, "127.0.0.1") for name, datagram in IGNORED.items()} == dict.fromkeys(IGNORED)


Scoped = tuple[bytes, bytes, bytes]
"""Context engine ID, context name, PDU."""


class Talk:
    """Speaks v3 to one agent, whose time is learnt first."""

    def __init__(self, carry: Callable[[bytes], object]) -> None:
        self._carry = carry
        self.boots = self.time = 0

    async def say(self, scoped: bytes, *, level: int = v3.LEVEL, behind: bytes = b"", signed: bool = True) -> str:
        """What the answer amounts to: flags, context engine ID, PDU type and variable bindings."""
        message = v3.encode_message(
            v3.Header(77, 65507, level | v3.REPORTABLE, v3.USM_MODEL),
            engine_id=ENGINE_ID,
            boots=self.boots,
            time=self.time,
            keys=KEYS if level else b"nms",
            scoped=scoped,
            salt=bytes(8),
        )
        if behind:
            message = self._with(message, behind, signed=signed)
        answer = self._carry(message)
        datagram = await answer if asyncio.iscoroutine(answer) else answer
        return self._read(datagram) if isinstance(datagram, bytes) else "nothing"

    @staticmethod
    def _with(message: bytes, behind: bytes, *, signed: bool) -> bytes:
        if not signed:
            return message + behind
        _, position, end = open_message(message)
        _, position = v3.read_header(message, position, end)
        offset = v3.read_parameters(message, position, end)[0].digest_offset
        octets = KEYS.auth.digest_octets
        return KEYS.sign(message[:offset] + bytes(octets) + message[offset + octets :] + behind, offset)

    def _read(self, datagram: bytes) -> str:
        _, position, end = open_message(datagram)
        header, position = v3.read_header(datagram, position, end)
        parameters, position = v3.read_parameters(datagram, position, end)
        self.boots, self.time = parameters.boots, parameters.time
        scoped = v3.open_scoped(KEYS, datagram, position, end, flags=header.flags, parameters=parameters)
        found = read_pdu(scoped.data, scoped.position, scoped.end)
        listed = [
            (one.name, one.value if found.pdu_type is PduType.RESPONSE else None)
            for one in read_varbinds(found.varbinds)
        ]
        return f"{header.flags} {scoped.context_engine_id.hex()} {found.pdu_type.name} {found.first} {listed}"


def scoped(context: bytes, *names: ber.Oid, kind: PduType = PduType.GET, behind: bytes = b"") -> bytes:
    inner = pdu(*(ber.encode_varbind(name, ber.NULL) for name in names or (SYS_NAME,)), kind=kind)
    return v3.encode_scoped(context, b"", inner + behind)


async def test_v3_is_answered_as_snmpd_does(peers: tuple[Snmpd, Responder]) -> None:
    theirs, ours = peers
    snmpd = Talk(lambda message: ask(theirs.port, message))
    agent = Talk(lambda message: ours.handle(message, "127.0.0.1"))
    for talk in (snmpd, agent):
        assert "REPORT" in await talk.say(scoped(ENGINE_ID))

    async def same(said: bytes, found: str, *, level: int = v3.LEVEL, **more: object) -> None:
        answers = [await talk.say(said, level=level, **more) for talk in (snmpd, agent)]  # type: ignore[arg-type]
        assert answers[0] == answers[1]
        assert found in answers[0]

    await same(scoped(ENGINE_ID), "RESPONSE")
    await same(scoped(ENGINE_ID, behind=b"\0"), "RESPONSE")
    await same(scoped(ENGINE_ID) + b"\0", "RESPONSE")
    await same(scoped(ENGINE_ID), "RESPONSE", behind=b"\0")
    await same(scoped(ENGINE_ID), "REPORT", behind=b"\0", signed=False)
    await same(scoped(b"\x80\0\0\0\5other"), "80000000056f74686572 RESPONSE")
    await same(scoped(b"x"), "78 RESPONSE")
    await same(scoped(b""), f"{ENGINE_ID.hex()} RESPONSE")
    await same(scoped(LOCAL_ENGINE_ID, SNMP_ENGINE_ID), f"{LOCAL_ENGINE_ID.hex()} RESPONSE")
    await same(scoped(LOCAL_ENGINE_ID, SNMP_ENGINE_ID[:-1], kind=PduType.GETNEXT), f"{LOCAL_ENGINE_ID.hex()} RESPONSE")
    await same(scoped(LOCAL_ENGINE_ID, SNMP_ENGINE_ID), f"0 {LOCAL_ENGINE_ID.hex()} RESPONSE", level=0)


VALUES = {
    "an integer of five octets": ("0205000000002a", "INTEGER: 42", 42),
    "an integer without a sign": ("020500ffffffff", "INTEGER: 4294967295", 2**32 - 1),
    "an empty OID": ("0600", "OID: .0", (0, 0)),
    "a Gauge32 of nine octets": ("4209000000000000000005", "Gauge32: 5", 5),
    "UInteger32": ("47012a", "42", 42),
    "NsapAddress": ("4503010203", "Variable has bad type", b"\1\2\3"),
    "BITS": ("03020081", "BITS: ", b"\x81"),
    "NULL with an octet": ("050101", "NULL", None),
}
"""Encoded, as snmpget prints it, and as we read it."""
WHOLE: dict[str, Callable[[bytes, bytes], bytes]] = {
    "an octet behind": lambda number, listed: v2c(pdu(listed, number=number, kind=PduType.RESPONSE)) + b"\0",
    "a request ID of five octets": lambda number, listed: v2c(
        pdu(listed, number=b"\2\5" + bytes(5 - len(number[2:])) + number[2:], kind=PduType.RESPONSE)
    ),
    "an empty community": lambda number, listed: ber.encode(
        ber.SEQUENCE, b"\2\1\1\4\0" + pdu(listed, number=number, kind=PduType.RESPONSE)
    ),
    "another community": lambda number, listed: ber.encode(
        ber.SEQUENCE, b"\2\1\1\4\5other" + pdu(listed, number=number, kind=PduType.RESPONSE)
    ),
}
SECOND = (1, 3, 6, 1, 2, 1, 1, 6, 0)
SOUND = ber.encode_varbind(SECOND, b"\2\1\7")


async def snmpget(answer: Callable[[bytes], bytes]) -> str:
    """What snmpget prints when it is answered so; `answer` is given the encoded request ID."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as agent:
        agent.bind(("127.0.0.1", 0))
        tool = NetSnmp(
            f"udp:127.0.0.1:{agent.getsockname()[1]}", netsnmp.v2c(COMMUNITY), options=("-t", "5", "-r", "0")
        )
        asked = asyncio.create_task(tool.get("1.3.6.1.2.1.1.5.0", "1.3.6.1.2.1.1.6.0"))
        datagram, sender = await loop.sock_recvfrom(agent, 65535)
        _, position, end = open_message(datagram)
        _, position = ber.read_octets(datagram, position, end)
        number = read_pdu(datagram, position, end).request_id
        await loop.sock_sendto(agent, answer(ber.encode_integer(number)), sender)
        return (await asked).out


def read(answer: Callable[[bytes], bytes]) -> dict[ber.Oid, ber.Value]:
    """What our manager reads."""
    manager = Manager(salts=Salts(0), first_id=100, community=COMMUNITY.encode())
    number = manager.next_id()
    manager.encode_get(number, (SYS_NAME, SECOND), NOW)
    found = manager.receive(answer(ber.encode_integer(number)), NOW)
    assert isinstance(found, SnmpResponse)
    return {one.name: one.value for one in found.varbinds}


@pytest.mark.parametrize(("encoded", "printed", "value"), VALUES.values(), ids=VALUES)
async def test_what_snmpget_reads_is_read(encoded: str, printed: str, value: ber.Value) -> None:
    odd_one = ber.encode(ber.SEQUENCE, ber.encode_oid(SYS_NAME) + bytes.fromhex(encoded))

    def answer(number: bytes) -> bytes:
        return v2c(pdu(odd_one, SOUND, number=number, kind=PduType.RESPONSE))

    out = await snmpget(answer)

    assert f".1.3.6.1.2.1.1.5.0 = {printed}" in out
    assert ".1.3.6.1.2.1.1.6.0 = INTEGER: 7" in out
    assert read(answer) == {SYS_NAME: value, SECOND: 7}


@pytest.mark.parametrize("answer", WHOLE.values(), ids=WHOLE)
async def test_an_answer_that_snmpget_takes_is_taken(answer: Callable[[bytes, bytes], bytes]) -> None:
    listed = ber.encode_varbind(SYS_NAME, b"\4\1a") + SOUND

    assert ".1.3.6.1.2.1.1.6.0 = INTEGER: 7" in await snmpget(lambda number: answer(number, listed))
    assert read(lambda number: answer(number, listed)) == {SYS_NAME: b"a", SECOND: 7}
