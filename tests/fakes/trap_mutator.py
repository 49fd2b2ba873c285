"""Spoils traps and informs as snmp_mutator spoils requests; some are signed afterwards, so that they are believed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.wire.snmp import ber, v3
from hsm_agent.wire.snmp.pdu import PduType, Version, open_message, read_pdu
from tests.fakes.snmp_messages import AUTH_USER, ENGINE_ID, PRIV_USER, V3, pdu
from tests.fakes.snmp_mutator import Mutator, Packet
from tests.fakes.traps import FAN, LUNA, SENDER_ENGINE, UTIMACO, notification_pdu, text, v1_pdu, v2c, v3_trap

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.usm import Keys

THERE = (AUTH_USER.localize(SENDER_ENGINE), PRIV_USER.localize(SENDER_ENGINE))
HERE = (AUTH_USER.localize(ENGINE_ID), PRIV_USER.localize(ENGINE_ID))
_LOAD = (
    ber.encode_varbind((*UTIMACO, 1, 7, 0), ber.encode_integer(96)),
    ber.encode_varbind((*UTIMACO, 1, 9, 0), ber.encode_gauge32(2)),
)
_OIDS = (FAN, (*LUNA, 7), (*UTIMACO, 0, 18), (1, 3, 6, 1, 6, 3, 1, 1, 5, 1))


def good() -> list[Packet]:
    """One good packet of each sort."""
    traps = [
        notification_pdu(),
        notification_pdu((*UTIMACO, 0, 18), *_LOAD),
        notification_pdu((1, 3), text((1, 3), "")),
    ]
    informs = [notification_pdu(kind=PduType.INFORM), notification_pdu((*UTIMACO, 0, 5), *_LOAD, kind=PduType.INFORM)]
    found = [Packet(v2c(one), Version.V2C, True) for one in (*traps, *informs, pdu())]
    found += [Packet(v2c(v1_pdu(), version=Version.V1), Version.V1, True)]
    found += [Packet(v3_trap(keys=keys, inner=traps[0]).encode(), Version.V3, True) for keys in THERE]
    found += [Packet(V3(keys=keys, inner=informs[0]).encode(), Version.V3, True) for keys in HERE]
    noise = v3_trap(keys=replace(THERE[1], privacy_key=bytes(32)))
    found += [Packet(noise.encode(), Version.V3, True)]
    probe = V3(keys=b"", engine_id=b"", boots=0, time=0, context_engine_id=b"", inner=pdu(names=()))
    return [*found, Packet(probe.encode(), Version.V3, False)]


class TrapMutator(Mutator):
    """An endless stream of spoiled traps and informs, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, 0, good())

    def _forged(self, version: Version) -> Packet:
        """Right credentials around a spoiled notification."""
        kind = self._random.choice((PduType.TRAP, PduType.INFORM, PduType.GET))
        inner = self._spoiled(notification_pdu(self._random.choice(_OIDS), *_LOAD, kind=kind))
        if version is Version.V1:
            return Packet(v2c(self._spoiled(v1_pdu()), version=version), version, True)
        if version is Version.V2C:
            return Packet(v2c(inner), version, True)
        number = self._random.randrange(2)
        if self._random.random() < 0.5:
            return self._by_the_sender(THERE[number], inner)
        message = V3(keys=HERE[number], inner=inner, max_size=self._random.choice((484, 1400, 65507)))
        return Packet(message.encode(), version, True)

    def _by_the_sender(self, keys: Keys, inner: bytes) -> Packet:
        time = self._random.choice((900, 1000, 1100))
        return Packet(v3_trap(keys=keys, inner=inner, time=time).encode(), Version.V3, True)


def check_answer(answer: bytes) -> None:
    """An answer can be read as far as without keys."""
    version, position, end = open_message(answer)
    if version != Version.V3:
        _, position = ber.read_octets(answer, position, end)
        assert read_pdu(answer, position, end).pdu_type is PduType.RESPONSE
        return
    _, position = v3.read_header(answer, position, end)
    parameters, _ = v3.read_parameters(answer, position, end)
    assert parameters.engine_id == ENGINE_ID
