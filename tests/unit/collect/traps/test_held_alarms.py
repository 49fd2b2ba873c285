"""Alarms that traps raise and clear, and those that end by themselves."""

from __future__ import annotations

import pytest

from hsm_agent.collect.traps.held_alarms import (
    MOST_ALARMS,
    MOST_ALARMS_EACH,
    AlarmKey,
    AlarmRecord,
    ApplyResult,
    SentAt,
    TrapAlarms,
    TrapEvent,
)
from hsm_agent.collect.traps.trap_maps import AlarmChange, AlarmLevel
from hsm_agent.model import Reading

NOW = 1_700_000_000.0
HOUR = 3600.0
PSU = "192.0.2.1"


def alarms(known: dict[AlarmKey, AlarmRecord] | None = None) -> TrapAlarms:
    return TrapAlarms(known or {}, clear_after_seconds=24 * HOUR, devices={PSU: "luna-a"})


def said(
    alarm: str = "fan",
    level: AlarmLevel = AlarmLevel.WARNING,
    *,
    component: str = "",
    at: float = NOW,
    address: str = PSU,
    ends: bool = False,
    clear_after: float | None = None,
    authentic: bool = False,
    sent: SentAt | None = None,
) -> TrapEvent:
    change = AlarmChange(
        alarm=alarm, component=component, level=level, note=f"{alarm} trap", ends=ends, clear_after_seconds=clear_after
    )
    return TrapEvent(address=address, change=change, time=at, authentic=authentic, sent=sent)


def levels(one: TrapAlarms) -> dict[tuple[str, str], int]:
    """AlarmLevel by resource and alarm, as the readings say it."""
    readings = [reading for reading in one.readings("traps", NOW) if reading.metric == "vendor_alarm"]
    return {(reading.resource, reading.labels[0][1]): int(reading.value or 0) for reading in readings}


def test_a_trap_raises_and_another_one_clears() -> None:
    one = alarms()

    assert one.apply(said()) is ApplyResult.APPLIED
    assert levels(one) == {("luna-a", "fan"): 1}
    assert one.apply(said(level=AlarmLevel.CLEARED)) is ApplyResult.APPLIED
    assert levels(one) == {("luna-a", "fan"): 0}


def test_readings_carry_the_words_and_the_age() -> None:
    one = alarms()
    one.apply(said(component="PSU 1", at=NOW - 90))
    one.apply(
        TrapEvent(
            address="192.0.2.2",
            change=AlarmChange(alarm="fan", component="", level=AlarmLevel.CRITICAL, note=""),
            time=NOW + 5,
        )
    )

    labels = (("alarm", "fan"),)
    age = "vendor_alarm_age_seconds"
    assert one.readings("t", NOW) == [
        Reading(source="t", resource="luna-a/PSU 1", metric="vendor_alarm", value=1, time=NOW, labels=labels, note="fan: fan trap"),
        Reading(source="t", resource="luna-a/PSU 1", metric=age, value=90.0, time=NOW, labels=labels),
        Reading(source="t", resource="192.0.2.2", metric="vendor_alarm", value=2, time=NOW, labels=labels, note="fan"),
        Reading(source="t", resource="192.0.2.2", metric=age, value=0.0, time=NOW, labels=labels),
    ]  # fmt: skip


def test_devices_and_components_do_not_clear_each_other() -> None:
    one = alarms()
    for event in (said(component="1"), said(component="2"), said(address="192.0.2.2", component="1")):
        one.apply(event)

    one.apply(said(level=AlarmLevel.CLEARED, component="1"))

    assert levels(one) == {("luna-a/1", "fan"): 0, ("luna-a/2", "fan"): 1, ("192.0.2.2/1", "fan"): 1}


def test_an_end_without_a_component_is_the_end_of_all_of_the_device() -> None:
    one = alarms()
    for event in (said(component="1"), said("disk", component="1"), said(address="192.0.2.2", component="1")):
        one.apply(event)

    end = said(level=AlarmLevel.CLEARED)

    assert one.changed_by(end) == {AlarmKey(PSU, "1", "fan")}
    one.apply(end)
    assert levels(one) == {("luna-a/1", "fan"): 0, ("luna-a/1", "disk"): 1, ("192.0.2.2/1", "fan"): 1}


def test_an_end_of_what_was_never_raised_is_known_as_cleared() -> None:
    one = alarms()

    assert one.changed_by(said(level=AlarmLevel.CLEARED)) == frozenset()
    one.apply(said(level=AlarmLevel.CLEARED))
    assert levels(one) == {("luna-a", "fan"): 0}


