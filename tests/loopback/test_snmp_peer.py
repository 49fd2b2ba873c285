"""An SNMP receiver while the agent's engine is held back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsm_agent.deliver.base import SinkContext
from hsm_agent.deliver.snmp import Peer
from hsm_agent.model import AgentIdentity
from hsm_agent.net.address import Address
from hsm_agent.net.udp import LinkError
from hsm_agent.wire.snmp.engine import Engine
from hsm_agent.wire.snmp.mib import BASE
from tests.fakes.snmp_messages import engine
from tests.fakes.snmp_sinks import NOC


def peer() -> Peer:
    origin = AgentIdentity(agent_name="a", host_name="h", version="1", enterprise_id=1)
    return Peer(
        address=Address.parse("udp:192.0.2.10:162", ("udp",)),
        bind=None,
        timeout_seconds=2.0,
        retries=3,
        context=SinkContext(origin=origin, engine=engine(), base_oid=BASE),
        community=b"a-secret-community",
    )


async def test_as_long_as_the_engine_is_held_no_v3_socket_is_opened() -> None:
    held = replace(peer().context, engine=Engine(engine_id=bytes(12), boots=0, started=0.0))

    with pytest.raises(LinkError, match="held back"):
        await replace(peer(), context=held, user=NOC).open(0)
    link = await replace(peer(), address=Address.parse("udp:127.0.0.1:9", ("udp",)), context=held).open(0)
    link.close()
