"""What was stored comes back; what contradicts itself is put right. And for any history: nothing is lost."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_agent.codec import to_bytes
from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.spool.bounds import enforce_limits
from hsm_agent.spool.queue import Queue
from hsm_agent.spool.restore import restore
from tests.fakes.events import changed, cleared, plain, raised
from tests.fakes.examples import examples

if TYPE_CHECKING:
    from hsm_agent.spool.tables import RowChanges, StoredRows

SINKS: dict[str, Severity | None] = {"all": None, "also all": None, "critical": Severity.CRITICAL}


def test_every_part_of_a_queue_comes_back() -> None:
    queue = Queue(entries=3, size_bytes=10**9)
    queue.register(SINKS, ())
    for number in range(4):
        queue.enqueue(raised(f"e{number}", f"a{number}"))
        queue.enqueue(cleared(f"c{number}", f"a{number}"))
    queue.enqueue(changed("u", "open", Severity.CRITICAL))
    enforce_limits(queue)
    queue.pending("all", 1, upto=99)
    queue.give_back("all", [queue.last_seq], sent=True)
    queue.dead_letter("critical", queue.last_seq, "refused", 7.0)

    back = restore(dict(queue.rows()), entries=3, size_bytes=10**9)

    assert back.unreadable == 0
    assert dict(back.queue.rows()) == dict(queue.rows())
    assert back.queue.stats("") == queue.stats("")
    assert list(back.queue.listing()) == list(queue.listing())
    assert back.queue.take_changes() == {}
    assert back.queue.dropped_total > 0


def test_rows_that_contradict_each_other_are_put_right() -> None:
    event = to_bytes(raised("e", "a"))
    rows: StoredRows = {
        ("sink", ("noc",)): ("", 0, 0),
        ("entry", (1,)): (event,),
        ("entry", (2,)): (b"garbage",),
        ("entry", (3,)): (event,),
        ("waiting", ("noc", 1)): (0,),
        ("waiting", ("noc", 2)): (0,),
        ("waiting", ("noc", 9)): (0,),
        ("waiting", ("nobody", 1)): (0,),
        ("dead", ("nobody", 1)): ("refused", 5.0),
        ("run", ("nobody", "a")): (1, 1),
        ("run", ("noc", "over")): (1, 0),
    }

    back = restore(rows, entries=10, size_bytes=10**9)

    # RowValues 2 is no event, row 9 waits for none, and nobody knows who was to have row 3.
    assert (back.unreadable, back.events_lost) == (3, 1)
    assert [entry.seq for entry in back.queue.pending("noc", 10, upto=99)] == [1, 3]
    assert [entry.seq for entry in back.queue.pending("nobody", 10, upto=99)] == [1]
    applied = _applied(rows, back.queue.take_changes()).keys()
    assert applied <= {*dict(back.queue.rows()), ("run", ("noc", "a")), ("run", ("nobody", "a"))}


def _applied(rows: StoredRows, changes: RowChanges) -> StoredRows:
    merged = {**rows, **changes}
    return {key: row for key, row in merged.items() if row is not None}


class _Receiver:
    """What one sink's receiver has seen, and what it must see."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.seen: list[str] = []


_ALARMS = st.integers(0, 3)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("raise"), _ALARMS, st.sampled_from([Severity.WARNING, Severity.CRITICAL])),
        st.tuples(st.just("change"), _ALARMS, st.sampled_from([Severity.WARNING, Severity.CRITICAL])),
        st.tuples(st.just("clear"), _ALARMS, st.none()),
        st.tuples(st.just("test"), st.just(0), st.none()),
        st.tuples(st.just("accept"), st.integers(0, 2), st.integers(0, 5)),
        st.tuples(st.just("lose answer"), st.integers(0, 2), st.integers(1, 5)),
        st.tuples(st.just("restart"), st.just(0), st.none()),
    ),
    max_size=60,
)


