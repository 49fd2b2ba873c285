"""What of a queue is a group's: addressed, taken in, replaced, shared, and given only to who may be told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsm_agent.codec import to_bytes
from hsm_agent.model import AGENT_SOURCE, Event, EventKind, Severity
from hsm_agent.spool import sharing
from hsm_agent.spool.bounds import enforce_limits
from hsm_agent.spool.queue import Queue
from hsm_agent.spool.restore import restore, without_shared
from hsm_agent.spool.shared import Addressed, Left, SharedChange, SharedContent
from tests.fakes.events import changed, cleared, plain, raised

CRITICAL = Severity.CRITICAL


def _queue(**minima: Severity | None) -> Queue:
    queue = Queue(entries=1000, size_bytes=10**9)
    queue.register(minima or {"noc": None, "siem": None}, ())
    return queue


def _share(queue: Queue, *events: Event) -> None:
    sharing.commit(queue, sharing.address(queue, events), shared=True)


def _ids(queue: Queue, sink: str = "noc", *, shut: bool = False) -> list[str]:
    found = [entry.event.event_id for entry in queue.pending(sink, 1000, upto=queue.last_seq, shut=shut)]
    queue.give_back(sink, (), sent=False)
    return found


def _accept(queue: Queue, sink: str, *event_ids: str) -> list[Left]:
    entries = queue.pending(sink, 1000, upto=queue.last_seq)
    queue.release(sink, [entry.seq for entry in entries if entry.event.event_id in event_ids], notified=True)
    left, queue.left = queue.left, []
    return left


def test_an_address_is_what_queueing_finds_and_changes_nothing() -> None:
    queue = _queue(noc=None, siem=CRITICAL)
    _share(queue, raised("known", "k", CRITICAL))
    events = [
        raised("r", "a"),
        changed("u", "a", CRITICAL),
        cleared("c", "a"),
        changed("on", "k"),
        cleared("never raised", "z"),
        plain("notice", EventKind.NOTICE),
    ]
    before = dict(queue.rows())

    found = [(each.event.event_id, each.sinks, each.begins) for each in sharing.address(queue, events)]

    assert found == [
        ("r", ("noc",), ("noc",)),
        ("u", ("noc", "siem"), ("siem",)),
        ("c", ("noc", "siem"), ()),
        ("on", ("noc", "siem"), ()),
        ("notice", ("noc", "siem"), ()),
    ]
    assert dict(queue.rows()) == before


def test_a_new_sink_is_addressed_with_what_it_does_not_know() -> None:
    queue = _queue()
    _share(queue, raised("r", "a"), raised("s", "b"))
    registered = queue.register({"noc": None, "siem": None, "new": None}, ())
    queue.enqueue(changed("own", "b"), ["new"])

    found = sharing.address(queue, [raised("r", "a"), raised("s", "b")], sinks=registered.resynced, only_new=True)

    assert found == [Addressed(event=raised("r", "a"), sinks=("new",), begins=("new",))]
    with pytest.raises(KeyError):
        sharing.address(queue, [plain("t")], sinks=["nobody"])


def test_what_leaves_by_this_agents_doing_is_told_of() -> None:
    queue = _queue()
    _share(queue, raised("r", "a"), cleared("c", "a"))
    queue.enqueue(plain("own"), ["noc"])

    told = _accept(queue, "noc", "r", "own", "c")
    queue.dead_letter("siem", 1, "refused", 7.0)
    queue.drop("c")

    assert told == [
        Left(sink="noc", event_id="r", told=True),
        Left(sink="noc", event_id="c", told=True, ended_alarm_id="a"),
    ]
    assert queue.left == [
        Left(sink="siem", event_id="r", told=False),
        Left(sink="siem", event_id="c", told=False, ended_alarm_id="a"),
    ]
    assert queue.shared_ids() == []
    assert [entry.event.event_id for entry in queue.listing()] == ["r"]  # the dead letter, which is this agent's own


def test_a_sink_that_leaves_the_configuration_is_owed_nothing() -> None:
    queue = _queue()
    _share(queue, raised("r", "a"), raised("s", "b"))
    _accept(queue, "siem", "r")
    follower = _queue()
    sharing.take_in(follower, SharedChange(events=tuple(sharing.address(_queue(), [raised("r", "a")]))))

    queue.register({"noc": None}, ())
    follower.register({"noc": None}, (), gives_up=False)

    assert sorted((left.sink, left.event_id, left.told, left.ended_alarm_id) for left in queue.left) == [
        ("siem", "", False, "a"),
        ("siem", "", False, "b"),
        ("siem", "s", False, ""),
    ]
    assert follower.left == []


def test_a_sink_that_is_gone_when_its_event_is_committed_gives_it_up() -> None:
    queue = _queue()
    addressed = sharing.address(queue, [raised("r", "a")])
    queue.register({"noc": None}, ())

    sharing.commit(queue, addressed, shared=True)

    assert _ids(queue) == ["r"]
    assert queue.left == [Left(sink="siem", event_id="r", told=False, ended_alarm_id="a")]


def test_what_this_agent_may_not_tell_is_held_back_and_what_comes_behind_it_too() -> None:
    queue = _queue()
    _share(queue, raised("r", "a"))
    queue.enqueue(cleared("alone", "a"))
    queue.enqueue(plain("own"))

    assert _ids(queue, shut=True) == ["own"]
    assert queue.pending("noc", 1, upto=9, only=1, shut=True) == []
    assert [entry.shared for entry in queue.pending("noc", 9, upto=9)] == [True, False, False]
    assert queue.notified("noc", shut=True) == {}


def test_while_shut_neither_counts_nor_goes_what_is_the_groups() -> None:
    queue = _queue(noc=None)
    _share(queue, *(event for number in range(9) for event in (raised(f"r{number}", "a"), cleared(f"c{number}", "a"))))
    for number in range(5):
        queue.enqueue(plain(f"n{number}"))
    queue.entries_limit = 3

    enforce_limits(queue, shut=True)
    shut = _ids(queue)
    enforce_limits(queue)

    assert len(shut) == 21
    assert shut[-3:] == ["n2", "n3", "n4"]
    assert len(_ids(queue)) == 3
    assert {left.told for left in queue.left} == {False}


def test_a_follower_takes_what_waits_for_sent() -> None:
    leader, follower = _queue(), _queue()
    addressed = sharing.address(leader, [raised("r", "a"), changed("u", "a", CRITICAL)])

    sharing.take_in(follower, SharedChange(events=tuple(addressed)))
    doubtful = follower.told_severities("noc")
    sharing.take_in(follower, SharedChange(left=(("noc", "r"), ("noc", "u"), ("nobody", "u"), ("noc", "never seen"))))

    assert doubtful == {"a": {Severity.WARNING, CRITICAL}}
    assert follower.told_severities("noc") == {"a": {CRITICAL}}
    assert follower.left == []


def test_an_end_of_which_the_leader_says_ends_the_sequence() -> None:
    follower = _queue()
    sharing.replace(follower, SharedContent(sequences=frozenset({("noc", "a"), ("nobody", "a"), ("siem", "a")})))
    assert follower.notified("noc") == {"a": False}

    sharing.take_in(follower, SharedChange(ended=(("noc", "a"), ("nobody", "a"))))

    assert (follower.notified("noc"), follower.notified("siem")) == ({}, {"a": False})


def test_what_was_judged_alone_about_an_alarm_of_the_groups_goes_and_the_rest_stays() -> None:
    queue = _queue(noc=None)
    _share(queue, raised("r", "a"))
    _accept(queue, "noc", "r")
    for event in (changed("alone", "a"), raised("new", "mine"), plain("own")):
        queue.enqueue(event)

    sharing.replace(queue, SharedContent(sequences=frozenset({("noc", "a")})))

    assert _ids(queue, shut=True) == ["new", "own"]
    assert sharing.sequences(queue) == {("noc", "a")}
    assert queue.left == []


def test_a_clear_of_ones_own_of_an_alarm_of_the_groups_binds_nobody_who_leads() -> None:
    queue = _queue(noc=None)
    _share(queue, raised("r", "a"))
    _accept(queue, "noc", "r")
    queue.enqueue(cleared("alone", "a"))

    assert _accept(queue, "noc", "alone") == [Left(sink="noc", event_id="", told=False, ended_alarm_id="a")]


def test_what_was_ones_own_becomes_the_groups_where_the_group_holds_it() -> None:
    queue = _queue()
    queue.enqueue(raised("r", "a"))
    content = SharedContent(events=(Addressed(event=raised("r", "a"), sinks=("noc",)),))

    sharing.replace(queue, content)

    assert (_ids(queue, "noc"), _ids(queue, "siem")) == (["r"], [])
    assert _ids(queue, "noc", shut=True) == []


def test_all_but_the_agents_own_can_be_shared() -> None:
    queue = _queue(noc=None)
    own = replace(raised("own raise", "disk"), source=AGENT_SOURCE)
    told = replace(raised("own told", "certificate"), source=AGENT_SOURCE)
    gone = [replace(event, source=AGENT_SOURCE) for event in (raised("gr", "gone"), cleared("gc", "gone"))]
    for event in (raised("r", "a"), raised("t", "told"), own, told, *gone, plain("test")):
        queue.enqueue(event)
    _accept(queue, "noc", "t", "own told", "gr")

    sharing.share_all(queue, ["disk", "certificate"])

    assert queue.shared_ids() == ["r"]
    assert sharing.sequences(queue) == {("noc", "a"), ("noc", "told")}
    assert _ids(queue, shut=True) == ["own raise", "gc", "test"]


def test_told_again_an_event_waits_once_for_each_sink() -> None:
    queue = _queue()
    _share(queue, raised("r", "a"))
    _accept(queue, "siem", "r")

    for _ in range(2):
        sharing.commit(queue, sharing.address(queue, [raised("r", "a")], sinks=["noc", "siem"]), shared=True)

    assert (_ids(queue, "noc"), _ids(queue, "siem")) == (["r"], ["r"])
    assert [names for _, names in sharing.content(queue)] == [["noc", "siem"]]
    assert _accept(queue, "noc", "r") == [Left(sink="noc", event_id="r", told=True)]


def test_an_entry_of_another_event_under_the_same_number_is_not_the_groups() -> None:
    queue = _queue(noc=None)
    queue.enqueue(raised("new", "a"))
    rows = dict(queue.rows())

    other = restore(rows | {("shared", (1,)): ("old",), ("shared", (9,)): ("gone",)}, entries=9, size_bytes=10**9)
    damaged = restore(rows | {("shared", (1,)): (b"\xff",)}, entries=9, size_bytes=10**9)

    assert (other.unreadable, other.queue.shared_ids()) == (0, [])
    assert other.queue.take_changes() == {("shared", (1,)): None, ("shared", (9,)): None}
    assert damaged.queue.shared_ids() == ["new"]


def test_where_it_is_lost_what_is_the_groups_all_is_that_may_be() -> None:
    queue = _queue(noc=None)
    _share(queue, raised("r", "a"))
    for event in (replace(raised("own", "disk"), source=AGENT_SOURCE), plain("test")):
        queue.enqueue(event)
    rows = {key: row for key, row in queue.rows() if key[0] != "shared"}

    back = restore(rows, entries=9, size_bytes=10**9, torn={"shared"}).queue

    assert back.shared_ids() == ["r"]
    assert back.take_changes()["shared", (1,)] == ("r",)


def test_rows_without_what_is_the_groups() -> None:
    queue = _queue(noc=None)
    _share(queue, raised("r", "a"), raised("t", "told"))
    _accept(queue, "noc", "t")
    queue.enqueue(raised("own", "b"))

    back = restore(without_shared(dict(queue.rows())), entries=9, size_bytes=10**9)

    assert back.unreadable == 0
    assert [to_bytes(entry.event) for entry in back.queue.listing()] == [to_bytes(raised("own", "b"))]
    assert set(back.queue.sinks["noc"].sequences) == {"b"}


def test_what_was_shared_and_did_not_reach_the_group_is_ones_own_still() -> None:
    queue = _queue(noc=None)
    for event in (raised("r", "told"), raised("s", "waits"), raised("t", "arrived")):
        queue.enqueue(event)
    _accept(queue, "noc", "r")
    sharing.share_all(queue, ())
    for event in (cleared("rc", "told"), cleared("sc", "waits")):
        queue.enqueue(event)
    content = SharedContent(events=(Addressed(event=raised("t", "arrived"), sinks=("noc",)),))

    sharing.replace(queue, content, ["told", "waits", "arrived", "over"])

    assert _ids(queue, shut=True) == ["s", "rc", "sc"]
    assert queue.shared_ids() == ["t"]
    assert sharing.sequences(queue) == {("noc", "arrived")}
    assert dict(restore(dict(queue.rows()), entries=9, size_bytes=10**9).queue.rows()) == dict(queue.rows())
