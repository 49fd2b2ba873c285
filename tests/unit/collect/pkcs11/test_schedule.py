from __future__ import annotations

import datetime as dt

import pytest

from hsm_agent.collect.pkcs11.source import Schedule, seconds_until
from hsm_agent.collect.pkcs11.steps import Group

MIDNIGHT = dt.time(0, 0)
NOON = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)


def _schedule() -> Schedule:
    return Schedule({Group.SWEEP: 60.0, Group.AUDIT: 15.0, Group.OBJECTS: None}, MIDNIGHT)


def test_everything_that_has_a_rhythm_is_due_at_the_start() -> None:
    assert _schedule().due(100.0) == {Group.SWEEP, Group.AUDIT, Group.INVENTORY}


def test_rhythms_that_are_multiples_share_a_poll() -> None:
    rhythm = _schedule()
    rhythm.done(rhythm.due(0.0), 0.0, NOON)
    polls = []
    now = 0.0
    for _ in range(4):
        now += rhythm.next_in_seconds(now) + 0.01
        due = rhythm.due(now)
        rhythm.done(due, now, NOON)
        polls.append((round(now), due))

    assert polls == [
        (15, frozenset({Group.AUDIT})),
        (30, frozenset({Group.AUDIT})),
        (45, frozenset({Group.AUDIT})),
        (60, frozenset({Group.AUDIT, Group.SWEEP})),
    ]


def test_what_was_not_done_stays_due() -> None:
    rhythm = _schedule()
    rhythm.done({Group.AUDIT}, 0.0, NOON)

    assert rhythm.due(1.0) == {Group.SWEEP, Group.INVENTORY}
    assert rhythm.next_in_seconds(1.0) == 0.0


def test_a_missed_beat_is_not_hurried_after() -> None:
    rhythm = _schedule()
    rhythm.done({Group.SWEEP, Group.AUDIT}, 0.0, NOON)
    rhythm.done({Group.SWEEP, Group.AUDIT}, 1000.0, NOON)

    assert rhythm.next_in_seconds(1000.0) == 15.0


def test_a_rhythm_can_change_and_stop() -> None:
    rhythm = _schedule()
    rhythm.set_interval(Group.AUDIT, 5.0)
    rhythm.done({Group.SWEEP, Group.AUDIT}, 0.0, NOON)
    assert rhythm.next_in_seconds(0.0) == 5.0

    rhythm.set_interval(Group.AUDIT, None)
    assert rhythm.next_in_seconds(0.0) == 60.0


def test_inventory_is_due_at_its_time_of_day() -> None:
    rhythm = _schedule()
    rhythm.done({Group.INVENTORY}, 0.0, NOON)

    assert Group.INVENTORY not in rhythm.due(12 * 3600 - 60)
    assert Group.INVENTORY in rhythm.due(12 * 3600)


def test_what_was_incomplete_is_due_again_before_its_own_time_and_never_later() -> None:
    rhythm = _schedule()
    rhythm.done(rhythm.due(0.0), 0.0, NOON)
    rhythm.again(Group.INVENTORY, 300.0)
    rhythm.again(Group.AUDIT, 300.0)

    assert Group.INVENTORY not in rhythm.due(299.0)
    assert Group.INVENTORY in rhythm.due(300.0)
    assert rhythm.next_in_seconds(0.0) == 15.0


@pytest.mark.parametrize(("at", "hours"), [(dt.time(0, 0), 12), (dt.time(13, 30), 1.5), (dt.time(12, 0), 24)])
def test_seconds_until(at: dt.time, hours: float) -> None:
    assert seconds_until(at, NOON) == hours * 3600
