"""A queue for each sender, and room for so much."""

from __future__ import annotations

from hsm_agent.collect.traps.duplicates import DuplicateFilter, TrapProgress
from hsm_agent.collect.traps.held_alarms import TrapEvent
from hsm_agent.collect.traps.intake import MOST_PENDING, MOST_PENDING_EACH, PendingNotification, PendingQueue
from hsm_agent.collect.traps.trap_maps import AlarmChange, AlarmLevel
from hsm_agent.wire.snmp.pdu import Version
from hsm_agent.wire.snmp.trap_receiver import Trap

NOW = 1_700_000_000.0


def pending(sender: str, *, changes: int = 1, duplicates: DuplicateFilter | None = None) -> PendingNotification:
    change = AlarmChange(alarm="fan", component="", level=AlarmLevel.WARNING, note="")
    inform = Trap((1, 3), (1, 3), (), Version.V2C, True, 7, b"words")
    return PendingNotification(
        sender, inform, (TrapEvent(address=sender, change=change, time=NOW),) * changes, duplicates or DuplicateFilter()
    )


def filled(count: int, senders: int) -> PendingQueue:
    room = PendingQueue()
    for number in range(count):
        assert room.add(pending(f"sender {number % senders}")) is None
    return room


def test_each_sender_is_heard_in_its_own_order() -> None:
    room, said = PendingQueue(), [pending("a"), pending("b"), pending("a")]
    for one in said:
        assert room.add(one) is None

    assert (len(room), room.senders(), list(room)) == (3, ["a", "b"], [said[0], said[2], said[1]])
    assert room.first("a") is room.pop("a") is said[0]
    assert room.first("a") is said[2]
    room.pop("b")
    assert (room.senders(), room.first("b")) == (["a"], None)


def test_who_has_said_all_comes_last_the_next_time() -> None:
    room = filled(2, 2)
    room.pop("sender 0")
    room.add(pending("sender 0"))

    assert room.senders() == ["sender 1", "sender 0"]


def test_one_sender_has_room_for_so_many_changes() -> None:
    room = PendingQueue()
    for _ in range(MOST_PENDING_EACH // 2):
        room.add(pending("a", changes=2))

    more = pending("a")
    assert room.add(more) is more
    assert room.add(pending("b")) is None


def test_many_that_flood_do_not_keep_out_who_says_little() -> None:
    room = filled(MOST_PENDING, 4)
    last = list(room)[MOST_PENDING_EACH - 1]
    quiet, loud = pending("quiet"), pending("sender 1")

    assert room.add(quiet) is last
    assert room.first("quiet") is quiet
    assert room.add(loud) is loud
    assert len(room) == MOST_PENDING


def test_a_full_room_has_no_place_for_one_that_says_as_much_as_all_the_others() -> None:
    room = filled(MOST_PENDING, 125)

    assert [room.add(one) is one for one in (pending("late") for _ in range(9))] == [False] * 7 + [True] * 2
    assert len(room) == MOST_PENDING


def test_a_notice_says_how_far_it_came() -> None:
    duplicates = DuplicateFilter()
    one = pending("a", duplicates=duplicates)
    trap = Trap((1, 3), (1, 3), (), Version.V2C, True, 7, b"words")

    one.record(NOW, TrapProgress.APPLIED)
    assert duplicates.inform_progress("a", trap, NOW) is TrapProgress.APPLIED
    one.refuse()
    assert duplicates.inform_progress("a", trap, NOW) is None
