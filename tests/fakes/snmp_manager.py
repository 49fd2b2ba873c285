"""A manager that speaks to a responder's `handle` without a socket: requests in, decoded responses out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.wire.snmp import ber, usm, v3
from hsm_agent.wire.snmp.pdu import (
    PduType,
    Version,
    encode_community_message,
    encode_pdu,
    open_message,
    read_pdu,
    read_varbinds,
)
from hsm_agent.wire.snmp.v3 import AUTH, PRIVACY, REPORTABLE, Header
from tests.fakes.snmp_present import AUTH_SECRET, COMMUNITY, ENGINE_ID, PRIVACY_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsm_agent.serve.snmp.responder import Responder
    from hsm_agent.wire.snmp.ber import Oid, VarBind
    from hsm_agent.wire.snmp.usm import Keys


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; `octets` is the size of the message."""

    error_status: int
    error_index: int
    varbinds: tuple[VarBind, ...]
    octets: int
    pdu_type: PduType = PduType.RESPONSE

    @property
    def names(self) -> list[Oid]:
        return [one.name for one in self.varbinds]

    @property
    def values(self) -> list[object]:
        return [one.value for one in self.varbinds]

    @property
    def tags(self) -> list[int]:
        return [one.tag for one in self.varbinds]


def request_pdu(
    pdu_type: PduType, names: Iterable[Oid], first: int = 0, second: int = 0, request_id: int = 77
) -> bytes:
    varbinds = [ber.encode_varbind(name, ber.NULL) for name in names]
    return encode_pdu(pdu_type, request_id, first, second, varbinds)


def community_request(pdu: bytes, community: str = COMMUNITY, version: Version = Version.V2C) -> bytes:
    return encode_community_message(version, community.encode(), pdu)


def read_community_reply(datagram: bytes) -> Reply:
    _version, position, end = open_message(datagram)
    _community, position = ber.read_octets(datagram, position, end)
    pdu = read_pdu(datagram, position, end)
    assert pdu.request_id == 77
    return Reply(pdu.first, pdu.second, read_varbinds(pdu.varbinds), len(datagram), pdu.pdu_type)


def keys(user: str = "nms") -> Keys:
    return usm.User.from_secrets(
        name=user,
        auth=usm.AuthProtocol.SHA256,
        auth_secret=AUTH_SECRET,
        privacy=usm.PrivacyProtocol.AES128,
        privacy_secret=PRIVACY_SECRET,
    ).localize(ENGINE_ID)


def v3_request(
    pdu: bytes, user: Keys, *, time: int, max_size: int = 65507, boots: int = 7, context: bytes = b""
) -> bytes:
    return v3.encode_message(
        Header(5, max_size, AUTH | PRIVACY | REPORTABLE, v3.USM_MODEL),
        engine_id=ENGINE_ID,
        boots=boots,
        time=time,
        keys=user,
        scoped=v3.encode_scoped(ENGINE_ID, context, pdu),
        salt=b"\0saltsal",
    )


def read_v3_reply(datagram: bytes, user: Keys) -> Reply:
    _version, position, end = open_message(datagram)
    header, position = v3.read_header(datagram, position, end)
    parameters, position = v3.read_parameters(datagram, position, end)
    if header.flags & PRIVACY:
        assert user.verify(datagram, parameters.digest_offset, parameters.digest)
        encrypted, _ = ber.read_octets(datagram, position, end)
        plain = user.decrypt(encrypted, parameters.boots, parameters.time, parameters.salt)
        scoped = v3.read_scoped(plain, 0, len(plain))
    else:
        scoped = v3.read_scoped(datagram, position, end)
    pdu = read_pdu(scoped.data, scoped.position, scoped.end)
    return Reply(pdu.first, pdu.second, read_varbinds(pdu.varbinds), len(datagram), pdu.pdu_type)


@dataclass(slots=True)
class Manager:
    """Asks one responder by SNMPv2c, or another version."""

    responder: Responder
    community: str = COMMUNITY
    version: Version = Version.V2C

    def ask(self, pdu_type: PduType, names: Iterable[Oid], first: int = 0, second: int = 0) -> Reply:
        message = community_request(request_pdu(pdu_type, names, first, second), self.community, self.version)
        answer = self.responder.handle(message, "127.0.0.1")
        assert answer is not None, "not answered"
        return read_community_reply(answer)

    def get(self, *names: Oid) -> Reply:
        return self.ask(PduType.GET, names)

    def next(self, *names: Oid) -> Reply:
        return self.ask(PduType.GETNEXT, names)

    def bulk(self, *names: Oid, non_repeaters: int = 0, repetitions: int = 10) -> Reply:
        return self.ask(PduType.GETBULK, names, non_repeaters, repetitions)

    def walk(self, root: Oid = (1, 3)) -> list[VarBind]:
        """Everything below a root, by GETNEXT."""
        found: list[VarBind] = []
        name = root
        while True:
            (one,) = self.next(name).varbinds
            if one.tag == ber.END_OF_MIB_VIEW_TAG or one.name[: len(root)] != root:
                return found
            assert one.name > name, "a walk goes forward"
            found.append(one)
            name = one.name
