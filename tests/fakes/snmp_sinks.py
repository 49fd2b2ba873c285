"""Snmp sinks from settings, and what a receiver of ours should have got of them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.deliver.base import SinkContext
from hsm_agent.deliver.snmp import SnmpSink, SnmpSinkSettings
from hsm_agent.model import AgentIdentity, Event, EventKind, Severity
from hsm_agent.wire.snmp.mib import BASE
from hsm_agent.wire.snmp.pdu import read_varbinds
from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol, User
from tests.fakes.snmp_messages import engine

if TYPE_CHECKING:
    from tests.fakes.inform_receiver import InformReceiver

SECRETS = {"TEST_COMMUNITY": "public", "TEST_AUTH": "authentic-1", "TEST_PRIVACY": "encrypted-1"}
NOC = User.from_secrets(
    name="noc",
    auth=AuthProtocol.SHA256,
    auth_secret="authentic-1",
    privacy=PrivacyProtocol.AES128,
    privacy_secret="encrypted-1",
)
V3_USER = {
    "name": "noc",
    "auth": {"protocol": "SHA-256", "secret": {"env": "TEST_AUTH"}},
    "privacy": {"protocol": "AES-128", "secret": {"env": "TEST_PRIVACY"}},
}
VERSIONS = [
    pytest.param({"version": "v2c", "community": {"env": "TEST_COMMUNITY"}}, id="v2c"),
    pytest.param({"version": "v3", "user": V3_USER}, id="v3"),
]
V2C, V3 = ({"version": "v2c", "community": {"env": "TEST_COMMUNITY"}}, {"version": "v3", "user": V3_USER})


def sink(to: str, **settings: Any) -> SnmpSink:
    origin = AgentIdentity(agent_name="a", host_name="h", version="1", enterprise_id=32473)
    context = SinkContext(origin=origin, engine=engine(), base_oid=BASE)
    read = {"name": "noc", "kind": "snmp", "to": to, "timeout": "2s", "retries": 2, **settings}
    return SnmpSinkSettings.model_validate(read).build(context)


def events(count: int) -> list[Event]:
    return [
        Event(
            event_id=f"event-{number:03}",
            kind=EventKind.RAISED,
            severity=Severity.WARNING,
            time=1_700_000_000,
            text=f"number {number:03}",
            agent="a",
        )
        for number in range(count)
    ]


class Told:
    """The ids accepted, in order."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def __call__(self, event: Event) -> None:
        self.ids.append(event.event_id)


def ids(sent: list[Event]) -> list[str]:
    return [one.event_id for one in sent]


def received(receiver: InformReceiver) -> list[bytes]:
    """The event ids of what arrived, repetitions included."""
    found = [read_varbinds(pdu.varbinds)[2].value for pdu in receiver.informs + receiver.traps]
    return [value for value in found if isinstance(value, bytes)]


def nobody() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"udp:127.0.0.1:{probe.getsockname()[1]}"
