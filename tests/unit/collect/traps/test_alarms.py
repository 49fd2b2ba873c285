"""collect.traps_alarms: alarms that traps raise and clear, and those that end by themselves."""

from __future__ import annotations

from hsm_agent.collect.traps.alarms import MOST_ALARMS, Alarms, Happening, Key, Standing
from hsm_agent.collect.traps.maps import Change, Level
from hsm_agent.model import Reading

NOW = 1_700_000_000.0
HOUR = 3600.0
PSU = "192.0.2.1"


def alarms(known: dict[Key, Standing] | None = None) -> Alarms:
    return Alarms(known or {}, clear_after=24 * HOUR, devices={PSU: "luna-a"})


def said(
    alarm: str = "fan",
    level: Level = Level.WARNING,
    *,
    component: str = "",
    at: float = NOW,
    address: str = PSU,
    ends: bool = False,
    clear_after: float | None = None,
) -> Happening:
    change = Change(
        alarm=alarm, component=component, level=level, note=f"{alarm} trap", ends=ends, clear_after=clear_after
    )
    return Happening(address=address, change=change, time=at)


def levels(one: Alarms) -> dict[tuple[str, str], int]:
    """Level by resource and alarm, as the readings say it."""
    readings = [reading for reading in one.readings("traps", NOW) if reading.metric == "vendor_alarm"]
    return {(reading.resource, reading.labels[0][1]): int(reading.value or 0) for reading in readings}


def test_a_trap_raises_and_another_one_clears() -> None:
    one = alarms()

    assert one.apply(said())
    assert levels(one) == {("luna-a", "fan"): 1}
    assert one.apply(said(level=Level.CLEARED))
    assert levels(one) == {("luna-a", "fan"): 0}


def test_readings_carry_the_words_and_the_age() -> None:
    one = alarms()
    one.apply(said(component="PSU 1", at=NOW - 90))
    one.apply(
        Happening(
            address="192.0.2.2", change=Change(alarm="fan", component="", level=Level.CRITICAL, note=""), time=NOW + 5
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
    for happening in (said(component="1"), said(component="2"), said(address="192.0.2.2", component="1")):
        one.apply(happening)

    one.apply(said(level=Level.CLEARED, component="1"))

    assert levels(one) == {("luna-a/1", "fan"): 0, ("luna-a/2", "fan"): 1, ("192.0.2.2/1", "fan"): 1}


def test_an_end_without_a_component_is_the_end_of_all_of_the_device() -> None:
    one = alarms()
    for happening in (said(component="1"), said("disk", component="1"), said(address="192.0.2.2", component="1")):
        one.apply(happening)

    end = said(level=Level.CLEARED)

    assert one.turned(end) == {Key(PSU, "1", "fan")}
    one.apply(end)
    assert levels(one) == {("luna-a/1", "fan"): 0, ("luna-a/1", "disk"): 1, ("192.0.2.2/1", "fan"): 1}


def test_an_end_of_what_was_never_raised_is_known_as_cleared() -> None:
    one = alarms()

    assert one.turned(said(level=Level.CLEARED)) == frozenset()
    one.apply(said(level=Level.CLEARED))
    assert levels(one) == {("luna-a", "fan"): 0}


def test_only_what_changes_the_level_is_a_turn() -> None:
    one = alarms()
    assert one.turned(said()) == {Key(PSU, "", "fan")}

    one.apply(said())

    assert one.turned(said()) == frozenset()
    assert one.turned(said(level=Level.CRITICAL)) == {Key(PSU, "", "fan")}
    assert one.turned(said(level=Level.CLEARED)) == {Key(PSU, "", "fan")}


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
    one.apply(said(level=Level.CLEARED))

    assert one.next_end() is None


def test_there_is_room_for_so_many_and_the_oldest_that_is_over_gives_way() -> None:
    one = alarms()
    for number in range(MOST_ALARMS):
        assert one.apply(said(component=str(number), at=NOW + number))

    assert not one.apply(said(component="more"))
    one.apply(said(level=Level.CLEARED, component="8", at=NOW + 9999))
    one.apply(said(level=Level.CLEARED, component="7", at=NOW + 9998))
    assert one.apply(said(component="more"))
    assert len(one.known) == MOST_ALARMS
    assert Key(PSU, "7", "fan") not in one.known
    assert one.apply(said(component="5", at=NOW + 1)), "what is known needs no room"


def test_an_operator_ends_one_alarm_of_one_resource() -> None:
    one = alarms()
    for happening in (said(ends=True), said("disk"), said(component="1")):
        one.apply(happening)

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
