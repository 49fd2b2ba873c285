from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.collect.pkcs11.luna import (
    clock,
    differences,
    digest_fact,
    hsm_storage_facts,
    role_facts,
    set_facts,
    statistics,
    stats_facts,
    tamper_facts,
    transport_facts,
)

if TYPE_CHECKING:
    from hsm_agent.collect.pkcs11.poll_state import Clock, ShownIds


def test_a_value_beyond_32_bits_comes_in_two_words() -> None:
    values = statistics([[2, 0, 100], [3, 0, 90], [4, 3, 7]])

    assert values == {2: 100, 3: 90, 4: 3 * 2**32 + 7}
    assert clock(values) == (100, 90)


@pytest.mark.parametrize(
    ("now", "before", "busy", "reason"),
    [
        ((160, 90), (100, 60), 50.0, ""),
        ((160, 120), (100, 60), 0.0, ""),
        ((160, 60), (100, 60), 100.0, ""),
        pytest.param((160, 121), (100, 60), 0.0, "", id="idle a second more than up is rounding"),
        ((160, 122), (100, 60), None, "idle for 62 of 60 cannot be"),
        ((160, 90), None, None, "known from the second reading on"),
        ((10, 9), (100, 60), None, "the HSM was restarted since the last reading"),
        ((200, 9), (100, 60), None, "the HSM was restarted since the last reading"),
        ((100, 60), (100, 60), None, "the HSM's clock has not moved since the last reading"),
    ],
)
def test_the_busy_share(now: Clock, before: Clock | None, busy: float | None, reason: str) -> None:
    facts = {fact.metric: fact for fact in stats_facts({2: now[0], 3: now[1], 4: 5}, before)}

    assert (facts["hsm_utilization_percent"].value, facts["hsm_utilization_percent"].reason) == (busy, reason)
    assert (facts["hsm_uptime_seconds"].value, facts["hsm_commands_total"].value) == (now[0], 5)


@given(*(st.integers(0, 2**64) for _ in range(4)))
def test_a_share_is_between_0_and_100_or_none(up: int, idle: int, up_before: int, idle_before: int) -> None:
    (busy,) = [f.value for f in stats_facts({2: up, 3: idle}, (up_before, idle_before)) if f.metric.endswith("percent")]

    assert busy is None or 0 <= busy <= 100


def test_statistics_the_hsm_did_not_give_are_unavailable() -> None:
    facts = stats_facts({4: 5}, (1, 1))

    assert [(fact.metric, fact.value) for fact in facts if fact.value is not None] == [("hsm_commands_total", 5)]
    assert all(fact.reason == "the module does not report it" for fact in facts if fact.value is None)


def test_hsm_storage_with_all_of_it_given_to_partitions() -> None:
    assert [(fact.metric, fact.value) for fact in hsm_storage_facts([4096, 2097152, 2097152, 0], 8)] == [
        ("hsm_storage_total_bytes", 2097152),
        ("hsm_storage_used_bytes", 2097152),
        ("hsm_storage_free_bytes", 0),
        ("hsm_storage_used_percent", 100),
    ]


@pytest.mark.parametrize("values", [[0, 10, 20, 0], [0, 2**64 - 1, 2**64 - 1, 2**64 - 1]])
def test_hsm_storage_that_cannot_be_is_no_reading(values: list[int]) -> None:
    facts = hsm_storage_facts(values, 8)

    assert [fact.value for fact in facts] == [None] * 4
    assert all(fact.reason for fact in facts)


@pytest.mark.parametrize(
    ("state", "attempts", "locked"), [([1, 3], 3, 0), ([3, 0], 0, 1), ([0x25, 10], 10, 0), ([0, 10], None, None)]
)
def test_roles(state: list[int], attempts: int | None, locked: int | None) -> None:
    facts = role_facts("so", state)

    assert [fact.value for fact in facts] == [attempts, locked]
    assert all(fact.labels == (("role", "so"),) for fact in facts)
    assert all(fact.reason == "the role is not initialised" for fact in facts if fact.value is None)


@pytest.mark.parametrize(("state", "tampered"), [(0, 0), (1, 0), (2, 1), (4, 1), (8, 1), (9, 1)])
def test_tamper(state: int, tampered: int) -> None:
    assert [fact.value for fact in tamper_facts([state], 8)] == [tampered]


@pytest.mark.parametrize(("state", "on"), [(0, 0), (1, 1), (5, 1)])
def test_transport_mode(state: int, on: int) -> None:
    assert [fact.value for fact in transport_facts([state], 8)] == [on]


@pytest.mark.parametrize(
    ("shown", "found"), [((1, 99), {"1": 5}), ("all", {"1": 5, "2": 6}), ((), {}), ((7,), {"7": None})]
)
def test_the_ids_that_are_shown(shown: ShownIds, found: dict[str, int | None]) -> None:
    known = ["7"] if shown == (7,) else []
    facts = set_facts("policies", ((1, 5), (2, 6)), shown, known)

    assert {dict(fact.labels)["policy_id"]: fact.value for fact in facts} == found
    assert all(fact.reason == "no longer reported" for fact in facts if fact.value is None)


def test_a_digest_stands_for_the_content_not_the_order() -> None:
    one = digest_fact("hsm_policies_info", [("policies", ((1, 5), (2, 6)))])
    same = digest_fact("hsm_policies_info", [("policies", ((2, 6), (1, 5)))])
    others = [
        digest_fact("hsm_policies_info", [("capabilities", ((1, 5), (2, 6)))]),
        digest_fact("hsm_policies_info", [("policies", ((1, 5), (2, 7)))]),
        digest_fact("hsm_policies_info", [("policies", ((1, 5),))]),
    ]

    assert one == same
    assert one not in others
    assert len(dict(one.labels)["digest"]) == 16


def test_what_changed_is_named() -> None:
    assert differences("policies", ((1, 5), (2, 6)), ((1, 5), (2, 7), (3, 0))) == [
        "policy 2: 6 -> 7",
        "policy 3: absent -> 0",
    ]
    assert differences("capabilities", ((1, 5),), ()) == ["capability 1: 5 -> absent"]
    assert differences("token_policies", ((1, 5),), ((1, 6),)) == ["partition policy 1: 5 -> 6"]
