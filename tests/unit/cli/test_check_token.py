"""Judging one token of what a sweep read, as `check -p` does."""

from __future__ import annotations

from typing import Any

import pytest

from hsm_agent.cli.check_token import TokenQuestion, judge_token
from hsm_agent.cli.nagios import Answer, Range, State
from hsm_agent.collect.pkcs11.parse import parse
from hsm_agent.collect.pkcs11.poll_state import ParseOptions, PollMemory
from hsm_agent.collect.pkcs11.recording import RawPoll
from tests.unit.collect.pkcs11_raws import ALL_ONES, recorded, swept


def _question(label: str | None = None, *, total: int | None = None) -> TokenQuestion:
    return TokenQuestion(
        module="/m.so", label=label, total=total, warning=Range.parse("75"), critical=Range.parse("90"),
        timeout_seconds=1.0,
    )  # fmt: skip


def _token(slot: int, name: str, *, free: int | None, total: int | None, serial: str = "") -> list[Any]:
    told: dict[str, Any] = {
        "free_private": ALL_ONES if free is None else free,
        "total_private": ALL_ONES if total is None else total,
    }
    return swept(slot, label=name, serial=serial or f"S{slot}", **told)


def _judge(*tokens: list[Any], label: str | None = None, given: int | None = None) -> Answer:
    return judge_token(_question(label, total=given), recorded(*tokens))


@pytest.mark.parametrize(
    ("free", "state"), [(250, State.OK), (249, State.WARNING), (100, State.WARNING), (99, State.CRITICAL)]
)
def test_levels_are_left_open_at_their_ends(free: int, state: State) -> None:
    assert _judge(_token(1, "pay", free=free, total=1000)).state is state


def test_a_token_is_named_by_label_serial_or_glob() -> None:
    tokens = (_token(1, "pay", free=900, total=1000, serial="77"), _token(2, "old", free=1, total=1000))

    assert _judge(*tokens).state is State.UNKNOWN
    assert _judge(*tokens, label="pay").state is State.OK
    assert _judge(*tokens, label="77").state is State.OK
    assert _judge(*tokens, label="o*").state is State.CRITICAL
    assert "it has: old, pay" in _judge(*tokens, label="nobody").line


def test_a_slot_without_an_initialised_token_is_none_to_choose() -> None:
    tokens = (swept(1, present=False), swept(2, label="", serial="", flags=0), _token(3, "pay", free=9, total=10))

    assert _judge(*tokens).line.startswith("OK: pay: ")


@pytest.mark.parametrize("failing", ["return value", "hang"])
def test_a_token_that_may_be_the_one_that_failed_is_answered_by_the_failure(failing: str) -> None:
    slots = [_token(1, "pay", free=9, total=10), *([swept(2, rv=0x30)] if failing == "return value" else [])]
    failed = [] if failing == "return value" else [["token", 2, "C_GetTokenInfo on slot 2 did not return"]]
    raw = recorded(*slots, slots=[1, 2], failed=failed)
    parsed = parse(RawPoll.from_json(raw), ParseOptions(name="check"), PollMemory())

    answer = judge_token(_question("old"), raw, parsed.readings, parsed.errors)

    assert answer.state is State.UNKNOWN
    assert answer.line.startswith(f"UNKNOWN: {parsed.errors[0]}")
    assert "C_GetTokenInfo on slot 2" in answer.line
    assert answer.line.endswith("no token 'old' is among the others: pay")
    assert judge_token(_question("pay"), raw, parsed.readings, parsed.errors).state is State.OK


def test_a_token_that_failed_is_not_said_to_be_missing_where_there_is_no_other() -> None:
    raw = recorded(swept(2, rv=0x30))

    answer = judge_token(_question("old"), raw, (), ("C_GetTokenInfo on slot 2 returned CKR_DEVICE_ERROR",))

    assert answer.line == "UNKNOWN: C_GetTokenInfo on slot 2 returned CKR_DEVICE_ERROR"


@pytest.mark.parametrize(
    ("free", "total", "used", "state"),
    [
        pytest.param(500, 600, 100, State.OK, id="what the token reports as used, against the total given"),
        pytest.param(100, 950, 850, State.WARNING, id="nearly all of the total given"),
        pytest.param(100, 2000, 1900, State.CRITICAL, id="more than the total given"),
        pytest.param(500, None, 500, State.OK, id="the token reports no total"),
        pytest.param(500, 400, 500, State.OK, id="the token reports less than is free"),
    ],
)
def test_a_total_given_is_what_the_use_is_measured_against(
    free: int, total: int | None, used: int, state: State
) -> None:
    answer = _judge(_token(1, "pay", free=free, total=total), given=1000)

    assert answer.state is state
    assert answer.line.endswith(f"| 'private memory'={used}B;750;900;0;1000")


@pytest.mark.parametrize(
    ("free", "total", "said"),
    [
        (None, 1000, "unavailable: the module does not report it"),
        (5, None, "the module does not report it; give its size with -m"),
        (5, 0, "with -m"),
        (9, 5, "9 bytes free of 5 cannot be: give the true size with -m"),
    ],
)
def test_what_cannot_be_told_is_unknown(free: int | None, total: int | None, said: str) -> None:
    answer = _judge(_token(1, "pay", free=free, total=total))

    assert answer.state is State.UNKNOWN
    assert said in answer.line


def test_details_are_the_library_the_slots_the_sums_and_every_reading() -> None:
    read = recorded(_token(7, "pay", free=900, total=1000, serial="77"))
    readings = parse(RawPoll.from_json(read), ParseOptions(name="check"), PollMemory()).readings

    details = judge_token(_question(), read, readings, ("pay: a call failed",)).details

    assert details[1:5] == (
        "slots found: 1",
        "token pay: slot 7, serial 77",
        "private memory: total 1000 B, used 100 B, free 900 B",
        "public memory: not reported",
    )
    assert details[0].startswith("library: Vendor")
    assert "pay token_present 1" in details
    assert "pay token_memory_public_free_bytes unavailable: the module does not report it" in details
    assert details[-1] == "pay: a call failed"


def test_details_say_what_a_library_does_not_tell() -> None:
    read = recorded(_token(7, "pay", free=900, total=1000), info="")
    readings = parse(RawPoll.from_json(read), ParseOptions(name="check"), PollMemory()).readings

    assert (
        judge_token(_question(), read, readings).details[0] == "library: not told, version not told, Cryptoki not told"
    )


@pytest.mark.parametrize("free", [None, 1, 500, 1000])
@pytest.mark.parametrize("total", [None, 0, 1000])
@pytest.mark.parametrize("given", [None, 800])
def test_a_token_is_full_as_the_agent_makes_it_with_the_same_total(
    free: int | None, total: int | None, given: int | None
) -> None:
    read = recorded(_token(1, "pay", free=free, total=total))
    options = ParseOptions(name="check", memory_total={} if given is None else {"*": given})
    readings = {reading.metric: reading for reading in parse(RawPoll.from_json(read), options, PollMemory()).readings}
    percent = readings["token_memory_private_used_percent"].value

    answer = judge_token(_question(total=given), read)

    if percent is None:
        assert answer.state is State.UNKNOWN
    else:
        assert f" {percent:.1f} % used" in answer.line
