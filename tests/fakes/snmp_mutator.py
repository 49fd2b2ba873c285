"""Spoils packets in reproducible ways: flipped bits, wrong lengths, cuts, repeats, splices, and forged insides.

A forged inside is a spoiled PDU that is encrypted and signed afterwards, so that it passes every check before the
PDU itself is read.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.mib import BASE
from hsm_agent.wire.snmp.pdu import PduType, Version, encode_pdu
from tests.fakes.snmp_manager import community_request, keys, request_pdu, v3_request
from tests.fakes.snmp_present import COMMUNITY

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ((1, 3), (1, 3, 6, 1, 2, 1, 1, 1, 0), (*BASE, 1, 3, 1, 3, 1), (*BASE, 1, 5, 1, 8, 4_000_000_000), (2, 999))
_EDGES = (0, 1, 0x7F, 0x80, 0x81, 0x82, 0x84, 0x85, 0xFF, 0x02, 0x04, 0x05, 0x06, 0x30, 0xA0, 0xA1, 0xA3, 0xA5, 0xA8)


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet, and whether it was signed after it was spoiled, or is as it should be."""

    datagram: bytes
    version: Version
    signed: bool


def seeds(time: int) -> list[Packet]:
    """One good packet of each sort."""
    pdus = [
        request_pdu(PduType.GET, _NAMES[1:]),
        request_pdu(PduType.GETNEXT, _NAMES[:2]),
        request_pdu(PduType.GETBULK, _NAMES, 1, 40),
        request_pdu(PduType.SET, _NAMES[1:2]),
        encode_pdu(PduType.GET, 77, 0, 0, [ber.encode_varbind(_NAMES[1], ber.encode_counter64(2**63))]),
        encode_pdu(PduType.INFORM, 77, 0, 0, []),
        encode_pdu(PduType.REPORT, 77, 0, 0, []),
    ]
    user = keys()
    found = [
        Packet(community_request(pdu, version=version), version, True)
        for pdu in pdus
        for version in (Version.V1, Version.V2C)
    ]
    found += [Packet(v3_request(pdu, user, time=time), Version.V3, True) for pdu in pdus]
    found += [Packet(v3_request(pdus[0], user, time=time, boots=3), Version.V3, True)]
    found += [Packet(v3_request(pdus[0], user, time=time, context=b"other"), Version.V3, True)]
    return found


class Mutator:
    """An endless stream of spoiled packets, the same for the same seed."""

    def __init__(self, seed: int, time: int, good: list[Packet] | None = None) -> None:
        """`good` are the packets to spoil; default: those a responder is asked by."""
        self._random = random.Random(seed)
        self._seeds = seeds(time) if good is None else good
        self._good = {seed.datagram for seed in self._seeds}
        self._time = time
        self._user = keys()

    def packets(self, count: int) -> Iterator[Packet]:
        """That many packets."""
        for _ in range(count):
            seed = self._random.choice(self._seeds)
            if self._random.random() < 0.4:
                yield self._forged(seed.version)
            else:
                spoiled = self._spoiled(seed.datagram)
                yield Packet(spoiled, seed.version, spoiled in self._good)  # some strokes change nothing

    def _forged(self, version: Version) -> Packet:
        """Right credentials around a spoiled PDU."""
        kind = self._random.choice((PduType.GET, PduType.GETNEXT, PduType.GETBULK, PduType.SET))
        edge = self._random.choice((0, 1, -1, 7, 2**31 - 1, -(2**31)))
        names = self._random.sample(_NAMES, self._random.randrange(len(_NAMES)))
        pdu = self._spoiled(request_pdu(kind, names, edge, self._random.choice((0, 5, -1, 2**31 - 1))))
        if version is Version.V3:
            size = self._random.choice((484, 500, 1400, 65507, 2**31 - 1))
            context = self._random.choice((b"", b"", b"", b"other"))
            boots = self._random.choice((7, 7, 7, 6))
            message = v3_request(pdu, self._user, time=self._time, max_size=size, context=context, boots=boots)
            return Packet(message, version, True)
        return Packet(community_request(pdu, COMMUNITY, version), version, True)

    def _spoiled(self, datagram: bytes) -> bytes:
        octets = bytearray(datagram)
        for _ in range(self._random.choice((1, 1, 1, 2, 3, 8))):
            self._spoil(octets)
        return bytes(octets)

    def _spoil(self, octets: bytearray) -> None:
        here = self._random.randrange(len(octets) + 1)
        there = min(len(octets), here + self._random.randrange(1, 24))
        match self._random.randrange(7):
            case 0 if here < len(octets):
                octets[here] ^= 1 << self._random.randrange(8)
            case 1 if here < len(octets):
                octets[here] = self._random.choice(_EDGES)
            case 2:
                octets[here:here] = self._random.randbytes(self._random.randrange(1, 9))
            case 3:
                del octets[here:there]
            case 4:
                octets[here:here] = octets[here:there] * self._random.randrange(1, 40)
            case 5:
                del octets[here:]
            case _:
                other = self._random.choice(self._seeds).datagram
                octets[here:there] = other[here:there]