def test_only_what_changes_the_level_is_a_turn() -> None:
    one = alarms()
    assert one.changed_by(said()) == {AlarmKey(PSU, "", "fan")}

    one.apply(said())

    assert one.changed_by(said()) == frozenset()
    assert one.changed_by(said(level=AlarmLevel.CRITICAL)) == {AlarmKey(PSU, "", "fan")}
    assert one.changed_by(said(level=AlarmLevel.CLEARED)) == {AlarmKey(PSU, "", "fan")}


def test_what_has_no_end_of_its_own_ends_after_its_time_counted_from_the_last_trap() -> None:
    one = alarms()
    one.apply(said("disk", ends=True))
    one.apply(said("ntls", ends=True, clear_after=HOUR))
    one.apply(said("fan"))
    assert one.next_end() == NOW + HOUR

    one.apply(said("ntls", ends=True, clear_after=HOUR, at=NOW + 600))
    assert not one.expire(NOW + HOUR)
    assert one.expire(NOW + HOUR + 600)
    assert levels(one) == {("luna-a", "disk"): 1, ("luna-a", "ntls"): 0, ("luna-a", "fan"): 1}
    assert one.next_end() == NOW + 24 * HOUR
    assert one.expire(NOW + 24 * HOUR)
    assert one.next_end() is None
    assert levels(one) == {("luna-a", "disk"): 0, ("luna-a", "ntls"): 0, ("luna-a", "fan"): 1}


def test_an_end_takes_the_time_to_end_away() -> None:
    one = alarms()
    one.apply(said(ends=True))
    one.apply(said(level=AlarmLevel.CLEARED))

    assert one.next_end() is None


def fill(one: TrapAlarms, count: int, *, address: str = PSU, level: AlarmLevel = AlarmLevel.WARNING) -> None:
    for number in range(count):
        assert (
            one.apply(said(component=str(number), at=NOW + number, address=address, level=level)) is ApplyResult.APPLIED
        )


def test_one_sender_fills_its_own_share_and_no_more() -> None:
    one = alarms()
    fill(one, MOST_ALARMS_EACH)

    assert one.apply(said(component="more")) is ApplyResult.FULL
    assert one.apply(said(component="more", address="192.0.2.2")) is ApplyResult.APPLIED
    assert one.apply(said(component="5", at=NOW + 1)) is ApplyResult.APPLIED, "what is known needs no room"
    assert len(one.known) == MOST_ALARMS_EACH + 1


def test_the_oldest_of_a_sender_that_is_over_gives_way() -> None:
    one = alarms()
    fill(one, MOST_ALARMS_EACH)
    one.apply(said(level=AlarmLevel.CLEARED, component="8", at=NOW + 9999))
    one.apply(said(level=AlarmLevel.CLEARED, component="7", at=NOW + 9998))

    assert one.apply(said(component="more")) is ApplyResult.APPLIED
    assert AlarmKey(PSU, "7", "fan") not in one.known
    assert one.evicted == {}


def test_a_critical_one_takes_the_place_of_its_senders_oldest_warning_which_is_then_unknown() -> None:
    one = alarms()
    fill(one, MOST_ALARMS_EACH)

    assert one.apply(said("disk", AlarmLevel.CRITICAL)) is ApplyResult.APPLIED

    assert len(one.known) == MOST_ALARMS_EACH
    assert one.evicted == {AlarmKey(PSU, "0", "fan"): None}
    (unknown,) = [r for r in one.readings("traps", NOW) if r.value is None]
    assert (unknown.resource, unknown.labels) == ("luna-a/0", (("alarm", "fan"),))
    assert "gave way to others" in unknown.reason


