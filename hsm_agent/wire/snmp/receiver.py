"""What is known of a receiver's engine: its keys, and its boots and time as authentic messages told them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.wire.snmp import pdu as snmp
from hsm_agent.wire.snmp.clock import RemoteClock

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.usm import Keys


@dataclass(slots=True, kw_only=True)
class Receiver(RemoteClock):
    """An entry of the local configuration datastore of RFC 3414 section 2.3, for an engine that is not our own."""

    keys: Keys
    engine_id: bytes
    max_size: int = snmp.MIN_MAX_SIZE
