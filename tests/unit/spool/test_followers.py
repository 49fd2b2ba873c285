"""For any history: what the leader's spool says of itself makes every other member's the same, and lead or not."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_agent.codec import from_bytes
from hsm_agent.model import AGENT_SOURCE, Event, EventKind, Severity
from hsm_agent.spool import sharing
from hsm_agent.spool.bounds import enforce_limits
from hsm_agent.spool.queue import Queue
from hsm_agent.spool.restore import restore
from hsm_agent.spool.shared import Addressed, Left, SharedChange, SharedContent
from tests.fakes.events import changed, cleared, plain, raised
from tests.fakes.examples import examples

SINKS: dict[str, Severity | None] = {"all": None, "also all": None, "critical": Severity.CRITICAL}
LEVELS = st.sampled_from([Severity.WARNING, Severity.CRITICAL])
ALARMS = st.integers(0, 3)
SINK = st.sampled_from(list(SINKS))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["raise", "change"]), ALARMS, LEVELS),
        st.tuples(st.just("clear"), ALARMS, st.none()),
        st.tuples(st.just("raise and clear"), ALARMS, LEVELS),
        st.tuples(st.sampled_from(["own raise", "own clear", "notice"]), ALARMS, LEVELS),
        st.tuples(st.sampled_from(["accept", "lose answer", "refuse"]), st.integers(1, 4), SINK),
        st.tuples(st.sampled_from(["resend", "drop"]), ALARMS, SINK),
        st.tuples(st.sampled_from(["restart", "follower restarts", "follower is new"]), st.just(0), st.none()),
        st.tuples(st.sampled_from(["cut", "snapshot", "take over", "fill"]), st.just(0), st.none()),
        st.tuples(st.just("acceptance is lost"), st.integers(1, 4), SINK),
    ),
    max_size=60,
)

Place = tuple[str, str]
"""A sink and an alarm."""


class Board:
    """What etcd holds: events in order, who waits for them, and who is owed an alarm's end."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.waits: set[tuple[str, str]] = set()
        self.sequences: set[Place] = set()

    def commit(self, addressed: list[Addressed]) -> None:
        for each in addressed:
            self.events.pop(each.event.event_id, None)  # told again, it stands at the end
            self.events[each.event.event_id] = each.event
            self.waits |= {(name, each.event.event_id) for name in each.sinks}
            self.sequences |= {(name, each.event.alarm_id) for name in each.begins}

    def leave(self, left: Left) -> None:
        self.waits.discard((left.sink, left.event_id))
        self.sequences.discard((left.sink, left.ended_alarm_id))
        if not any(event_id == left.event_id for _, event_id in self.waits):
            self.events.pop(left.event_id, None)

    def content(self) -> SharedContent:
        events = [
            Addressed(event=event, sinks=tuple(name for name in SINKS if (name, event_id) in self.waits))
            for event_id, event in self.events.items()
        ]
        return SharedContent(events=tuple(events), sequences=frozenset(self.sequences))


def order(content: SharedContent) -> dict[Place, list[str]]:
    """Which events wait for each sink, in order within each alarm: more of an order is not promised."""
    found: dict[Place, list[str]] = {}
    for each in content.events:
        for name in each.sinks:
            found.setdefault((name, each.event.alarm_id), []).append(each.event.event_id)
    return found


def content_of(queue: Queue) -> SharedContent:
    events = tuple(
        Addressed(event=from_bytes(Event, payload), sinks=tuple(names)) for payload, names in sharing.content(queue)
    )
    return SharedContent(events=events, sequences=sharing.sequences(queue))


def new_queue() -> Queue:
    queue = Queue(entries=10**6, size_bytes=10**9)
    queue.register(SINKS, ())
    queue.take_changes()
    return queue


def restarted(queue: Queue) -> Queue:
    back = restore(dict(queue.rows()), entries=queue.entries_limit, size_bytes=queue.size_limit_bytes)
    assert back.unreadable == 0
    assert dict(back.queue.rows()) == dict(queue.rows())
    return back.queue


def own_ids(queue: Queue) -> list[str]:
    return [
        entry.event.event_id
        for entry in queue.listing()
        if entry.event.source == AGENT_SOURCE or not entry.event.alarm_id
    ]


