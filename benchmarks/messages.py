"""SNMP requests encoded beforehand, so that the client costs as little as it can, and their answers checked.

The same for every responder: what is learnt of it (engine ID, boots, time) is asked of it first.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.wire.snmp import ber, usm, v3
from hsm_agent.wire.snmp.pdu import (
    MAX_MESSAGE_OCTETS,
    PduType,
    Version,
    encode_community_message,
    encode_pdu,
    open_message,
    read_pdu,
    read_varbinds,
)
from hsm_agent.wire.snmp.v3 import AUTH, PRIVACY, REPORTABLE, Header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.wire.snmp.ber import Oid, VarBind
    from hsm_agent.wire.snmp.v3 import Parameters

COMMUNITY, USER, AUTH_SECRET, PRIVACY_SECRET = "for-benchmarks", "bench", "authenticated-1", "encrypted-too-2"
REPETITIONS = 25
_ANSWER_SECONDS = 5
_LARGEST = 65535
_KEYS = usm.User.from_secrets(
    name=USER,
    auth=usm.AuthProtocol.SHA256,
    auth_secret=AUTH_SECRET,
    privacy=usm.PrivacyProtocol.AES128,
    privacy_secret=PRIVACY_SECRET,
)
_EXCEPTIONS = {ber.NO_SUCH_OBJECT_TAG, ber.NO_SUCH_INSTANCE_TAG}


def connected(port: int) -> socket.socket:
    """A blocking socket towards a responder of this machine; waiting longer than that for an answer is an error."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _ANSWER_SECONDS, 0))
    client.connect(("127.0.0.1", port))
    return client


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Encodes requests to one responder, and decodes what it answers. `engine` None: v2c."""

    port: int
    engine: Parameters | None = None

    @classmethod
    def meet(cls, port: int, version: Version) -> Asker:
        """An asker; for v3 it discovers the responder's engine, as RFC 3414 section 4 says."""
        if version is Version.V2C:
            return cls(port=port)
        probe = v3.encode_message(
            Header(1, MAX_MESSAGE_OCTETS, REPORTABLE, v3.USM_MODEL),
            engine_id=b"",
            boots=0,
            time=0,
            keys=b"",
            scoped=v3.encode_scoped(b"", b"", encode_pdu(PduType.GET, 1, 0, 0, ())),
        )
        with connected(port) as client:
            client.send(probe)
            report = client.recv(_LARGEST)
        _, position, end = open_message(report)
        _, position = v3.read_header(report, position, end)
        found, _ = v3.read_parameters(report, position, end)
        if found.boots:
            return cls(port=port, engine=found)
        # Some tell their boots and time only to those who can authenticate themselves.
        with connected(port) as client:
            client.send(cls(port=port, engine=found).get((1, 3, 6, 1, 2, 1, 1, 3, 0)))
            report = client.recv(_LARGEST)
        _, position, end = open_message(report)
        _, position = v3.read_header(report, position, end)
        return cls(port=port, engine=v3.read_parameters(report, position, end)[0])

    def get(self, name: Oid) -> bytes:
        """A GET of one name."""
        return self._request(PduType.GET, name, 0)

    def bulk(self, name: Oid) -> bytes:
        """A GETBULK of one name."""
        return self._request(PduType.GETBULK, name, REPETITIONS)

    def ask(self, client: socket.socket, request: bytes) -> tuple[VarBind, ...]:
        """What is answered. Raises ValueError if it is an error or a Report."""
        client.send(request)
        varbinds = self._read(client.recv(_LARGEST))
        if any(one.tag in _EXCEPTIONS for one in varbinds):
            raise ValueError(f"port {self.port} has no such name: {varbinds}")
        return varbinds

    def walk(self, root: Oid) -> tuple[list[bytes], list[VarBind]]:
        """The requests of a walk by GETBULK, and what it found below the root."""
        requests: list[bytes] = []
        found: list[VarBind] = []
        name = root
        with connected(self.port) as client:
            while True:
                requests.append(self.bulk(name))
                varbinds = self.ask(client, requests[-1])
                inside = [
                    one
                    for one in varbinds
                    if one.name[: len(root)] == root and one.tag != ber.END_OF_MIB_VIEW_TAG and one.name > name
                ]
                found += inside
                if len(inside) < len(varbinds) or not inside:
                    return requests, found
                name = inside[-1].name

    def _request(self, pdu_type: PduType, name: Oid, repetitions: int) -> bytes:
        pdu = encode_pdu(pdu_type, 77, 0, repetitions, [ber.encode_varbind(name, ber.NULL)])
        if self.engine is None:
            return encode_community_message(Version.V2C, COMMUNITY.encode(), pdu)
        return v3.encode_message(
            Header(5, MAX_MESSAGE_OCTETS, AUTH | PRIVACY | REPORTABLE, v3.USM_MODEL),
            engine_id=self.engine.engine_id,
            boots=self.engine.boots,
            time=self.engine.time,
            keys=_KEYS.localize(self.engine.engine_id),
            scoped=v3.encode_scoped(self.engine.engine_id, b"", pdu),
            salt=os.urandom(8),
        )

    def _read(self, datagram: bytes) -> tuple[VarBind, ...]:
        _, position, end = open_message(datagram)
        if self.engine is None:
            _, position = ber.read_octets(datagram, position, end)
            pdu = read_pdu(datagram, position, end)
        else:
            _, position = v3.read_header(datagram, position, end)
            parameters, position = v3.read_parameters(datagram, position, end)
            encrypted, _ = ber.read_octets(datagram, position, end)
            keys = _KEYS.localize(self.engine.engine_id)
            plain = keys.decrypt(encrypted, parameters.boots, parameters.time, parameters.salt)
            scoped = v3.read_scoped(plain, 0, len(plain))
            pdu = read_pdu(scoped.data, scoped.position, scoped.end)
        if pdu.pdu_type is not PduType.RESPONSE or pdu.first:
            raise ValueError(f"port {self.port} answers {pdu.pdu_type.name}, error status {pdu.first}")
        return read_varbinds(pdu.varbinds)


def distinct(asker: Asker, names: Sequence[Oid]) -> tuple[list[bytes], list[bytes]]:
    """GETs and GETBULKs of these names; each was asked once, so that a wrong answer is not taken for a quick one."""
    gets, bulks = [asker.get(name) for name in names], [asker.bulk(name) for name in names]
    with connected(asker.port) as client:
        for name, request in zip(names, gets, strict=True):
            (one,) = asker.ask(client, request)
            if one.name != name:
                raise ValueError(f"port {asker.port} answers {one.name} to {name}")
        for request in bulks:
            if len(asker.ask(client, request)) != REPETITIONS:
                raise ValueError(f"port {asker.port} answers a GETBULK short")
    return gets, bulks
