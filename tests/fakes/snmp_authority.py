"""An authority with known users and communities, and a record of what it said."""

from __future__ import annotations

from ipaddress import ip_network

from hsm_agent.wire.snmp.authority import Authority, Refusal
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.pdu import Community, Request
from tests.fakes.snmp_messages import AUTH_USER, ENGINE_ID, NOW, PRIV_USER, engine

AUTH = AUTH_USER.localize(ENGINE_ID)
PRIV = PRIV_USER.localize(ENGINE_ID)
LOCAL = (ip_network("127.0.0.0/8"), ip_network("2001:db8::/32"))


class Agent:
    """An authority with two users and two communities, and what it said of failed authentications."""

    def __init__(self, *, v1: bool = False, boots: int = 7) -> None:
        self.failures: list[str] = []
        self.authority = Authority(
            engine=engine(boots=boots),
            users=(AUTH_USER, PRIV_USER),
            communities=(
                Community(name="noc", secret=b"public", networks=LOCAL),
                Community(name="lab", secret=b"public", networks=(ip_network("192.0.2.0/24"),)),
            ),
            v1=v1,
            authentication_failed=self.failures.append,
        )

    def receive(self, message: bytes, address: str = "127.0.0.1") -> Request | bytes | None:
        outcome = self.authority.receive(message, address, NOW)
        return outcome.answer if isinstance(outcome, Refusal) else outcome

    def heard(self, message: bytes, address: str = "127.0.0.1") -> Request:
        request = self.receive(message, address)
        assert isinstance(request, Request)
        return request

    def report(self, message: bytes) -> bytes:
        report = self.receive(message)
        assert isinstance(report, bytes)
        return report

    @property
    def counted(self) -> dict[str, int]:
        counters = self.authority.counters
        return {count.name: counters[count] for count in Count if counters[count] and count is not Count.IN_PKTS}
