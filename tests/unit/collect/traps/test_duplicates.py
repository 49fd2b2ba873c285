"""What was received before is known again, within bounds, also after a restart."""

from __future__ import annotations

from hsm_agent.collect.traps.duplicates import (
    INFORM_SECONDS,
    MOST_INFORMS,
    MOST_INFORMS_EACH,
    MOST_MESSAGES_EACH,
    DuplicateFilter,
    InformKey,
    KnownNotifications,
    TrapProgress,
)
from hsm_agent.wire.snmp.pdu import Version
from hsm_agent.wire.snmp.trap_receiver import Trap, TrapOrigin

NOW = 1_700_000_000.0
ENGINE = b"\x80appliance"
PSU = "192.0.2.1"


def inform(request_id: int = 1, content: bytes = b"words", origin: TrapOrigin | None = None) -> Trap:
    version = Version.V2C if origin is None else Version.V3
    return Trap((1, 3), (1, 3), (), version, True, request_id, content, origin)


def trap(number: int = 0, *, boots: int = 3, time: int = 1000, engine: bytes = ENGINE) -> Trap:
    origin = TrapOrigin(engine, boots, time, number.to_bytes(2, "big"))
    return Trap((1, 3), (1, 3), (), Version.V3, False, number, b"words", origin)


def is_known(duplicates: DuplicateFilter, one: Trap) -> bool:
    assert one.origin is not None
    return duplicates.has_message(one.origin)


def test_an_inform_is_known_by_its_sender_its_number_and_its_words() -> None:
    duplicates = DuplicateFilter()
    duplicates.record(PSU, inform(), NOW, TrapProgress.PENDING)

    assert duplicates.inform_progress(PSU, inform(), NOW + 1) is TrapProgress.PENDING
    assert duplicates.inform_progress("192.0.2.2", inform(), NOW + 1) is None
    assert duplicates.inform_progress(PSU, inform(2), NOW + 1) is None
    assert duplicates.inform_progress(PSU, inform(1, b"other words"), NOW + 1) is None


def test_an_inform_goes_from_waiting_to_taken_to_stored() -> None:
    duplicates = DuplicateFilter()
    duplicates.record(PSU, inform(), NOW, TrapProgress.PENDING)
    assert duplicates.to_store(NOW, ()) == KnownNotifications(), "what waits is lost with the process"

    duplicates.record(PSU, inform(), NOW, TrapProgress.APPLIED)
    kept = duplicates.to_store(NOW, ())
    assert kept.informs == ((InformKey(PSU, 1, b"words"), NOW),)
    assert duplicates.inform_progress(PSU, inform(), NOW) is TrapProgress.APPLIED

    duplicates.record(PSU, inform(2), NOW, TrapProgress.APPLIED)
    duplicates.mark_stored(kept)
    assert duplicates.inform_progress(PSU, inform(), NOW) is TrapProgress.STORED
    assert duplicates.inform_progress(PSU, inform(2), NOW) is TrapProgress.APPLIED
    assert DuplicateFilter(kept).inform_progress(PSU, inform(), NOW) is TrapProgress.STORED


def test_what_left_meanwhile_is_not_stored() -> None:
    duplicates = DuplicateFilter()
    duplicates.record(PSU, inform(), NOW, TrapProgress.APPLIED)
    kept = duplicates.to_store(NOW, ())
    duplicates.forget(PSU, inform())

    duplicates.mark_stored(kept)

    assert duplicates.inform_progress(PSU, inform(), NOW) is None


def test_an_inform_that_is_not_repeated_for_minutes_is_news_again() -> None:
    duplicates = DuplicateFilter()
    duplicates.record(PSU, inform(), NOW, TrapProgress.APPLIED)

    assert duplicates.inform_progress(PSU, inform(), NOW + INFORM_SECONDS - 1) is TrapProgress.APPLIED
    assert duplicates.inform_progress(PSU, inform(), NOW + 2 * INFORM_SECONDS - 2) is TrapProgress.APPLIED, (
        "counted from the last time"
    )
    assert duplicates.inform_progress(PSU, inform(), NOW + 3 * INFORM_SECONDS) is None


def test_a_clock_that_is_set_back_a_little_makes_nothing_news_and_one_set_back_far_keeps_nothing_for_ever() -> None:
    duplicates = DuplicateFilter()
    duplicates.record(PSU, inform(), NOW, TrapProgress.APPLIED)

    assert duplicates.inform_progress(PSU, inform(), NOW - 60) is TrapProgress.APPLIED
    assert duplicates.inform_progress(PSU, inform(), NOW - 86400) is None


