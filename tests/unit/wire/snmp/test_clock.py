"""The rules of RFC 3414 section 3.2 (7) b."""

from __future__ import annotations

import pytest

from hsm_agent.wire.snmp.engine import MAX_BOOTS, RemoteClock


def clock(*, boots: int = 3, time: int = 1000, now: float = 50.0) -> RemoteClock:
    """A clock whose boots and time were learnt."""
    made = RemoteClock()
    assert made.learn(boots, time, now)
    return made


def test_the_first_authentic_time_is_taken_whatever_it_is() -> None:
    made = clock(boots=0, time=0)

    assert made.authentic
    assert (made.boots, made.time_at(50.0)) == (0, 0)


def test_time_goes_on_by_our_clock_and_ends_with_its_range() -> None:
    made = clock()

    assert made.time_at(61.5) == 1011
    assert made.time_at(1e12) == 2**31 - 1


@pytest.mark.parametrize(
    ("boots", "time", "is_news"),
    [
        pytest.param(4, 0, True, id="started anew"),
        pytest.param(3, 1001, True, id="later"),
        pytest.param(3, 1000, False, id="the same"),
        pytest.param(3, 999, False, id="earlier"),
        pytest.param(2, 5000, False, id="before the last start"),
    ],
)
def test_only_later_times_are_learnt(boots: int, time: int, is_news: bool) -> None:
    made = clock()

    assert made.learn(boots, time, 60.0) is is_news
    assert (made.boots, made.time) == ((boots, time) if is_news else (3, 1000))


@pytest.mark.parametrize(
    ("boots", "time", "late"),
    [
        pytest.param(3, 1000, False, id="now"),
        pytest.param(3, 850, False, id="150 seconds ago"),
        pytest.param(3, 849, True, id="151 seconds ago"),
        pytest.param(3, 9000, False, id="in the future"),
        pytest.param(2, 1000, True, id="before the last start"),
    ],
)
def test_what_is_older_than_the_window_is_late(boots: int, time: int, late: bool) -> None:
    assert clock().is_late(boots, time, 50.0) is late


def test_with_boots_used_up_everything_is_late() -> None:
    assert clock(boots=MAX_BOOTS).is_late(MAX_BOOTS, 1000, 50.0)
