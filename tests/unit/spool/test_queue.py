"""Entries, sinks and bounds: who is sent what, when an entry leaves, and what goes first when the spool is full."""

from __future__ import annotations

import pytest

from hsm_agent.codec import to_bytes
from hsm_agent.model import Severity
from hsm_agent.spool.entries import ENTRY_OVERHEAD, DeadLetter, Registered
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


def test_each_sink_has_a_queue_of_its_own() -> None:
    queue = _queue("noc", "siem")
    for number in range(3):
        queue.enqueue(raised(f"e{number}", f"a{number}"))

    _accept(queue, "noc", "e0", "e1")

    assert _ids(queue, "noc") == ["e2"]
    assert _ids(queue, "siem") == ["e0", "e1", "e2"]


def test_an_entry_leaves_when_its_last_sink_has_accepted_it() -> None:
    queue = _queue("noc", "siem")
    queue.enqueue(raised("e", "a"))
    assert queue.stats("").bytes == len(to_bytes(raised("e", "a"))) + ENTRY_OVERHEAD

    _accept(queue, "noc", "e")
    assert queue.stats("").entries == 1

    _accept(queue, "siem", "e")
    assert (queue.stats("").entries, queue.stats("").bytes) == (0, 0)


def test_an_event_that_nobody_wants_takes_no_room() -> None:
    queue = Queue(entries=10, size_bytes=EVERYTHING)
    queue.register({"noc": Severity.CRITICAL}, ())

    queue.enqueue(raised("e", "a"))

    assert queue.stats("").entries == 0


def test_what_is_not_released_yet_is_not_pending() -> None:
    queue = _queue()
    queue.enqueue(raised("durable", "a"))
    durable = queue.last_seq
    queue.enqueue(raised("on its way to the disk", "b"))

    assert [entry.event.event_id for entry in queue.pending("noc", 10, upto=durable)] == ["durable"]


def test_an_event_for_one_sink_alone() -> None:
    queue = _queue("noc", "siem")

    queue.enqueue(plain("t"), ["siem"])

    assert (_ids(queue, "noc"), _ids(queue, "siem")) == ([], ["t"])
    with pytest.raises(KeyError):
        queue.enqueue(plain("t"), ["nobody"])


def test_a_new_sink_gets_what_is_raised() -> None:
    queue = _queue("noc")
    queue.enqueue(raised("e", "a"))

    specs = {"noc": None, "siem": Severity.CRITICAL}
    registered = queue.register(specs, [raised("e", "a"), raised("x", "b", Severity.CRITICAL)])

    assert registered == Registered(added=("siem",), resynced=("siem",))
    assert (_ids(queue, "noc"), _ids(queue, "siem")) == (["e"], ["x"])


def test_a_sink_that_listens_to_more_than_before_gets_what_it_missed() -> None:
    queue = Queue(entries=10, size_bytes=EVERYTHING)
    queue.register({"noc": Severity.CRITICAL}, ())
    low, high = raised("low", "a"), raised("high", "b", Severity.CRITICAL)
    queue.enqueue(low)
    queue.enqueue(high)

    queue.register({"noc": Severity.WARNING}, [low, high])

    assert _ids(queue) == ["high", "low"]


def test_a_sink_that_is_gone_loses_its_queue_and_its_dead_letters() -> None:
    queue = _queue("noc", "siem")
    queue.enqueue(raised("e1", "a"))
    queue.enqueue(raised("e2", "b"))
    _accept(queue, "noc", "e1", "e2")
    queue.dead_letter("siem", 1, "too long", 5.0)

    registered = queue.register({"noc": None}, ())

    assert registered == Registered(removed=("siem",), forgotten_events=1)
    assert queue.stats("").entries == 0
    assert queue.pending("siem", 10, upto=99) == []
    queue.release("siem", [2], notified=True)  # a late answer of a sink that is gone


def test_a_dead_letter_is_not_sent_again_but_kept_to_be_looked_at() -> None:
    queue = _queue("noc", "siem")
    queue.enqueue(raised("bad", "a"))
    queue.enqueue(raised("good", "b"))

    assert queue.dead_letter("noc", 1, "refused", 5.0) == "bad"

    _accept(queue, "siem", "bad", "good")
    _accept(queue, "noc", "good")
    shown = queue.show("bad")
    assert shown is not None
    assert (shown.waiting, shown.dead) == ({}, (DeadLetter(sink="noc", reason="refused", time=5.0),))
    assert [entry.event.event_id for entry in queue.listing()] == ["bad"]
    assert (queue.stats("").sinks["noc"].dead_letters, queue.stats("").sinks["noc"].dead_letters_total) == (1, 1)
    assert queue.dead_letter("noc", 1, "refused", 5.0) == ""


def test_dropping_by_hand_takes_it_from_every_sink() -> None:
    queue = _queue("noc", "siem")
    queue.enqueue(raised("e1", "a"))
    queue.enqueue(raised("e2", "b"))
    queue.dead_letter("noc", 1, "refused", 5.0)

    assert queue.drop("e1")
    assert queue.drop("2")

    assert not queue.drop("e1")
    assert (queue.stats("").entries, queue.stats("").dropped_total) == (0, 0)
    assert queue.stats("").sinks["noc"].dead_letters == 0


def test_what_waits_is_shown_with_its_attempts() -> None:
    queue = _queue("noc", "siem")
    queue.enqueue(raised("e", "a"))
    queue.pending("noc", 1, upto=1)
    queue.give_back("noc", [1], sent=True)

    shown = queue.show("1")

    assert shown is not None
    assert shown.waiting == {"noc": 1, "siem": 0}
    assert queue.show("nothing") is None


def test_of_each_row_the_last_change_is_stored_once() -> None:
    queue = _queue()
    queue.take_changes()
    queue.enqueue(raised("e", "a"))
    queue.enqueue(raised("f", "b"))
    _accept(queue, "noc", "e")

    changes = queue.take_changes()

    assert changes["entry", (1,)] is None
    assert changes["waiting", ("noc", 2)] == (0,)
    assert queue.take_changes() == {}


def test_the_alarms_that_a_sink_was_told_of_and_whether_more_of_them_waits() -> None:
    queue = _queue()
    for alarm in ("told", "changing", "over", "waiting"):
        queue.enqueue(raised(f"{alarm} 1", alarm))
    queue.enqueue(changed("changing 2", "changing"))
    queue.enqueue(cleared("over 2", "over"))

    _accept(queue, "noc", "told 1", "changing 1", "over 1", "over 2")

    assert queue.notified("noc") == {"told": False, "changing": True}
    assert queue.notified("nobody") == {}
