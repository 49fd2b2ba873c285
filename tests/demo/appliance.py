"""The appliance of the demonstration: a Luna that snmpsim plays, polled over SNMPv3, and its traps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fakes import appliances
from tests.peers.netsnmp import v2c
from tests.peers.snmpsim import AUTH_SECRET, PRIVACY_SECRET, Record, Snmpsim
from tests.peers.snmptrapd import free_udp_port
from tests.peers.trapsender import TrapSender, reference

if TYPE_CHECKING:
    from pathlib import Path

COMMUNITY = "for-traps"
FAN = 2
CONTEXT = "luna"
PARTITION, PARTITION_BYTES = "keys", 2_000_000
"""As tests.fakes.appliances has it."""


@dataclass
class Appliance:
    """The fill of a partition, which it is asked for, and a fan, of which it tells by itself."""

    folder: Path
    peer: Snmpsim
    traps: TrapSender
    trap_port: int
    label: str = "luna-b"
    what: str = "snmpsim as a Luna appliance: a partition's storage by SNMPv3, a fan by trap"
    real: bool = False

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """The alarms it is to set off: resource and default rule."""
        return ((PARTITION, "token-storage"), (self.label, "vendor-alarm"))

    @property
    def sources(self) -> list[dict[str, Any]]:
        """What asks it, and what listens to it."""
        polled = {
            "name": self.label,
            "kind": "snmp",
            "to": f"udp:127.0.0.1:{self.peer.port}",
            "version": "v3",
            "user": {
                "name": "nms",
                "auth": {"protocol": "SHA-256", "secret": self._secret("appliance-auth", AUTH_SECRET)},
                "privacy": {"protocol": "AES-128", "secret": self._secret("appliance-privacy", PRIVACY_SECRET)},
            },
            "context": CONTEXT,
            "profile": "luna",
            "every": "500ms",
            "timeout": "2s",
        }
        heard = {
            "name": f"{self.label}-traps",
            "kind": "snmp_trap_listener",
            "listen": [f"udp:127.0.0.1:{self.trap_port}"],
            "communities": [{"name": self._secret("appliance-community", COMMUNITY)}],
            "devices": {"127.0.0.1": self.label},
            "every": "1s",
        }
        return [polled, heard]

    def _secret(self, name: str, text: str) -> dict[str, str]:
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_text(text, encoding="ascii")
        return {"file": str(file)}

    def rise(self) -> str:
        """Fill the partition to 96 percent, and have a fan fail."""
        self.peer.serve(CONTEXT, _records(used=PARTITION_BYTES * 96 // 100))
        self._fan(asserted=True)
        return "a partition filled to 96 %, the trap of a failing fan sent"

    def fall(self) -> str:
        """Empty it, and have the fan turn again."""
        self.peer.serve(CONTEXT, _records(used=PARTITION_BYTES // 10))
        self._fan(asserted=False)
        return "the partition emptied, the trap of a fan that turns again sent"

    def _fan(self, *, asserted: bool) -> None:
        said = asyncio.run(self.traps.luna(FAN, reference(asserted=asserted)))
        if said.code:
            raise RuntimeError(f"snmptrap: {said.err}")


def _records(*, used: int) -> list[Record]:
    """What the appliance answers, with one partition."""
    spare = appliances.text_index(appliances.SERIAL, appliances.SPARE)
    return [record for record in appliances.luna(used=used) if not record[0].endswith(spare)]


def made(folder: Path) -> Appliance:
    """The appliance; its `peer` is to be started."""
    folder.mkdir()
    peer = Snmpsim(folder / "snmpsim", {CONTEXT: _records(used=PARTITION_BYTES // 10)})
    port = free_udp_port()
    return Appliance(folder, peer, TrapSender(f"127.0.0.1:{port}", v2c(COMMUNITY), folder), port)
