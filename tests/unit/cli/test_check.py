"""Judging one token's readings, as `check -p` does once it has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_agent.cli.check import Answer, TokenQuestion, judge_token
from hsm_agent.cli.nagios import Range, State
from hsm_agent.collect.pkcs11.recording import Library, library
from hsm_agent.collect.pkcs11.token import memory_facts
from hsm_agent.model import Reading


def _question(label: str | None = None) -> TokenQuestion:
    return TokenQuestion(
        module=Path("/m.so"), label=label, total=None, warning=Range.parse("75"), critical=Range.parse("90"),
        timeout_seconds=1.0,
    )  # fmt: skip


def _token(
    name: str, *, free: int | None, total: int | None, serial: str = "", given: int | None = None
) -> tuple[Reading, ...]:
    labels = (("label", name), ("serial", serial))
    return (
        Reading(source="check", resource=name, metric="token_info", value=1, labels=labels, time=0.0),
        *(
            Reading(source="check", resource=name, metric=fact.metric, value=fact.value, time=0.0, reason=fact.reason)
            for fact in memory_facts("private", total, free, given)
        ),
    )


def _judge(readings: tuple[Reading, ...], label: str | None = None) -> Answer:
    return judge_token(_question(label), readings, ())


@pytest.mark.parametrize(
    ("free", "state"), [(250, State.OK), (249, State.WARNING), (100, State.WARNING), (99, State.CRITICAL)]
)
def test_levels_are_left_open_at_their_ends(free: int, state: State) -> None:
    assert _judge(_token("pay", free=free, total=1000)).state is state


def test_a_token_is_named_by_label_serial_or_glob() -> None:
    readings = (*_token("pay", free=900, total=1000, serial="77"), *_token("old", free=1, total=1000))

    assert _judge(readings).state is State.UNKNOWN
    assert _judge(readings, label="pay").state is State.OK
    assert _judge(readings, label="77").state is State.OK
    assert _judge(readings, label="o*").state is State.CRITICAL
    assert "it has: old, pay" in _judge(readings, label="nobody").line


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
    answer = _judge(_token("pay", free=free, total=total, given=1000))

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
    answer = _judge(_token("pay", free=free, total=total))

    assert answer.state is State.UNKNOWN
    assert said in answer.line


def test_verbose_shows_the_library_the_slots_and_the_sums_first() -> None:
    module = Library(cryptoki="2.40", manufacturer="Vendor", description="Client", version="10.4", slots=3)
    slot = Reading(source="check", resource="pay", metric="slot_info", value=1, time=0.0, labels=(("slot_id", "7"),))
    readings = (*_token("pay", free=900, total=1000, serial="77"), slot)

    assert judge_token(_question(), readings, (), module).details[:5] == (
        "library: Vendor Client, version 10.4, Cryptoki 2.40",
        "slots found: 3",
        "token pay: slot 7, serial 77",
        "private memory: total 1000 B, used 100 B, free 900 B",
        "public memory: not reported",
    )


def test_verbose_says_what_a_library_does_not_tell() -> None:
    details = judge_token(_question(), (), (), library({"info": "", "slots": []})).details

    assert details == ("library: not told, version not told, Cryptoki not told", "slots found: 0")