def full_table() -> TrapAlarms:
    """Four senders share it; the first has what it may have, as the others, one of them critical ones."""
    one = alarms()
    for number in range(2, 6):
        level = AlarmLevel.CRITICAL if number == 2 else AlarmLevel.WARNING
        fill(one, MOST_ALARMS // 4, address=f"192.0.2.{number}", level=level)
    assert len(one.known) == MOST_ALARMS
    return one


@pytest.mark.parametrize("level", [AlarmLevel.WARNING, AlarmLevel.CRITICAL])
def test_in_a_full_table_one_that_says_little_is_heard_in_place_of_a_warning(level: AlarmLevel) -> None:
    one = full_table()

    assert one.apply(said("disk", level)) is ApplyResult.APPLIED
    assert one.known[AlarmKey(PSU, "", "disk")].level is level
    assert list(one.evicted) == [AlarmKey("192.0.2.3", "0", "fan")]
    assert len(one.known) == MOST_ALARMS


def test_a_critical_one_gives_way_to_one_that_is_as_bad_and_of_a_sender_that_says_less() -> None:
    one = alarms()
    for number in range(2, 6):
        fill(one, MOST_ALARMS // 4, address=f"192.0.2.{number}", level=AlarmLevel.CRITICAL)

    assert one.apply(said("disk")) is ApplyResult.FULL
    assert one.apply(said("disk", AlarmLevel.CRITICAL)) is ApplyResult.APPLIED
    assert len(one.evicted) == 1


def test_an_authentic_warning_takes_the_place_of_one_that_anybody_may_have_sent() -> None:
    one = alarms()
    fill(one, MOST_ALARMS_EACH - 1)
    assert one.apply(said("disk", authentic=True, at=NOW - 9)) is ApplyResult.APPLIED

    assert one.apply(said("ntls", authentic=True)) is ApplyResult.APPLIED
    assert AlarmKey(PSU, "", "disk") in one.known
    assert list(one.evicted) == [AlarmKey(PSU, "0", "fan")]


def test_what_was_pushed_out_is_known_again_when_its_sender_says_it_again() -> None:
    one = alarms()
    fill(one, MOST_ALARMS_EACH)
    one.apply(said("disk", AlarmLevel.CRITICAL))
    assert one.apply(said(level=AlarmLevel.CLEARED, component="0")) is ApplyResult.FULL, "there is no room to say so"
    one.apply(said("disk", AlarmLevel.CLEARED))

    assert one.apply(said(level=AlarmLevel.CLEARED, component="0")) is ApplyResult.APPLIED
    assert one.evicted == {}


def test_the_end_of_what_was_never_raised_needs_no_room() -> None:
    one = alarms()
    fill(one, MOST_ALARMS_EACH)

    assert one.apply(said("psu", level=AlarmLevel.CLEARED)) is ApplyResult.APPLIED
    assert len(one.known) == MOST_ALARMS_EACH


def test_what_was_pushed_out_is_bounded() -> None:
    one = alarms()
    for number in range(MOST_ALARMS + 300):
        one.apply(said("disk", AlarmLevel.CRITICAL, component=str(number), at=NOW + number))
        one.apply(said("disk", AlarmLevel.CLEARED, component=str(number), at=NOW + number))
        fill(one, MOST_ALARMS_EACH - len(one.known))
        one.apply(said("psu", component=str(number), at=NOW))

    assert len(one.known) <= MOST_ALARMS_EACH
    assert len(one.evicted) <= MOST_ALARMS


def test_what_was_sent_before_what_is_known_changes_nothing() -> None:
    one = alarms()
    one.apply(said(sent=SentAt("80aa", 3, 1000)))

    assert one.apply(said(level=AlarmLevel.CLEARED, sent=SentAt("80aa", 3, 999))) is ApplyResult.OUTDATED
    assert one.apply(said(level=AlarmLevel.CLEARED, sent=SentAt("80aa", 2, 9000))) is ApplyResult.OUTDATED
    assert levels(one) == {("luna-a", "fan"): 1}
    assert one.apply(said(level=AlarmLevel.CLEARED, sent=SentAt("80bb", 1, 1))) is ApplyResult.APPLIED, (
        "another engine's clock"
    )
    one.apply(said(sent=SentAt("80aa", 3, 1000)))
    assert one.apply(said(level=AlarmLevel.CLEARED, sent=SentAt("80aa", 3, 1000))) is ApplyResult.APPLIED, (
        "within the same second"
    )
    assert one.apply(said(level=AlarmLevel.CRITICAL, sent=SentAt("80aa", 3, 900))) is ApplyResult.OUTDATED
    assert levels(one) == {("luna-a", "fan"): 0}


def test_an_end_of_all_of_a_device_spares_what_was_raised_after_it() -> None:
    one = alarms()
    one.apply(said(component="1", sent=SentAt("80aa", 3, 100)))
    one.apply(said(component="2", sent=SentAt("80aa", 3, 300)))

    assert one.apply(said(level=AlarmLevel.CLEARED, sent=SentAt("80aa", 3, 200))) is ApplyResult.APPLIED
    assert levels(one) == {("luna-a/1", "fan"): 0, ("luna-a/2", "fan"): 1}


def test_an_operator_ends_one_alarm_of_one_resource() -> None:
    one = alarms()
    for event in (said(ends=True), said("disk"), said(component="1")):
        one.apply(event)

    assert not one.end("192.0.2.1", "fan")
    assert one.end("luna-a", "fan")
    assert levels(one) == {("luna-a", "fan"): 0, ("luna-a", "disk"): 1, ("luna-a/1", "fan"): 1}
    assert one.next_end() is None


def test_what_left_the_configuration_is_dropped() -> None:
    one = alarms()
    one.apply(said())
    one.apply(said("disk"))

    assert one.keep_only(lambda key: key.alarm == "disk")
    assert not one.keep_only(lambda key: key.alarm == "disk")

    assert levels(one) == {("luna-a", "disk"): 1}