def test_one_sender_makes_nobody_forget_another_ones_informs() -> None:
    duplicates = DuplicateFilter()
    duplicates.record("192.0.2.2", inform(), NOW, TrapProgress.APPLIED)
    for number in range(3 * MOST_INFORMS):
        duplicates.record(PSU, inform(number), NOW, TrapProgress.APPLIED)

    assert duplicates.inform_progress("192.0.2.2", inform(), NOW) is TrapProgress.APPLIED
    assert len(duplicates.to_store(NOW, ()).informs) == MOST_INFORMS_EACH + 1


def test_many_senders_together_have_a_bound_and_the_noisiest_forgets_first() -> None:
    duplicates = DuplicateFilter()
    duplicates.record("quiet", inform(), NOW, TrapProgress.APPLIED)
    for number in range(2 * MOST_INFORMS):
        duplicates.record(f"sender {number % 20}", inform(number), NOW, TrapProgress.APPLIED)

    assert duplicates.inform_progress("quiet", inform(), NOW) is TrapProgress.APPLIED
    assert len(duplicates.to_store(NOW, ()).informs) == MOST_INFORMS


def test_a_copy_of_a_message_is_known_and_another_one_of_the_same_second_is_not() -> None:
    duplicates = DuplicateFilter()
    assert not is_known(duplicates, trap())
    duplicates.record(PSU, trap(), NOW, TrapProgress.APPLIED)

    assert is_known(duplicates, trap())
    assert not is_known(duplicates, trap(1))
    assert not is_known(duplicates, trap(engine=b"\x80other"))


def test_messages_are_known_after_a_restart_but_for_those_that_still_waited() -> None:
    duplicates = DuplicateFilter()
    duplicates.record(PSU, trap(1), NOW, TrapProgress.APPLIED)
    duplicates.record(PSU, trap(2), NOW, TrapProgress.PENDING)
    duplicates.record(PSU, trap(3, engine=b"own"), NOW, TrapProgress.APPLIED)

    kept = duplicates.to_store(NOW, (ENGINE, b"\x80never duplicates"))
    after = DuplicateFilter(kept)

    assert kept.messages == (TrapOrigin(ENGINE, 3, 1000, b"\x00\x01"),)
    assert is_known(after, trap(1))
    assert not is_known(after, trap(2))


def test_what_was_not_taken_is_news_when_it_comes_again() -> None:
    duplicates = DuplicateFilter()
    duplicates.forget(PSU, trap())
    duplicates.record(PSU, trap(), NOW, TrapProgress.PENDING)
    duplicates.forget(PSU, trap())

    assert not is_known(duplicates, trap())


def test_only_the_time_window_is_remembered() -> None:
    duplicates = DuplicateFilter()
    duplicates.record(PSU, trap(1, time=1000), NOW, TrapProgress.APPLIED)
    duplicates.record(PSU, trap(2, time=1150), NOW, TrapProgress.APPLIED)
    assert is_known(duplicates, trap(1, time=1000))

    duplicates.record(PSU, trap(3, time=1151), NOW, TrapProgress.APPLIED)
    duplicates.record(PSU, trap(4, time=1100), NOW, TrapProgress.APPLIED)
    assert [key.time for key in duplicates.to_store(NOW, (ENGINE,)).messages] == [1150, 1151, 1100]
    duplicates.record(PSU, trap(5, boots=4, time=0), NOW, TrapProgress.APPLIED)
    assert [key.boots for key in duplicates.to_store(NOW, (ENGINE,)).messages] == [4]


def test_an_engine_that_says_too_much_to_remember_is_heard_no_more_of_what_is_older() -> None:
    duplicates = DuplicateFilter()
    for number in range(MOST_MESSAGES_EACH + 1):
        duplicates.record(PSU, trap(number, time=1000 + number // 10), NOW, TrapProgress.APPLIED)

    assert len(duplicates.to_store(NOW, (ENGINE,)).messages) == MOST_MESSAGES_EACH
    assert is_known(duplicates, trap(0, time=1000)), "forgotten, so taken for duplicates"
    assert is_known(duplicates, trap(9999, time=1000))
    assert not is_known(duplicates, trap(9999, time=1001))
