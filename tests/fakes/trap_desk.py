"""Where datagrams come in, without a socket: an intake of the trap listener with a clock to turn."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from hsm_agent.collect.traps.duplicates import TrapProgress
from hsm_agent.collect.traps.intake import Intake
from hsm_agent.collect.traps.trap_maps import LUNA, TrapTable
from hsm_agent.wire.snmp.trap_receiver import SendingUser, TrapReceiver
from tests.fakes.snmp_messages import AUTH_USER, NOW, engine
from tests.fakes.traps import COMMUNITY, SENDER_ENGINE

if TYPE_CHECKING:
    from hsm_agent.settings.snmp import Network

WALL = 1_700_000_000.0
NETWORKS: tuple[Network, ...] = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


class Desk:
    """An intake with a clock to turn, and how often it woke somebody."""

    def __init__(self, networks: tuple[Network, ...] = NETWORKS) -> None:
        self.now = NOW
        self.woken = 0
        self.sent: list[bytes] = []
        self.intake = Intake(
            "traps",
            receiver=TrapReceiver(
                engine=engine(), communities=(COMMUNITY,), users=(SendingUser(AUTH_USER, (SENDER_ENGINE,)),)
            ),
            maps=TrapTable(LUNA),
            networks=networks,
            wake=self.wake,
            monotonic=lambda: self.now,
            wall=lambda: WALL,
            devices={"192.0.2.1": "luna-a"},
        )

    def wake(self) -> None:
        self.woken += 1

    def handle(self, message: bytes, address: str = "192.0.2.1") -> bytes | None:
        """What is answered at once."""
        before = len(self.sent)
        self.intake.handle(message, address, self.sent.append)
        return self.sent[-1] if len(self.sent) > before else None

    def store(self) -> None:
        """Fetch all that waits, put it on disk, and acknowledge it."""
        duplicates = self.intake.duplicates
        for pending in [self.intake.pending.pop(one.sender) for one in list(self.intake.pending)]:
            pending.record(WALL, TrapProgress.APPLIED)
            duplicates.mark_stored(duplicates.to_store(WALL, ()))
            if pending.acknowledge is not None:
                pending.acknowledge()

    def count(self, name: str, **labels: str) -> int:
        """The counter `traps_NAME_total` of these labels."""
        return self.intake.counts[f"traps_{name}_total", tuple(labels.items())]

    def counts(self, name: str) -> dict[tuple[str, ...], int]:
        """All counters `traps_NAME_total`, by the values of their labels."""
        counts = self.intake.counts.items()
        return {tuple(dict(key).values()): count for (metric, key), count in counts if metric == f"traps_{name}_total"}

    @property
    def dropped(self) -> dict[str, int]:
        """The datagrams that were dropped, by reason."""
        return {reason: count for (reason,), count in self.counts("dropped").items() if count}
