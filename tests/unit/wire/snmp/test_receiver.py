"""A receiver is a clock with keys; the clock's rules are tested in test_snmp_clock."""

from __future__ import annotations

from hsm_agent.wire.snmp.client_engine import RemoteEngine
from hsm_agent.wire.snmp.pdu import MIN_MAX_SIZE
from tests.fakes.snmp_messages import AUTH_USER


def test_a_receiver_takes_the_least_of_all_engines_until_it_says_more_and_learns_its_time() -> None:
    made = RemoteEngine(keys=AUTH_USER.localize(b"receiver"), engine_id=b"receiver")

    assert made.max_size == MIN_MAX_SIZE
    assert made.learn(3, 1000, 50.0)
    assert made.time_at(60.0) == 1010
