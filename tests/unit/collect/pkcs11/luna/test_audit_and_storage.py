from __future__ import annotations

import math

import pytest

from hsm_agent.collect.pkcs11.luna import (
    audit_facts,
    audit_role_facts,
    fill_facts,
    storage_facts,
    store_facts,
)
from hsm_agent.workers.pkcs11.return_values import LOG_AUDIT_NOT_INITIALIZED, LOG_FULL

CAPACITY = 100_000


def _values(status: list[int] | None, points: list[tuple[float, int]], *, full: bool = False) -> dict[str, object]:
    facts = audit_facts(status, points, CAPACITY, full=full, reason="why")
    return {fact.metric: fact.value for fact in facts}


def test_audit_readings() -> None:
    assert _values([1, 0, 0, 1, 25_000], [(0.0, 25_000)]) == {
        "audit_capacity_records": CAPACITY,
        "audit_records": 25_000,
        "audit_used_percent": 25.0,
        "audit_seconds_to_full": math.inf,
    }


def test_a_count_beyond_the_configured_capacity_is_not_hidden() -> None:
    assert _values([1, 0, 0, 1, 110_000], [])["audit_used_percent"] == pytest.approx(110)


@pytest.mark.parametrize("status", [[1, LOG_FULL, 0, 1, 500], None])
def test_the_hsm_s_own_word_that_it_is_full_outranks_the_count(status: list[int] | None) -> None:
    found = _values(status, [], full=status is None)

    assert (found["audit_used_percent"], found["audit_seconds_to_full"]) == (100.0, 0.0)
    assert found["audit_records"] == (500 if status else None)


def test_without_an_answer_only_the_capacity_is_known() -> None:
    facts = audit_facts(None, [], CAPACITY, full=False, reason="why")

    assert [(fact.metric, fact.reason) for fact in facts if fact.value is None] == [
        ("audit_records", "why"),
        ("audit_used_percent", "why"),
        ("audit_seconds_to_full", "why"),
    ]


@pytest.mark.parametrize(
    ("status", "role", "export"),
    [
        ([1, 0, 0, 1, 5], 1, 1),
        pytest.param([1, 0x80000033, 0, 1, 5], 1, 0, id="the daemon could not write"),
        pytest.param([0, 0, 0, 1, 5], 0, "the HSM's audit role is not initialised", id="no auditor"),
        pytest.param(
            [LOG_AUDIT_NOT_INITIALIZED, 0, 0, 1, 5], 0, "the HSM's audit role is not initialised", id="by code"
        ),
        pytest.param(
            [0x7777, 0, 0, 1, 5], "the HSM says unknown code 0x7777 of its audit role", 1, id="something else"
        ),
        (None, "why", "why"),
    ],
)
def test_the_auditor_and_his_export(status: list[int] | None, role: object, export: object) -> None:
    found = [fact.reason if fact.value is None else fact.value for fact in audit_role_facts(status, "why")]

    assert found == [role, export]


def test_a_refusal_for_want_of_an_auditor_says_so() -> None:
    facts = audit_role_facts(None, "why", uninitialized=True)

    assert [fact.value for fact in facts] == [0, None]


def test_partition_storage() -> None:
    found = {fact.metric: fact.value for fact in storage_facts([2048, 324_096, 81_024, 243_072, 6], 8)}

    assert found == {
        "token_storage_total_bytes": 324_096,
        "token_storage_used_bytes": 81_024,
        "token_storage_free_bytes": 243_072,
        "token_storage_used_percent": 25.0,
        "token_objects": 6,
    }


@pytest.mark.parametrize("values", [[0, 0, 0, 0, 3], [0, 2**64 - 1, 5, 5, 3], [0, 10, 20, 0, 3]])
def test_storage_figures_that_cannot_be_are_no_readings(values: list[int]) -> None:
    facts = storage_facts(values, 8)

    assert [fact.value for fact in facts] == [None] * 4 + [3]
    assert all(fact.reason for fact in facts[:4])


def test_fill_without_figures_is_unavailable() -> None:
    assert [fact.value for fact in fill_facts(None, 5)] == [None] * 4


def test_a_store_may_outgrow_what_it_was_given() -> None:
    assert [fact.value for fact in store_facts(100, 150)] == [100, 150, 0, 150.0]
