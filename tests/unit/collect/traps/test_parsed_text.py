"""collect.traps.heard: what was heard is known again, within bounds, also after a restart."""

from __future__ import annotations

from hsm_agent.collect.traps.parsed_text import (
    INFORM_SECONDS,
    MOST_INFORMS,
    MOST_INFORMS_EACH,
    MOST_MESSAGES_EACH,
    Heard,
    InformKey,
    Kept,
    MessageKey,
    Place,
)
from hsm_agent.wire.snmp.pdu import Version
from hsm_agent.wire.snmp.trap import Origin, Trap

NOW = 1_700_000_000.0
ENGINE = b"\x80appliance"
PSU = "192.0.2.1"


def inform(request_id: int = 1, content: bytes = b"words", origin: Origin | None = None) -> Trap:
    version = Version.V2C if origin is None else Version.V3
    return Trap((1, 3), (1, 3), (), version, True, request_id, content, origin)


def trap(number: int = 0, *, boots: int = 3, time: int = 1000, engine: bytes = ENGINE) -> Trap:
    origin = Origin(engine, boots, time, number.to_bytes(2, "big"))
    return Trap((1, 3), (1, 3), (), Version.V3, False, number, b"words", origin)


def is_known(heard: Heard, one: Trap) -> bool:
    assert one.origin is not None
    return heard.message(one.origin)


def test_an_inform_is_known_by_its_sender_its_number_and_its_words() -> None:
    heard = Heard()
    heard.note(PSU, inform(), NOW, Place.WAITING)

    assert heard.inform(PSU, inform(), NOW + 1) is Place.WAITING
    assert heard.inform("192.0.2.2", inform(), NOW + 1) is None
    assert heard.inform(PSU, inform(2), NOW + 1) is None
    assert heard.inform(PSU, inform(1, b"other words"), NOW + 1) is None


def test_an_inform_goes_from_waiting_to_taken_to_stored() -> None:
    heard = Heard()
    heard.note(PSU, inform(), NOW, Place.WAITING)
    assert heard.kept(NOW, ()) == Kept(), "what waits is lost with the process"

    heard.note(PSU, inform(), NOW, Place.TAKEN)
    kept = heard.kept(NOW, ())
    assert kept.informs == ((InformKey(PSU, 1, b"words"), NOW),)
    assert heard.inform(PSU, inform(), NOW) is Place.TAKEN

    heard.note(PSU, inform(2), NOW, Place.TAKEN)
    heard.store(kept)
    assert heard.inform(PSU, inform(), NOW) is Place.STORED
    assert heard.inform(PSU, inform(2), NOW) is Place.TAKEN
    assert Heard(kept).inform(PSU, inform(), NOW) is Place.STORED


def test_what_left_meanwhile_is_not_stored() -> None:
    heard = Heard()
    heard.note(PSU, inform(), NOW, Place.TAKEN)
    kept = heard.kept(NOW, ())
    heard.forget(PSU, inform())

    heard.store(kept)

    assert heard.inform(PSU, inform(), NOW) is None


def test_an_inform_that_is_not_repeated_for_minutes_is_news_again() -> None:
    heard = Heard()
    heard.note(PSU, inform(), NOW, Place.TAKEN)

    assert heard.inform(PSU, inform(), NOW + INFORM_SECONDS - 1) is Place.TAKEN
    assert heard.inform(PSU, inform(), NOW + 2 * INFORM_SECONDS - 2) is Place.TAKEN, "counted from the last time"
    assert heard.inform(PSU, inform(), NOW + 3 * INFORM_SECONDS) is None


def test_a_clock_that_is_set_back_a_little_makes_nothing_news_and_one_set_back_far_keeps_nothing_for_ever() -> None:
    heard = Heard()
    heard.note(PSU, inform(), NOW, Place.TAKEN)

    assert heard.inform(PSU, inform(), NOW - 60) is Place.TAKEN
    assert heard.inform(PSU, inform(), NOW - 86400) is None


def test_one_sender_makes_nobody_forget_another_ones_informs() -> None:
    heard = Heard()
    heard.note("192.0.2.2", inform(), NOW, Place.TAKEN)
    for number in range(3 * MOST_INFORMS):
        heard.note(PSU, inform(number), NOW, Place.TAKEN)

    assert heard.inform("192.0.2.2", inform(), NOW) is Place.TAKEN
    assert len(heard.kept(NOW, ()).informs) == MOST_INFORMS_EACH + 1


def test_many_senders_together_have_a_bound_and_the_noisiest_forgets_first() -> None:
    heard = Heard()
    heard.note("quiet", inform(), NOW, Place.TAKEN)
    for number in range(2 * MOST_INFORMS):
        heard.note(f"sender {number % 20}", inform(number), NOW, Place.TAKEN)

    assert heard.inform("quiet", inform(), NOW) is Place.TAKEN
    assert len(heard.kept(NOW, ()).informs) == MOST_INFORMS


def test_a_copy_of_a_message_is_known_and_another_one_of_the_same_second_is_not() -> None:
    heard = Heard()
    assert not is_known(heard, trap())
    heard.note(PSU, trap(), NOW, Place.TAKEN)

    assert is_known(heard, trap())
    assert not is_known(heard, trap(1))
    assert not is_known(heard, trap(engine=b"\x80other"))


def test_messages_are_known_after_a_restart_but_for_those_that_still_waited() -> None:
    heard = Heard()
    heard.note(PSU, trap(1), NOW, Place.TAKEN)
    heard.note(PSU, trap(2), NOW, Place.WAITING)
    heard.note(PSU, trap(3, engine=b"own"), NOW, Place.TAKEN)

    kept = heard.kept(NOW, (ENGINE, b"\x80never heard"))
    after = Heard(kept)

    assert kept.messages == (MessageKey(ENGINE, 3, 1000, b"\x00\x01"),)
    assert is_known(after, trap(1))
    assert not is_known(after, trap(2))


def test_what_was_not_taken_is_news_when_it_comes_again() -> None:
    heard = Heard()
    heard.forget(PSU, trap())
    heard.note(PSU, trap(), NOW, Place.WAITING)
    heard.forget(PSU, trap())

    assert not is_known(heard, trap())


def test_only_the_time_window_is_remembered() -> None:
    heard = Heard()
    heard.note(PSU, trap(1, time=1000), NOW, Place.TAKEN)
    heard.note(PSU, trap(2, time=1150), NOW, Place.TAKEN)
    assert is_known(heard, trap(1, time=1000))

    heard.note(PSU, trap(3, time=1151), NOW, Place.TAKEN)
    heard.note(PSU, trap(4, time=1100), NOW, Place.TAKEN)
    assert [key.time for key in heard.kept(NOW, (ENGINE,)).messages] == [1150, 1151, 1100]
    heard.note(PSU, trap(5, boots=4, time=0), NOW, Place.TAKEN)
    assert [key.boots for key in heard.kept(NOW, (ENGINE,)).messages] == [4]


def test_an_engine_that_says_too_much_to_remember_is_heard_no_more_of_what_is_older() -> None:
    heard = Heard()
    for number in range(MOST_MESSAGES_EACH + 1):
        heard.note(PSU, trap(number, time=1000 + number // 10), NOW, Place.TAKEN)

    assert len(heard.kept(NOW, (ENGINE,)).messages) == MOST_MESSAGES_EACH
    assert is_known(heard, trap(0, time=1000)), "forgotten, so taken for heard"
    assert is_known(heard, trap(9999, time=1000))
    assert not is_known(heard, trap(9999, time=1001))
