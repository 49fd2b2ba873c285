"""The source `kind: snmp_trap_listener`: traps and informs of appliances become alarms of the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hsm_agent.collect.traps.listener import TrapListener
from hsm_agent.collect.traps.settings import ListenerSettings
from hsm_agent.metrics.tables import TRAPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hsm_agent.collect.base import Collector, CollectorContext


class SnmpTrapListenerSettings(ListenerSettings):
    """Receives traps and informs of appliances."""

    kind: Literal["snmp_trap_listener"]

    def build(self, context: CollectorContext) -> Collector:
        """The collector of this source."""
        return TrapListener(self, context)

    def brings(self) -> Mapping[str, str]:
        """TrapAlarms of appliances, and what became of the datagrams."""
        return dict.fromkeys((metric.name for metric in TRAPS), "")

    def about(self) -> Iterator[str]:
        """Listening addresses, permitted senders, known traps."""
        yield ", ".join(self.listen)
        yield f"from {', '.join(map(str, self.networks))}"
        users = ", ".join(user.name for user in self.users) or "none"
        yield f"communities: {len(self.communities)}; users: {users}"
        yield f"maps: {', '.join(self.vendors) or 'none'} built in, {len(self.maps)} own"
