"""When an agent of a fleet is silent: by this host's clock, and not before it could have been heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.fleet.sightings import Look, Sightings, Stored
from hsm_agent.wire.agent_report import encode
from tests.fakes.fleet import NOW, report

if TYPE_CHECKING:
    from hsm_agent.collect.fleet.sightings import Sighting


def look(seconds: float) -> Look:
    return Look(monotonic=1000.0 + seconds, wall=NOW + seconds)


def stored(revision: int, *, at: float, offset: float = 0.0, every: float = 60.0) -> dict[str, Stored]:
    """What agent `a` published at a time, with a clock that is ahead."""
    value = encode(report(time=NOW + at + offset, every_seconds=every))
    return {"a": Stored(value=value, revision=revision)}


def after(*looks: tuple[float, dict[str, Stored]], silent_after: float | None = None) -> Sighting:
    """Agent `a` after these looks."""
    sightings = Sightings()
    for seconds, found in looks:
        sightings = sightings.updated(found, look(seconds), silent_after=silent_after)
    return sightings.agents["a"]


def test_one_that_has_just_published_is_heard() -> None:
    assert after((0, stored(5, at=-30))).is_silent is False


def test_one_that_was_silent_long_before_the_start_is_unknown_until_it_had_its_time() -> None:
    old = stored(5, at=-7200)

    assert after((0, old)).is_silent is None
    assert after((0, old), (60, old), (179, old)).is_silent is None
    assert after((0, old), (60, old), (180, old)).is_silent is True


def test_one_that_ends_is_silent_after_three_of_its_intervals() -> None:
    last = stored(5, at=0)

    assert after((0, last), (60, last), (179, last)).is_silent is False
    assert after((0, last), (60, last), (180, last)).is_silent is True


def test_two_minutes_are_the_least_silence() -> None:
    last = stored(5, at=0, every=1)

    assert after((0, last), (119, last)).is_silent is False
    assert after((0, last), (120, last)).is_silent is True


def test_the_reader_may_say_what_silence_is() -> None:
    last = stored(5, at=0)

    assert after((0, last), (20, last), silent_after=10).is_silent is True


@pytest.mark.parametrize("offset", [-86400.0, -600.0, 600.0, 86400.0])
def test_a_wrong_clock_makes_nobody_silent_and_hides_no_silence(offset: float) -> None:
    first, second = stored(5, at=0, offset=offset), stored(6, at=50, offset=offset)

    assert after((10, first), (60, second)).is_silent is False
    assert after((10, first), (60, second), (240, second)).is_silent is True
    assert after((10, first), (60, second)).silent_seconds(1060.0) <= 50


@pytest.mark.parametrize("offset", [-86400.0, -300.0, 0.0, 86400.0])
def test_who_is_looked_at_seldom_is_silent_by_no_wrong_clock(offset: float) -> None:
    looks = [(600.0 * number, stored(number, at=600 * number - 10, offset=offset)) for number in range(1, 5)]

    assert after(*looks).is_silent is False
    assert after(*looks, (3000, looks[-1][1])).is_silent is True


@pytest.mark.parametrize(
    ("offset", "said"),
    [pytest.param(0.0, 0.0, id="right"), pytest.param(600.0, 590.0, id="ahead"), pytest.param(-600.0, -560.0, id="behind")],
)  # fmt: skip
def test_how_wrong_a_clock_is_at_least_is_said(offset: float, said: float) -> None:
    first, second = stored(5, at=0, offset=offset), stored(6, at=50, offset=offset)

    assert after((10, first)).offset_seconds is None
    assert after((10, first), (60, second)).offset_seconds == pytest.approx(said)


def test_nobody_is_silent_because_etcd_could_not_be_read() -> None:
    last = stored(5, at=0)
    sightings = Sightings().updated(last, look(0), silent_after=None).failed()
    back = sightings.updated(last, look(600), silent_after=None)

    assert back.agents["a"].is_silent is None
    assert back.updated(last, look(779), silent_after=None).agents["a"].is_silent is None
    assert back.updated(last, look(780), silent_after=None).agents["a"].is_silent is True
    assert back.updated(stored(6, at=610), look(660), silent_after=None).agents["a"].is_silent is False


def test_one_that_was_silent_before_stays_so_while_etcd_is_away() -> None:
    last = stored(5, at=0)
    sightings = Sightings()
    for seconds in (0, 200):
        sightings = sightings.updated(last, look(seconds), silent_after=None)

    assert sightings.failed().updated(last, look(300), silent_after=None).agents["a"].is_silent is True


def test_what_is_no_report_is_a_sign_of_life_with_a_reason() -> None:
    found = after((0, stored(5, at=0)), (60, {"a": Stored(value=b"{", revision=6)}))

    assert (found.report, found.trouble, found.is_silent) == (None, "not a JSON document", False)


def test_one_whose_key_was_deleted_is_not_remembered() -> None:
    sightings = Sightings().updated(stored(5, at=0), look(0), silent_after=None)

    assert sightings.updated({}, look(60), silent_after=None).agents == {}
    assert set(sightings.updated({}, look(60), silent_after=None, kept=["a"]).agents) == {"a"}
