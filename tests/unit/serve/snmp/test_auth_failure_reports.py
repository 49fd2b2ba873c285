"""Failed authentications are told once a minute and sender, and never by the flood."""

from __future__ import annotations

from hsm_agent.serve.snmp.responder import MOST_SENDERS, AuthFailureReports
from tests.fakes.snmp_present import Clock


def reports(clock: Clock) -> tuple[AuthFailureReports, list[str]]:
    told: list[str] = []
    return AuthFailureReports(told.append, lambda: clock.monotonic), told


def test_a_sender_is_told_of_once_a_minute() -> None:
    clock = Clock()
    failures, told = reports(clock)

    for seconds in (0, 30, 29.9, 0.1, 59):
        clock.move(seconds)
        failures.note("192.0.2.1")

    assert told == ["192.0.2.1", "192.0.2.1"]


def test_senders_do_not_hide_each_other() -> None:
    failures, told = reports(Clock())

    failures.note("192.0.2.1")
    failures.note("192.0.2.2")

    assert told == ["192.0.2.1", "192.0.2.2"]


def test_forged_senders_are_not_told_without_end() -> None:
    clock = Clock()
    failures, told = reports(clock)

    for number in range(1000):
        failures.note(f"2001:db8::{number:x}")
    assert len(told) == MOST_SENDERS

    clock.move(60)
    failures.note("192.0.2.1")
    assert told[-1] == "192.0.2.1"
