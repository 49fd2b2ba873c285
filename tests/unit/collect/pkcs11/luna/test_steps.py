from __future__ import annotations

from typing import Any

import pytest

from hsm_agent.collect.pkcs11.parse import ParsedPoll, parse
from hsm_agent.collect.pkcs11.poll_state import ParseOptions, PollMemory
from hsm_agent.collect.pkcs11.steps import STEPS
from hsm_agent.workers.pkcs11.return_values import name
from tests.unit.collect.luna_answers import young
from tests.unit.collect.pkcs11_raws import asked, raw, swept

WATCH = ParseOptions(name="hsm", capabilities="all", policies=(12,))
FUNCTIONS = sorted({step.function for step in STEPS.values() if step.function})
ALPHA = ("alpha", "S1", -1)
PAIRS = ("capabilities", "policies", "token_policies")


def _after(
    *results: list[Any], known: PollMemory | None = None, watch: ParseOptions = WATCH, **more: Any
) -> ParsedPoll:
    return parse(raw(*results, functions=FUNCTIONS, **more), watch, known or PollMemory())


def _answer(step: str, payload: Any, *, rv: int = 0, slot: int = 1) -> list[Any]:
    return asked(step, slot, STEPS[step].function, payload, rv=rv)


def _all(parsed: ParsedPoll, metric: str) -> dict[tuple[tuple[str, str], ...], Any]:
    return {r.labels: r.reason if r.value is None else r.value for r in parsed.readings if r.metric == metric}


def _one(parsed: ParsedPoll, metric: str) -> Any:
    (found,) = _all(parsed, metric).values()
    return found


def test_the_reading_before_makes_the_utilization() -> None:
    first = _after(swept(1), _answer("stats", [[2, 0, 100], [3, 0, 50], [4, 0, 9]]))
    second = _after(_answer("stats", [[2, 0, 200], [3, 0, 125], [4, 0, 19]]), known=first.memory, sweep=False)

    assert _one(first, "hsm_utilization_percent") == "known from the second reading on"
    assert _one(second, "hsm_utilization_percent") == 25


def test_readings_with_labels_are_each_unavailable_when_their_token_is() -> None:
    roles = [_answer(f"role_{role}", [1, 9]) for role in ("so", "crypto_officer", "crypto_user")]
    known = _after(swept(1), *roles).memory
    gone = _after(swept(1, rv=0xE0, present=True), known=known)

    assert set(_all(gone, "token_login_attempts_left")) == {
        (("role", "so"),),
        (("role", "crypto_officer"),),
        (("role", "crypto_user"),),
    }
    assert set(_all(gone, "token_login_attempts_left").values()) == {"the token is not present"}


def test_a_role_the_partition_does_not_have_is_no_reading_and_not_asked_again() -> None:
    parsed = _after(swept(1), _answer("role_so", [1, 3]), _answer("role_crypto_user", None, rv=0x103))

    assert _all(parsed, "token_login_attempts_left") == {(("role", "so"),): 3}
    assert ("role_crypto_user", ALPHA) in parsed.memory.unsupported
    assert parsed.errors == ()


def test_a_role_that_fails_takes_its_own_readings_only() -> None:
    known = _after(swept(1), _answer("role_so", [1, 3]), _answer("role_crypto_user", [1, 10])).memory
    parsed = _after(_answer("role_so", None, rv=0x30), _answer("role_crypto_user", [1, 10]), known=known, sweep=False)

    found = _all(parsed, "token_login_attempts_left")
    assert "CKR_DEVICE_ERROR" in found[("role", "so"),]
    assert found[("role", "crypto_user"),] == 10


def test_sets_show_what_is_to_be_shown_and_one_digest_of_the_whole() -> None:
    sets = [_answer(step, [[12, 1], [7, 0]]) for step in PAIRS]
    parsed = _after(swept(1), *sets)

    assert _all(parsed, "hsm_capability") == {(("capability_id", "12"),): 1, (("capability_id", "7"),): 0}
    assert _all(parsed, "hsm_policy") == {(("policy_id", "12"),): 1}
    assert _all(parsed, "token_policy") == {(("policy_id", "12"),): 1}
    assert _one(parsed, "hsm_policies_info") == _one(parsed, "token_policies_info") == 1


def test_half_of_the_sets_is_no_digest() -> None:
    known = _after(swept(1), *(_answer(step, [[12, 1]]) for step in PAIRS)).memory
    before = known.series["alpha"].facts["", "hsm_policies_info", ()].labels
    parsed = _after(_answer("capabilities", [[12, 1]]), _answer("policies", None, rv=0x30), known=known, sweep=False)
    hung = _after(_answer("capabilities", [[12, 1]]), known=known, sweep=False, failed=[["policies", 1, "hung"]])

    for each in (parsed, hung):
        assert _all(each, "hsm_policies_info") == {before: "CA_GetHSMPolicySet gave no answer"}
        assert not _all(each, "token_policies_info")
    assert _all(hung, "hsm_policy") == {(("policy_id", "12"),): "hung"}


def test_a_set_the_hsm_does_not_know_is_left_out_of_the_digest() -> None:
    both = _after(swept(1), _answer("capabilities", [[12, 1]]), _answer("policies", []))
    one = _after(swept(1), _answer("capabilities", [[12, 1]]), _answer("policies", None, rv=0x54))

    assert set(_all(one, "hsm_policies_info")) == set(_all(both, "hsm_policies_info"))


