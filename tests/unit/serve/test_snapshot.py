"""What is copied for the servers, and how a token and its PINs are."""

from __future__ import annotations

import pytest

from hsm_agent.model import KnownObject, SourceStatus
from hsm_agent.serve.snapshot import PinStatus, TokenStatus, missing, objects_of, pin_status, token_status, value_now
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
        name: SourceStatus(name=name, kind="pkcs11", every_seconds=60, last_poll_seconds=seconds)
        for name, seconds in sources.items()
    }

    assert missing(store, ["a"]) == expected


def test_the_known_moment_is_on_both_clocks() -> None:
    present = known_snapshot()

    assert (present.now, present.monotonic) == (NOW, MONOTONIC)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"token_present": 1, "token_initialized": 1}, TokenStatus.PRESENT),
        ({"token_present": 1}, TokenStatus.PRESENT),
        ({"token_present": 0, "token_initialized": 0}, TokenStatus.ABSENT),
        ({"token_present": 1, "token_initialized": 0}, TokenStatus.UNINITIALIZED),
        ({"token_present": None}, TokenStatus.FAILED),
        ({"token_initialized": None}, TokenStatus.FAILED),
        ({"token_present": 1, "token_info": 1}, TokenStatus.PRESENT),
        ({"token_present": 1, "token_info": None}, TokenStatus.FAILED),
        ({"token_storage_used_percent": 50.0, "token_info": 1}, TokenStatus.PRESENT),
        ({"token_storage_used_percent": None, "token_activated": 0}, TokenStatus.PRESENT),
        ({"token_storage_used_percent": None, "token_info": None}, TokenStatus.UNKNOWN),
        ({}, TokenStatus.UNKNOWN),
    ],
)
def test_a_token_is_what_its_readings_say(values: dict[str, float | None], status: TokenStatus) -> None:
    assert token_status(values.get, values, is_down=False) is status
    assert token_status(values.get, values, is_down=True) is TokenStatus.UNKNOWN


@pytest.mark.parametrize("pin", ["token_pin", "token_so_pin"])
def test_a_pin_is_what_its_worst_flag_says(pin: str) -> None:
    def said(**flags: float | None) -> PinStatus:
        return pin_status({f"{pin}_{name}": flag for name, flag in flags.items()}.get, pin)

    assert said() is PinStatus.UNKNOWN
    assert said(locked=None, final_try=None) is PinStatus.UNKNOWN
    assert said(locked=0, final_try=0, count_low=0) is PinStatus.OK
    assert said(locked=0, final_try=0, count_low=1) is PinStatus.COUNT_LOW
    assert said(locked=0, final_try=1, count_low=1) is PinStatus.FINAL_TRY
    assert said(locked=1, final_try=1, count_low=1) is PinStatus.LOCKED


def test_tokens_and_audit_stores_are_what_a_restart_remembers() -> None:
    labels = (("label", "keys"), ("serial", "7"))
    readings = [
        make_reading("source_up", 1, resource=""),
        make_reading("token_present", 1, resource="keys"),
        make_reading("token_info", None, resource="keys", labels=labels),
        make_reading("token_initialized", 0, resource="slot 4"),
        make_reading("token_storage_used_percent", None, resource="part"),
        make_reading("audit_records", 0, resource="153123"),
        make_reading("sensor_celsius", 40, resource="rack"),
    ]

    assert list(objects_of(readings).values()) == [
        KnownObject(source="luna-a", resource="keys", identity=labels),
        KnownObject(source="luna-a", resource="part", identity=()),
        KnownObject(source="luna-a", resource="153123", is_audited=True),
    ]
