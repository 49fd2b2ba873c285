"""Judging one token's readings, as `check -p` does once it has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_agent.model import Reading
from hsm_agent.verbs.check import Answer, TokenQuestion, judge_token
from hsm_agent.verbs.nagios import Range, State


def _question(label: str | None = None, total: int | None = None) -> TokenQuestion:
    return TokenQuestion(
        module=Path("/m.so"), label=label, total=total, warning=Range.parse("75"), critical=Range.parse("90"),
        timeout_seconds=1.0,
    )  # fmt: skip


def _token(name: str, *, free: int | None, total: int | None, serial: str = "") -> tuple[Reading, ...]:
    labels = (("label", name), ("serial", serial))
    values = {"token_memory_private_free_bytes": free, "token_memory_private_total_bytes": total}
    return (
        Reading(source="check", resource=name, metric="token_info", value=1, labels=labels, time=0.0),
        *(
            Reading(source="check", resource=name, metric=metric, value=value, time=0.0,
                    reason="" if value is not None else "not told")
            for metric, value in values.items()
        ),
    )  # fmt: skip


def _judge(readings: tuple[Reading, ...], **how: int | str) -> Answer:
    label, total = how.get("label"), how.get("total")
    return judge_token(_question(str(label) if label else None, int(total) if total else None), readings, ())


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


def test_a_total_given_wins_over_the_tokens_own() -> None:
    answer = _judge(_token("pay", free=500, total=600), total=1000)

    assert answer.state is State.OK
    assert answer.line.endswith("| 'private memory'=500B;750;900;0;1000")


@pytest.mark.parametrize(
    ("free", "total", "said"),
    [(None, 1000, "unavailable: not told"), (5, None, "unavailable: not told"), (5, 0, "with -m"), (9, 5, "with -m")],
)
def test_what_cannot_be_told_is_unknown(free: int | None, total: int | None, said: str) -> None:
    answer = _judge(_token("pay", free=free, total=total))

    assert answer.state is State.UNKNOWN
    assert said in answer.line
