from __future__ import annotations

from hsm_agent.collect.pkcs11.fetched import Fetched
from hsm_agent.collect.pkcs11.raw import typed


def test_calls_are_counted_and_the_slowest_is_kept() -> None:
    fetched = Fetched()
    fetched.count([["C_GetSlotInfo", 0, 5], ["C_GetTokenInfo", 0x30, 900]])
    fetched.count([["C_GetSlotInfo", 0, 7]])

    assert fetched.calls == {"C_GetSlotInfo": 2, "C_GetTokenInfo": 1}
    assert fetched.slowest_microseconds == 900


def test_what_it_becomes_can_be_read_back() -> None:
    fetched = Fetched(slots=[1], results=[["audit", 1, 2.5, [["CA_LogGetStatus", 0, 9]], [1, 0, 0, 1, 4]]])
    raw = typed(fetched.raw("/m.so", {"functions": {"CA_LogGetStatus"}, "info": ""}, word=8))

    assert raw.slots == (1,)
    assert raw.luna
    assert raw.results["audit", 1].payload == [1, 0, 0, 1, 4]