class Pair:
    """Plays steps at the leader, carries what it says to the board and to the follower, and compares."""

    def __init__(self) -> None:
        self.leader, self.follower, self.board = new_queue(), new_queue(), Board()
        self.is_cut = False
        self._ids = count()

    def play(self, what: str, which: int, detail: object) -> None:
        own = own_ids(self.follower)
        match what:
            case "raise" | "change" | "clear" | "raise and clear":
                self._commit([self._event(part, f"alarm {which}", detail) for part in what.split(" and ")])
            case "own raise" | "own clear" | "notice":
                self._tell_own(what, which)
            case "accept" | "lose answer" | "refuse":
                self._send(str(detail), which, what)
            case "resend" | "drop":
                self._act(what, which, str(detail))
            case "restart":
                self.leader = restarted(self.leader)
            case "follower restarts":
                self.follower = restarted(self.follower)
            case "follower is new":
                self.follower, self.is_cut, own = new_queue(), True, []
            case "cut":
                self.is_cut = True
            case "snapshot":
                self._read_all()
            case "acceptance is lost":
                self._send(str(detail), which, "accept")
                self.leader.left.clear()
                own = self._take_over()
                self.is_cut = True
            case "take over":
                own = self._take_over()
            case _:  # fill
                self.leader.entries_limit = 2
                enforce_limits(self.leader)
                self.leader.entries_limit = 10**6
        self._carry()
        assert own_ids(self.follower) == own

    def _event(self, what: str, alarm_id: str, severity: object) -> Event:
        event_id = f"e{next(self._ids)}"
        if what == "clear":
            return cleared(event_id, alarm_id)
        assert isinstance(severity, Severity)
        return (raised if what == "raise" else changed)(event_id, alarm_id, severity)

    def _commit(self, events: list[Event], sinks: list[str] | None = None) -> None:
        addressed = sharing.address(self.leader, events, sinks=sinks)
        self.board.commit(addressed)
        sharing.commit(self.leader, addressed, shared=True)
        self._follow(SharedChange(events=tuple(addressed)))

    def _follow(self, change: SharedChange) -> None:
        for _ in range(0 if self.is_cut else 2):  # twice does no harm
            sharing.take_in(self.follower, change)

    def _read_all(self) -> None:
        sharing.replace(self.follower, self.board.content())
        self.is_cut = False

    def _take_over(self) -> list[str]:
        """The follower leads from now on; what is the other one's own."""
        self._read_all()
        self.leader, self.follower = self.follower, self.leader
        return own_ids(self.follower)

    def _tell_own(self, what: str, which: int) -> None:
        if what == "notice":
            self.leader.enqueue(plain(f"own {next(self._ids)}"))
            return
        event = self._event(what.removeprefix("own "), f"own {which}", Severity.CRITICAL)
        self.leader.enqueue(replace(event, source=AGENT_SOURCE))

    def _send(self, sink: str, number: int, how: str) -> None:
        entries = self.leader.pending(sink, number, upto=self.leader.last_seq)
        seqs = [entry.seq for entry in entries]
        if how == "accept":
            self.leader.release(sink, seqs, notified=True)
        elif how == "lose answer":
            self.leader.give_back(sink, seqs, sent=True)
        else:
            for seq in seqs[:1]:
                self.leader.dead_letter(sink, seq, "refused", 7.0)
        self.leader.give_back(sink, (), sent=False)

    def _act(self, what: str, which: int, sink: str) -> None:
        waiting = [entry.event for entry in self.leader.listing() if entry.event.alarm_id == f"alarm {which}"]
        for event in waiting[-1:]:
            if what == "drop":
                if event.kind is not EventKind.CLEARED:  # else only this leader knows that the alarm is over
                    self.leader.drop(event.event_id)
            elif any(event.event_id == shared for shared in self.leader.shared_ids()):
                self._commit([event], [sink])

    def _carry(self) -> None:
        left, self.leader.left = self.leader.left, []
        for each in left:
            self.board.leave(each)
            change = SharedChange(
                left=((each.sink, each.event_id),) if each.event_id else (),
                ended=((each.sink, each.ended_alarm_id),) if each.ended_alarm_id else (),
            )
            self._follow(change)
        assert self.follower.left == []
        for queue in (self.leader, *([] if self.is_cut else [self.follower])):
            assert order(content_of(queue)) == order(self.board.content())
            assert sharing.sequences(queue) == self.board.sequences
            queue.take_changes()


@settings(max_examples=examples(300, 40), deadline=None)
@given(STEPS)
def test_a_follower_holds_what_the_leader_holds(steps: list[tuple[str, int, object]]) -> None:
    pair = Pair()
    for step in steps:
        pair.play(*step)

    # Whoever leads in the end tells all that waits, each sink in the order of each alarm, and nothing is left.
    pair.play("take over", 0, None)
    pair.play("snapshot", 0, None)
    for sink in SINKS:
        pair.play("accept", 10**6, sink)
    assert pair.board.events == {}
    assert pair.leader.shared_ids() == pair.follower.shared_ids() == []


@settings(max_examples=examples(150, 20), deadline=None)
@given(STEPS)
def test_whoever_takes_over_takes_all_that_waits_for_sent(steps: list[tuple[str, int, object]]) -> None:
    pair = Pair()
    for step in steps:
        pair.play(*step)
    pair.play("take over", 0, None)

    for sink_queue in pair.leader.sinks.values():
        assert all(each.notified for each in sink_queue.sequences.values() if each.shared)


@settings(max_examples=examples(150, 20), deadline=None)
@given(STEPS)
def test_a_shut_spool_gives_nothing_that_is_the_groups(steps: list[tuple[str, int, object]]) -> None:
    pair = Pair()
    for step in steps:
        pair.play(*step)

    pair.play("snapshot", 0, None)
    own = set(own_ids(pair.follower))
    for sink in SINKS:
        entries = pair.follower.pending(sink, 10**6, upto=pair.follower.last_seq, shut=True)
        assert not any(entry.shared for entry in entries)
        assert {entry.event.event_id for entry in entries} <= own
        waiting = [entry for entry in pair.follower.listing() if sink in entry.waiting]
        assert len(entries) == len([entry for entry in waiting if entry.event.event_id in own])