def test_what_changed_in_a_set_is_a_remark() -> None:
    known = _after(swept(1), _answer("policies", [[12, 1]])).memory
    parsed = _after(_answer("policies", [[12, 0], [40, 1]]), known=known, sweep=False)

    assert parsed.remarks == ("alpha: policy 12: 1 -> 0, policy 40: absent -> 1",)


@pytest.mark.parametrize("rv", [0x7, 0x54, 0x80000042])
def test_a_slot_that_is_no_group_has_no_such_readings(rv: int) -> None:
    parsed = _after(swept(1), _answer("ha", None, rv=rv))

    assert parsed.errors == ()
    assert ("ha", ALPHA) in parsed.memory.unsupported
    assert not [reading for reading in parsed.readings if reading.metric.startswith("ha_")]


def test_a_group_of_nobody_is_one_only_if_it_calls_itself_one() -> None:
    plain = _after(swept(1), _answer("ha", young({})))
    virtual = _after(swept(1, model="LunaVirtual"), _answer("ha", young({})))

    assert not _all(plain, "ha_members_up")
    assert ("ha", ALPHA) in plain.memory.unsupported
    assert _one(virtual, "ha_members_up") == 0


def test_a_group_that_cannot_be_read_is_a_failure() -> None:
    known = _after(swept(1), _answer("ha", young({"1001": 0, "1002": 0}))).memory
    was_one = _after(swept(1), _answer("ha", None, rv=0x30), known=known)
    calls_itself_one = _after(swept(1, model="LunaVirtual"), _answer("ha", None, rv=0x30))

    assert len(was_one.errors) == len(calls_itself_one.errors) == 1
    assert len(_all(was_one, "ha_member_up")) == 2
    assert "CKR_DEVICE_ERROR" in _one(was_one, "ha_members_up")


def test_a_group_without_a_watched_member_is_remarked_on_once_and_anew_after_one_was() -> None:
    group, member = _answer("ha", young({"S2": 0})), swept(2, label="beta", serial="S2")
    alone = _after(swept(1), group)
    still = _after(swept(1), group, known=alone.memory)
    watched = _after(swept(1), member, group, known=still.memory)
    again = _after(swept(1), group, known=watched.memory)

    assert [len(parsed.remarks) for parsed in (alone, still, watched, again)] == [1, 0, 0, 1]
    assert "alpha is an HA group and none of its members' own slots is watched" in alone.remarks[0]


@pytest.mark.parametrize("rv", [0x8000001A, 0x80000030, 0x101, 0x7, 0x80004711])
@pytest.mark.parametrize("step", ["stats", "tamper", "role_so", "policies", "hsm_storage"])
def test_a_refusal_is_a_reason_and_no_failure(step: str, rv: int) -> None:
    parsed = _after(swept(1), _answer(step, None, rv=rv))

    again = _after(swept(1), _answer(step, None, rv=rv), known=parsed.memory)

    assert parsed.errors == ()
    assert (step, ALPHA) in parsed.memory.unsupported
    assert (len(parsed.remarks), len(again.remarks)) == (1, 0)
    reasons = {reading.reason for reading in parsed.readings if reading.reason.startswith("CA_")}
    assert len(reasons) == 1
    assert step == "policies" or name(rv, luna=True) in reasons.pop()


@pytest.mark.parametrize("step", ["audit", "storage", "firmware"])
def test_what_has_to_be_told_is_a_failure_even_when_it_is_refused(step: str) -> None:
    parsed = _after(swept(1), _answer(step, None, rv=0x8000001A))

    assert len(parsed.errors) == 1
    assert (step, ALPHA) not in parsed.memory.unsupported


def test_a_function_that_is_gone_makes_what_it_brought_unavailable() -> None:
    known = _after(swept(1), _answer("tamper", [0])).memory
    parsed = _after(_answer("tamper", None, rv=0x54), known=known, sweep=False)

    assert _one(parsed, "hsm_tampered") == "no longer supported"
    assert not _after(_answer("tamper", None, rv=0x54), known=_after(swept(1)).memory, sweep=False).readings


def test_an_hsm_that_says_it_was_tampered_with_is_believed_in_whatever_call() -> None:
    known = _after(swept(1), _answer("tamper", [0])).memory
    parsed = _after(swept(1, rv=0x80000076), _answer("stats", None, rv=0x80000076), known=known)

    assert _one(parsed, "hsm_tampered") == 1
    assert parsed.errors == ()
    assert parsed.well


def test_each_answer_is_its_own_readings() -> None:
    parsed = _after(
        swept(1),
        _answer("hsm_storage", [4096, 2000, 500, 1500]),
        _answer("tamper", [2]),
        _answer("transport", [1]),
        _answer("role_so", [3, 0]),
        _answer("ha", young({"1001": 0, "1002": 0x30})),
    )

    assert _one(parsed, "hsm_storage_used_percent") == 25
    assert (_one(parsed, "hsm_tampered"), _one(parsed, "hsm_transport_mode")) == (1, 1)
    assert _all(parsed, "token_role_locked") == {(("role", "so"),): 1}
    assert (_one(parsed, "ha_members_up"), _one(parsed, "ha_members_expected")) == (1, 2)


def test_a_group_in_no_known_layout_takes_what_was_read_of_it() -> None:
    known = _after(swept(1), _answer("ha", young({"1001": 0}))).memory
    parsed = _after(_answer("ha", young({"1001": 0}, count=99)), known=known, sweep=False)

    assert (
        _one(parsed, "ha_members_up")
        == _one(parsed, "ha_member_up")
        == ("CA_GetHAState answered in a layout that is not known")
    )
    assert len(parsed.errors) == 1
