"""What goes first when the spool is full."""

from __future__ import annotations

import pytest

from hsm_agent.model import Event, EventKind
from hsm_agent.spool.event_codec import encode
from hsm_agent.spool.queue import ENTRY_OVERHEAD, Ledger
from hsm_agent.spool.records import SinkSpec
from tests.fakes.events import changed, cleared, plain, raised

EVERYTHING = 10**9


def _ledger(*names: str, entries: int = 1000, size: int = EVERYTHING) -> Ledger:
    ledger = Ledger(entries=entries, size=size)
    ledger.register([SinkSpec(name=name) for name in names or ("noc",)], ())
    return ledger


def _ids(ledger: Ledger, sink: str = "noc") -> list[str]:
    found = [entry.event.event_id for entry in ledger.pending(sink, 1000, upto=ledger.last_seq)]
    ledger.give_back(sink, (), sent=False)
    return found


def _accept(ledger: Ledger, sink: str, *event_ids: str) -> None:
    entries = ledger.pending(sink, 1000, upto=ledger.last_seq)
    ledger.accept(sink, [entry.seq for entry in entries if entry.event.event_id in event_ids])
    ledger.give_back(sink, (), sent=False)


R, U, C = raised, changed, cleared


@pytest.mark.parametrize(
    ("told", "events", "entries", "kept", "dropped"),
    [
        pytest.param([], [R("r", "a"), R("s", "b")], 2, ["r", "s"], [], id="within bounds nothing goes"),
        pytest.param(
            [],
            [R("r", "a"), C("c", "a"), R("s", "b"), C("d", "b"), R("new", "x")],
            3,
            ["s", "d", "new"],
            ["r", "c"],
            id="the oldest untold run goes whole",
        ),
        pytest.param(
            [R("r", "a")],
            [U("u", "a"), C("c", "a"), R("s", "b"), C("d", "b"), plain("t")],
            3,
            ["u", "c", "t"],
            ["s", "d"],
            id="an untold run goes before a superseded change",
        ),
        pytest.param(
            [R("r", "a")],
            [U("u", "a"), U("v", "a"), C("c", "a"), plain("t")],
            2,
            ["c", "t"],
            ["u", "v"],
            id="superseded changes of a told alarm go, its clear stays",
        ),
        pytest.param(
            [],
            [R("r", "a"), U("u", "a"), U("v", "a"), plain("t")],
            3,
            ["r", "v", "t"],
            ["u"],
            id="of an alarm that is on and untold the raise and the latest stay",
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
            id="clears of told raises and alarms that are on stay, whatever the bound",
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
            id="an alarm told and over protects nothing",
        ),
    ],
)
def test_what_goes_first_when_the_spool_is_full(
    told: list[Event], events: list[Event], entries: int, kept: list[str], dropped: list[str]
) -> None:
    ledger = _ledger()
    for event in told:
        ledger.enqueue(event)
    _accept(ledger, "noc", *(event.event_id for event in told))
    ledger.entries_limit = entries
    for event in events:
        ledger.enqueue(event)

    gone = ledger.fit()

    assert _ids(ledger) == kept
    assert [event_id for drop in gone for event_id in drop.event_ids] == dropped
    assert ledger.stats("").dropped_total == ledger.stats("").sinks["noc"].dropped_total == len(dropped)


def test_the_bound_in_bytes_counts_as_well() -> None:
    one = len(encode(cleared("e0", "a0"))) + ENTRY_OVERHEAD
    ledger = _ledger(size=4 * one)
    for number in range(4):
        ledger.enqueue(raised(f"e{number}", f"a{number}"))
        ledger.enqueue(cleared(f"c{number}", f"a{number}"))

    ledger.fit()

    assert ledger.stats("").bytes <= 4 * one
    assert ledger.stats("").used_percent <= 100
    assert _ids(ledger) == ["e2", "c2", "e3", "c3"]


def test_what_is_on_its_way_is_not_dropped() -> None:
    ledger = _ledger(entries=1)
    for number in range(2):
        ledger.enqueue(raised(f"e{number}", f"a{number}"))
        ledger.enqueue(cleared(f"c{number}", f"a{number}"))
    ledger.pending("noc", 1, upto=ledger.last_seq)

    ledger.fit()
    assert ledger.stats("").entries == 2

    ledger.give_back("noc", [1], sent=False)
    ledger.fit()
    assert ledger.stats("").entries == 0


def test_a_run_is_dropped_for_the_sink_that_was_not_told_alone() -> None:
    ledger = _ledger("dead", "well", entries=3)
    for number in range(3):
        ledger.enqueue(raised(f"e{number}", f"a{number}"))
        ledger.enqueue(cleared(f"c{number}", f"a{number}"))
    _accept(ledger, "well", "e0", "c0", "e1")

    ledger.fit()

    assert _ids(ledger, "dead") == ["e2", "c2"]
    assert _ids(ledger, "well") == ["c1", "e2", "c2"]
    assert [entry.event.event_id for entry in ledger.listing()] == ["c1", "e2", "c2"]


def test_dead_letters_make_room_first_and_are_not_counted_twice() -> None:
    ledger = _ledger(entries=2)
    ledger.enqueue(raised("bad", "a"))
    ledger.bury("noc", 1, "refused", 5.0)
    ledger.enqueue(raised("r", "b"))
    ledger.enqueue(cleared("c", "b"))

    gone = ledger.fit()

    assert [(drop.event_ids, drop.why) for drop in gone] == [(("bad",), "dead letter")]
    assert _ids(ledger) == ["r", "c"]
    assert (ledger.stats("").dropped_total, ledger.stats("").sinks["noc"].dead_letters_total) == (0, 1)


def test_a_dropped_run_is_forgotten_whole() -> None:
    ledger = _ledger(entries=1)
    ledger.enqueue(raised("r", "a"))
    ledger.enqueue(cleared("c", "a"))
    ledger.fit()

    ledger.enqueue(cleared("late", "a"))

    assert _ids(ledger) == []
    assert ledger.cursors["noc"].runs == {}