class _History:
    """Plays steps against a queue, with a disk that follows it, and an oracle that follows the sentences."""

    def __init__(self) -> None:
        self.queue = Queue(entries=10**6, size_bytes=10**9)
        self.queue.register(SINKS, ())
        self.disk = dict(self.queue.rows())
        self.receivers = {sink: _Receiver() for sink in SINKS}
        self._notified: set[tuple[str, str]] = set()
        self._ids = count()

    def play(self, what: str, which: int, detail: object) -> None:
        if what in {"raise", "change", "clear", "test"}:
            self._tell(self._event(what, f"alarm {which}", detail))
        elif what == "restart":
            self.queue = restore(self.disk, entries=10**6, size_bytes=10**9).queue
        else:
            assert isinstance(detail, int)
            self._send(list(SINKS)[which], detail, answered=what == "accept")
        self.disk = _applied(self.disk, self.queue.take_changes())
        assert self.disk == dict(self.queue.rows())

    def _event(self, what: str, alarm_id: str, severity: object) -> Event:
        event_id = f"e{next(self._ids)}"
        if what == "test":
            return plain(event_id)
        if what == "clear":
            return cleared(event_id, alarm_id)
        assert isinstance(severity, Severity)
        return (raised if what == "raise" else changed)(event_id, alarm_id, severity)

    def _tell(self, event: Event) -> None:
        self.queue.enqueue(event)
        for sink, minimum in SINKS.items():
            notified = (sink, event.alarm_id) in self._notified
            reaches = minimum is None or event.severity.rank >= minimum.rank
            if event.kind is EventKind.TEST or notified or (reaches and event.kind is not EventKind.CLEARED):
                self.receivers[sink].wanted.append(event.event_id)
                self._notified.add((sink, event.alarm_id))
            if event.kind is EventKind.CLEARED and not self._waits(sink, event.alarm_id):
                self._notified.discard((sink, event.alarm_id))

    def _waits(self, sink: str, alarm_id: str) -> bool:
        return alarm_id in self.queue.sinks[sink].sequences

    def _send(self, sink: str, number: int, *, answered: bool) -> None:
        entries = self.queue.pending(sink, number, upto=self.queue.last_seq)
        self.receivers[sink].seen += [entry.event.event_id for entry in entries]
        seqs = [entry.seq for entry in entries]
        if answered:
            self.queue.release(sink, seqs, notified=True)
        else:
            self.queue.give_back(sink, seqs, sent=True)
        for name, alarm_id in list(self._notified):
            if name == sink and not self._waits(name, alarm_id):
                self._notified.discard((name, alarm_id))


@settings(max_examples=examples(150, 20), deadline=None)
@given(_STEPS)
def test_each_sink_sees_each_wanted_event_at_least_once_and_in_order(steps: list[tuple[str, int, object]]) -> None:
    history = _History()
    for step in steps:
        history.play(*step)

    for number, sink in enumerate(SINKS):
        history.play("accept", number, 10**6)
        receiver = history.receivers[sink]
        first_seen = list(dict.fromkeys(receiver.seen))
        assert first_seen == receiver.wanted
    assert history.queue.stats("").entries == 0


@settings(max_examples=examples(150, 20), deadline=None)
@given(_STEPS, st.integers(1, 12))
def test_a_full_spool_leaves_no_receiver_with_an_alarm_that_never_clears(
    steps: list[tuple[str, int, object]], entries: int
) -> None:
    history = _History()
    dropped: Counter[str] = Counter()
    raised_at: dict[str, set[str]] = {sink: set() for sink in SINKS}
    events: dict[str, Event] = {}
    for step in [*steps, *(("clear", alarm, None) for alarm in range(4))]:
        history.play(*step)
        events |= {entry.event.event_id: entry.event for entry in history.queue.listing()}
        history.queue.entries_limit = entries
        for drop in enforce_limits(history.queue):
            dropped[drop.sink] += len(drop.event_ids)
        history.disk = _applied(history.disk, history.queue.take_changes())

    for number, sink in enumerate(SINKS):
        history.play("accept", number, 10**6)
        for event_id in history.receivers[sink].seen:
            event = events[event_id]
            if event.kind is EventKind.CLEARED:
                raised_at[sink].discard(event.alarm_id)
            elif event.alarm_id:
                raised_at[sink].add(event.alarm_id)
        assert raised_at[sink] == set()
        assert history.queue.stats("").sinks[sink].dropped_total == dropped[sink]
    assert history.queue.dropped_total == dropped.total()


def told_severities(queue: Queue) -> dict[str, set[Severity]]:
    return {name: {*told} for name, told in queue.told_severities("noc").items()}


def again(queue: Queue) -> Queue:
    return restore(dict(queue.rows()), entries=9, size_bytes=10**9).queue


def test_under_which_severities_a_sink_was_told_comes_back() -> None:
    queue = Queue(entries=9, size_bytes=10**9)
    queue.register({"noc": None}, ())
    queue.enqueue(raised("r", "a", Severity.WARNING))
    queue.enqueue(raised("s", "never told", Severity.WARNING))
    queue.release("noc", [1], notified=True)
    first = told_severities(again(queue))
    queue.enqueue(changed("u", "a", Severity.CRITICAL))
    queue.give_back("noc", [queue.last_seq], sent=True)
    doubtful = told_severities(again(queue))
    queue.release("noc", [queue.last_seq], notified=True)

    assert first == {"a": {Severity.WARNING}}
    assert doubtful == {"a": {Severity.WARNING, Severity.CRITICAL}}
    assert told_severities(again(queue)) == {"a": {Severity.CRITICAL}}


def test_what_an_older_version_stored_says_nothing_of_severities() -> None:
    queue = Queue(entries=9, size_bytes=10**9)
    queue.register({"noc": None}, ())
    queue.enqueue(raised("r", "a", Severity.WARNING))
    back = restore(dict(queue.rows()) | {("run", ("noc", "a")): (1, 1)}, entries=9, size_bytes=10**9).queue
    before, is_told = told_severities(back), back.notified("noc")
    back.give_back("noc", [back.last_seq], sent=True)

    assert (before, is_told, told_severities(back)) == ({}, {"a": True}, {})
