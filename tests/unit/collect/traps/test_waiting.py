"""collect.traps.waiting: a queue for each sender, and room for so much."""

from __future__ import annotations

from hsm_agent.collect.traps.held_alarms import Happening
from hsm_agent.collect.traps.parsed_text import Heard, Place
from hsm_agent.collect.traps.trap_maps import Change, Level
from hsm_agent.collect.traps.waiting import MOST_WAITING, MOST_WAITING_EACH, Notice, WaitingRoom
from hsm_agent.wire.snmp.pdu import Version
from hsm_agent.wire.snmp.trap import Trap

NOW = 1_700_000_000.0


def notice(sender: str, *, changes: int = 1, heard: Heard | None = None) -> Notice:
    change = Change(alarm="fan", component="", level=Level.WARNING, note="")
    inform = Trap((1, 3), (1, 3), (), Version.V2C, True, 7, b"words")
    return Notice(sender, inform, (Happening(address=sender, change=change, time=NOW),) * changes, heard or Heard())


def filled(count: int, senders: int) -> WaitingRoom:
    room = WaitingRoom()
    for number in range(count):
        assert room.enter(notice(f"sender {number % senders}")) is None
    return room


def test_each_sender_is_heard_in_its_own_order() -> None:
    room, said = WaitingRoom(), [notice("a"), notice("b"), notice("a")]
    for one in said:
        assert room.enter(one) is None

    assert (len(room), room.senders(), list(room)) == (3, ["a", "b"], [said[0], said[2], said[1]])
    assert room.first("a") is room.leave("a") is said[0]
    assert room.first("a") is said[2]
    room.leave("b")
    assert (room.senders(), room.first("b")) == (["a"], None)


def test_who_has_said_all_comes_last_the_next_time() -> None:
    room = filled(2, 2)
    room.leave("sender 0")
    room.enter(notice("sender 0"))

    assert room.senders() == ["sender 1", "sender 0"]


def test_one_sender_has_room_for_so_many_changes() -> None:
    room = WaitingRoom()
    for _ in range(MOST_WAITING_EACH // 2):
        room.enter(notice("a", changes=2))

    more = notice("a")
    assert room.enter(more) is more
    assert room.enter(notice("b")) is None


def test_many_that_flood_do_not_keep_out_who_says_little() -> None:
    room = filled(MOST_WAITING, 4)
    last = list(room)[MOST_WAITING_EACH - 1]
    quiet, loud = notice("quiet"), notice("sender 1")

    assert room.enter(quiet) is last
    assert room.first("quiet") is quiet
    assert room.enter(loud) is loud
    assert len(room) == MOST_WAITING


def test_a_full_room_has_no_place_for_one_that_says_as_much_as_all_the_others() -> None:
    room = filled(MOST_WAITING, 125)

    assert [room.enter(one) is one for one in (notice("late") for _ in range(9))] == [False] * 7 + [True] * 2
    assert len(room) == MOST_WAITING


def test_a_notice_says_how_far_it_came() -> None:
    heard = Heard()
    one = notice("a", heard=heard)
    trap = Trap((1, 3), (1, 3), (), Version.V2C, True, 7, b"words")

    one.note(NOW, Place.TAKEN)
    assert heard.inform("a", trap, NOW) is Place.TAKEN
    one.refuse()
    assert heard.inform("a", trap, NOW) is None
