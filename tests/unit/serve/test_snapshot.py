from __future__ import annotations

import pytest

from hsm_agent.model import SourceStatus
from hsm_agent.serve.snapshot import missing, value_now
from hsm_agent.store import Store
from tests.fakes.present import MONOTONIC, NOW, known_snapshot, known_store, make_reading, snapshot_of


def test_a_snapshot_stays_as_it_was_when_the_store_goes_on() -> None:
    store = known_store()
    before = snapshot_of(store)
    readings, sources, alarms = tuple(before.readings), dict(before.sources), tuple(before.alarms)

    store.update([make_reading("token_objects", 5)])
    store.forget_source("soft")
    store.set_alarms({})
    store.labels = {}

    assert tuple(before.readings) == readings
    assert dict(before.sources) == sources
    assert tuple(before.alarms) == alarms
    assert "luna-a" in before.labels


def test_the_age_of_a_source_is_counted_up_to_now() -> None:
    age = make_reading("source_age_seconds", 0.5, resource="")

    assert value_now(age, known_snapshot()) == 12.5


def test_the_age_of_a_source_that_never_answered_grows_from_its_last_reading() -> None:
    age = make_reading("source_age_seconds", 600.0, source="soft", resource="")

    assert value_now(age, known_snapshot()) == 630.0


def test_no_age_is_invented_where_there_is_none() -> None:
    assert value_now(make_reading("source_age_seconds", None, resource=""), known_snapshot()) is None


def test_other_readings_are_what_they_are() -> None:
    assert value_now(make_reading("token_sessions", 3), known_snapshot()) == 3


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        pytest.param({}, ["source a: not polled yet"], id="nothing is known of it"),
        pytest.param({"a": None}, ["source a: not polled yet"], id="known, not polled"),
        pytest.param({"a": 0.5}, [], id="polled"),
        pytest.param({"b": 0.5}, ["source a: not polled yet"], id="another one polled"),
    ],
)
def test_a_source_is_missing_until_its_first_poll_whatever_its_outcome(
    sources: dict[str, float | None], expected: list[str]
) -> None:
    store = Store(agent_name="a", started=NOW, labels={})
    store.sources = {
        name: SourceStatus(name=name, kind="pkcs11", every=60, last_poll_seconds=seconds)
        for name, seconds in sources.items()
    }

    assert missing(store, ["a"]) == expected


def test_the_known_moment_is_on_both_clocks() -> None:
    present = known_snapshot()

    assert (present.now, present.monotonic) == (NOW, MONOTONIC)
