from __future__ import annotations

from dataclasses import replace

from hsm_agent.model import SourceStatus
from hsm_agent.store import Store
from tests.fakes.present import make_alarm, make_reading


def make_store() -> Store:
    return Store(agent_name="a", started=0.0, labels={})


def test_a_reading_replaces_the_one_of_its_series() -> None:
    store = make_store()

    store.update([make_reading("token_sessions", 1), make_reading("token_objects", 5)])
    store.update([make_reading("token_sessions", 2)])

    assert [(reading.metric, reading.value) for reading in store.readings()] == [
        ("token_sessions", 2),
        ("token_objects", 5),
    ]


def test_readings_that_differ_in_a_label_stand_side_by_side() -> None:
    store = make_store()

    store.update([make_reading("token_login_attempts_left", 3, labels=(("role", role),)) for role in ("so", "user")])

    assert len(list(store.readings())) == 2


def test_new_content_of_an_info_replaces_the_old() -> None:
    store = make_store()

    store.update([make_reading("hsm_firmware_info", 1, labels=(("version", "7.7.0"),))])
    store.update([make_reading("hsm_firmware_info", 1, labels=(("version", "7.8.4"),))])

    assert [reading.labels for reading in store.readings()] == [(("version", "7.8.4"),)]


def test_what_became_unavailable_is_kept_as_that() -> None:
    store = make_store()

    store.update([make_reading("token_sessions", 1)])
    store.update([make_reading("token_sessions", None)])

    (reading,) = store.readings()
    assert reading.value is None
    assert reading.reason


def test_the_version_of_a_source_rises_with_each_update_and_no_other_does() -> None:
    store = make_store()

    store.update([make_reading("token_sessions", 1), make_reading("token_objects", 1)])
    store.update([make_reading("token_sessions", 1, source="soft")])
    store.update([make_reading("token_sessions", 2)])
    store.update([])

    assert store.versions == {"luna-a": 2, "soft": 1}


def test_a_forgotten_series_is_gone_and_the_version_tells_so() -> None:
    store = make_store()
    reading = make_reading("token_sessions", 1)
    store.update([reading])

    store.forget(reading.series)
    store.forget(reading.series)
    store.forget(("nobody", "", "source_up", ()))

    assert list(store.readings()) == []
    assert store.versions == {"luna-a": 2}


def test_of_a_forgotten_resource_nothing_is_left_and_others_stay() -> None:
    store = make_store()
    store.update([make_reading("token_sessions", 1), make_reading("token_objects", 1), make_reading("source_up", 1)])
    resource = make_reading("token_sessions", 1).resource

    store.forget_resource("luna-a", resource)

    assert resource not in {reading.resource for reading in store.readings()}
    assert store.versions["luna-a"] > 1


def test_a_forgotten_source_leaves_nothing_but_a_newer_version() -> None:
    store = make_store()
    store.update([make_reading("token_sessions", 1), make_reading("token_sessions", 1, source="soft")])
    store.sources["soft"] = SourceStatus(name="soft", kind="pkcs11", every_seconds=60)

    store.forget_source("soft")

    assert [reading.source for reading in store.readings()] == ["luna-a"]
    assert store.of_source("soft") == {}
    assert store.sources == {}
    assert store.versions["soft"] == 2


def test_readings_of_a_source_are_in_order_of_first_appearance() -> None:
    store = make_store()
    store.update([make_reading("b", 1), make_reading("a", 1)])
    store.update([make_reading("a", 2), make_reading("c", 2), make_reading("b", 2)])

    assert [reading.metric for reading in store.of_source("luna-a").values()] == ["b", "a", "c"]


def test_one_reading_is_found_by_its_place() -> None:
    store = make_store()
    first = make_reading("ha_member_up", 1, labels=(("member", "a"),))
    store.update([first, make_reading("ha_member_up", 0, labels=(("member", "b"),))])

    assert store.reading("luna-a", "payments", "ha_member_up") == first
    assert store.reading("luna-a", "elsewhere", "ha_member_up") is None
    assert store.reading("luna-a", "payments", "token_sessions") is None
    assert store.reading("soft", "payments", "ha_member_up") is None


def test_alarms_are_replaced_whole_by_a_copy() -> None:
    store = make_store()
    one, two = make_alarm(resource="a"), make_alarm(resource="b")
    given = {(one.rule, one.series): one}

    store.set_alarms(given)
    given[(two.rule, two.series)] = two

    assert list(store.alarms.values()) == [one]
    store.set_alarms({(two.rule, two.series): replace(two, silenced=True)})
    assert [alarm.silenced for alarm in store.alarms.values()] == [True]
