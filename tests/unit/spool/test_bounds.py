"""What goes first when the spool is full."""

from __future__ import annotations

import pytest

from hsm_agent.codec import to_bytes
from hsm_agent.model import Event, EventKind
from hsm_agent.spool.bounds import enforce_limits
from hsm_agent.spool.entries import ENTRY_OVERHEAD
from hsm_agent.spool.queue import Queue
from tests.fakes.events import changed, cleared, plain, raised

EVERYTHING = 10**9


def _queue(*names: str, entries: int = 1000, size_bytes: int = EVERYTHING) -> Queue:
    queue = Queue(entries=entries, size_bytes=size_bytes)
    queue.register(dict.fromkeys(names or ("noc",)), ())
    return queue


def _ids(queue: Queue, sink: str = "noc") -> list[str]:
    found = [entry.event.event_id for entry in queue.pending(sink, 1000, upto=queue.last_seq)]
    queue.give_back(sink, (), sent=False)
    return found


def _accept(queue: Queue, sink: str, *event_ids: str) -> None:
    entries = queue.pending(sink, 1000, upto=queue.last_seq)
    queue.release(sink, [entry.seq for entry in entries if entry.event.event_id in event_ids], notified=True)
    queue.give_back(sink, (), sent=False)


R, U, C = raised, changed, cleared


@pytest.mark.parametrize(
    ("notified", "events", "entries", "kept", "dropped"),
    [
        pytest.param([], [R("r", "a"), R("s", "b")], 2, ["r", "s"], [], id="within bounds nothing goes"),
        pytest.param(
            [],
            [R("r", "a"), C("c", "a"), R("s", "b"), C("d", "b"), R("new", "x")],
            3,
            ["s", "d", "new"],
            ["r", "c"],
            id="the oldest unnotified sequence goes whole",
        ),
        pytest.param(
            [R("r", "a")],
            [U("u", "a"), C("c", "a"), R("s", "b"), C("d", "b"), plain("t")],
            3,
            ["u", "c", "t"],
            ["s", "d"],
            id="an unnotified sequence goes before a superseded change",
        ),
        pytest.param(
            [R("r", "a")],
            [U("u", "a"), U("v", "a"), C("c", "a"), plain("t")],
            2,
            ["c", "t"],
            ["u", "v"],
            id="superseded changes of a notified alarm go, its clear stays",
        ),
        pytest.param(
            [],
            [R("r", "a"), U("u", "a"), U("v", "a"), plain("t")],
            3,
            ["r", "v", "t"],
            ["u"],
            id="of an alarm that is on and unnotified the raise and the latest stay",
        ),
        pytest.param(
            [],
            [plain("t"), R("r", "a"), U("u", "a")],
            2,
            ["r", "u"],
            ["t"],
            id="a test goes before an alarm that is on",
        ),
        pytest.param(
            [R("r", "a"), R("s", "b")],
            [C("c", "a"), C("d", "b"), R("x", "x")],
            1,
            ["c", "d", "x"],
            [],
            id="clears of notified raises and alarms that are on stay, whatever the bound",
        ),
        pytest.param(
            [R("r", "a")],
            [R("again", "a"), R("and again", "a"), C("c", "a")],
            1,
            ["c"],
            ["again", "and again"],
            id="repetitions are superseded too",
        ),
        pytest.param(
            [R("r", "a"), C("c", "a")],
            [R("r2", "b"), C("c2", "b"), plain("n", EventKind.NOTICE)],
            1,
            ["n"],
            ["r2", "c2"],
            id="an alarm notified and over protects nothing",
        ),
    ],
)
def test_what_goes_first_when_the_spool_is_full(
    notified: list[Event], events: list[Event], entries: int, kept: list[str], dropped: list[str]
) -> None:
    queue = _queue()
    for event in notified:
        queue.enqueue(event)
    _accept(queue, "noc", *(event.event_id for event in notified))
    queue.entries_limit = entries
    for event in events:
        queue.enqueue(event)

    gone = enforce_limits(queue)

    assert _ids(queue) == kept
    assert [event_id for drop in gone for event_id in drop.event_ids] == dropped
    assert queue.stats("").dropped_total == queue.stats("").sinks["noc"].dropped_total == len(dropped)


def test_the_bound_in_bytes_counts_as_well() -> None:
    one = len(to_bytes(cleared("e0", "a0"))) + ENTRY_OVERHEAD
    queue = _queue(size_bytes=4 * one)
    for number in range(4):
        queue.enqueue(raised(f"e{number}", f"a{number}"))
        queue.enqueue(cleared(f"c{number}", f"a{number}"))

    enforce_limits(queue)

    assert queue.stats("").bytes <= 4 * one
    assert queue.stats("").used_percent <= 100
    assert _ids(queue) == ["e2", "c2", "e3", "c3"]


def test_what_is_on_its_way_is_not_dropped() -> None:
    queue = _queue(entries=1)
    for number in range(2):
        queue.enqueue(raised(f"e{number}", f"a{number}"))
        queue.enqueue(cleared(f"c{number}", f"a{number}"))
    queue.pending("noc", 1, upto=queue.last_seq)

    enforce_limits(queue)
    assert queue.stats("").entries == 2

    queue.give_back("noc", [1], sent=False)
    enforce_limits(queue)
    assert queue.stats("").entries == 0


def test_a_sequence_is_dropped_for_the_sink_alone_that_was_not_notified() -> None:
    queue = _queue("dead", "well", entries=3)
    for number in range(3):
        queue.enqueue(raised(f"e{number}", f"a{number}"))
        queue.enqueue(cleared(f"c{number}", f"a{number}"))
    _accept(queue, "well", "e0", "c0", "e1")

    enforce_limits(queue)

    assert _ids(queue, "dead") == ["e2", "c2"]
    assert _ids(queue, "well") == ["c1", "e2", "c2"]
    assert [entry.event.event_id for entry in queue.listing()] == ["c1", "e2", "c2"]


def test_dead_letters_make_room_first_and_are_not_counted_twice() -> None:
    queue = _queue(entries=2)
    queue.enqueue(raised("bad", "a"))
    queue.dead_letter("noc", 1, "refused", 5.0)
    queue.enqueue(raised("r", "b"))
    queue.enqueue(cleared("c", "b"))

    gone = enforce_limits(queue)

    assert [(drop.event_ids, drop.why) for drop in gone] == [(("bad",), "dead letter")]
    assert _ids(queue) == ["r", "c"]
    assert (queue.stats("").dropped_total, queue.stats("").sinks["noc"].dead_letters_total) == (0, 1)


def test_a_dropped_run_is_forgotten_whole() -> None:
    queue = _queue(entries=1)
    queue.enqueue(raised("r", "a"))
    queue.enqueue(cleared("c", "a"))
    enforce_limits(queue)

    queue.enqueue(cleared("late", "a"))

    assert _ids(queue) == []
    assert queue.sinks["noc"].sequences == {}
