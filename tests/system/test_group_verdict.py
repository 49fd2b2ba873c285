"""What judges a run of a pair finds what it is there to find."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsm_agent.model import EventKind
from tests.peers.receivers import INFORM, RELP, Arrival
from tests.peers.verdict import delays, judge, longest_and_median


def _arrival(channel: str, number: int, kind: EventKind, *, alarm: str = "a1", resource: str = "r") -> Arrival:
    return Arrival(
        time=float(number), channel=channel, peer="10.77.1.1", exchange=f"x{number}", accepted=True,
        event_id=f"e{number}", alarm_id=alarm, kind=kind, rule="level", source="levels", resource=resource,
    )  # fmt: skip


def _well() -> list[Arrival]:
    return [
        _arrival(channel, number, kind)
        for channel in (RELP, INFORM)
        for number, kind in ((1, EventKind.RAISED), (2, EventKind.CLEARED))
    ]


def test_all_is_well_where_each_alarm_was_raised_and_cleared_at_both() -> None:
    verdict = judge(_well(), rule="level", raised={"r": 1})
    assert (verdict.problems, verdict.told, dict(verdict.doubled)) == ((), 2, {})
    assert str(verdict) == "2 crossings told, doubled: none"


def test_what_is_told_again_is_counted_by_exchange() -> None:
    first = _well()[0]
    heard = [*_well(), first, replace(first, exchange="x9", peer="10.77.2.1")]
    verdict = judge(heard, rule="level", raised={"r": 1})
    assert (verdict.problems, dict(verdict.doubled), dict(verdict.again)) == ((), {RELP: 1}, {RELP: 1})
    assert str(verdict) == "2 crossings told, doubled: 1 at relp"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda heard: heard[:3], "1 events told at relp and not at inform: e2"),
        (lambda heard: heard[:1] + heard[2:3], "relp: 1 alarms are open instead of 0"),
        (lambda heard: [], "r crossed 1 times, and 0 alarms were told of it"),
        (lambda heard: [heard[1], heard[0], *heard[2:]], "relp: alarm a1 of r was ALARM_CLEARED, ALARM_RAISED"),
        (
            lambda heard: [*heard, _arrival(RELP, 3, EventKind.RAISED), _arrival(INFORM, 3, EventKind.RAISED)],
            "relp: alarm a1 of r was ALARM_RAISED, ALARM_CLEARED, ALARM_RAISED",
        ),
        (
            lambda heard: [
                *heard,
                _arrival(RELP, 3, EventKind.RAISED, alarm="a2"),
                _arrival(RELP, 4, EventKind.CLEARED, alarm="a2"),
            ],
            "relp: r crossed 1 times, and 2 alarms were told of it",
        ),
    ],
)
def test_what_is_wrong_is_said(change: object, complaint: str) -> None:
    assert callable(change)
    verdict = judge(change(_well()), rule="level", raised={"r": 1})
    assert any(complaint in problem for problem in verdict.problems), verdict.problems


def test_what_was_judged_twice_may_be_two_alarms_and_is_closed_twice() -> None:
    more = [
        _arrival(channel, number, kind, alarm=alarm)
        for channel in (RELP, INFORM)
        for number, kind, alarm in (
            (3, EventKind.CLEARED, "a1"),
            (4, EventKind.RAISED, "a2"),
            (5, EventKind.CLEARED, "a2"),
        )
    ]
    assert judge([*_well(), *more], rule="level", raised={"r": 1}, judged_twice={"r": 1}).problems == ()
    assert len(judge([*_well(), *more], rule="level", raised={"r": 1}).problems) == 4


def test_a_delay_is_counted_from_the_crossing_to_its_first_telling() -> None:
    crossings = [(0.5, "r", True), (1.5, "r", False), (1.8, "other", True)]
    assert delays(crossings, _well()) == [0.5, 0.5]
    assert longest_and_median([0.5, 1.0, 0.1]) == "p50 0.50 s, longest 1.00 s of 3"
    assert longest_and_median([]) == "none"
