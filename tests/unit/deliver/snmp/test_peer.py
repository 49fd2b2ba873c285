"""deliver.snmp_peer: what all messages to a receiver have in common."""

from __future__ import annotations

from hsm_agent.deliver.base import AgentIdentity, SinkContext
from hsm_agent.deliver.snmp.sinks import Peer
from hsm_agent.net.address import Address
from hsm_agent.wire.snmp.mib import BASE
from hsm_agent.wire.snmp.pdu import read_varbinds
from tests.fakes.snmp_messages import NOW, engine
from tests.fakes.syslog_events import event


def peer() -> Peer:
    origin = AgentIdentity(agent_name="a", host_name="h", version="1", enterprise_id=1)
    return Peer(
        address=Address.parse("udp:192.0.2.10:162", ("udp",)),
        bind=None,
        timeout=2.0,
        retries=3,
        context=SinkContext(origin=origin, engine=engine(), base_oid=BASE),
        community=b"a-secret-community",
    )


def test_uptime_is_that_of_the_engine_and_never_negative() -> None:
    assert peer().up_seconds(NOW) == 5000
    assert peer().up_seconds(0.0) == 0


def test_each_originator_starts_with_ids_of_its_own() -> None:
    first, second = peer().originator(), peer().originator()

    assert first.next_id() != second.next_id()


async def test_an_event_is_encoded_below_the_base() -> None:
    varbinds = read_varbinds(b"".join(peer().varbinds(event())))

    assert varbinds[1].value == (*BASE, 0, 1)
    assert varbinds[2].name == (*BASE, 1, 8, 1, 0)


def test_the_community_is_in_no_repr() -> None:
    assert "a-secret-community" not in repr(peer())
