"""Entries, cursors and bounds: who is sent what, when an entry leaves, and what goes first when the spool is full."""

from __future__ import annotations

import pytest

from hsm_agent.model import Severity
from hsm_agent.spool.event_codec import encode
from hsm_agent.spool.queue import ENTRY_OVERHEAD, Ledger
from hsm_agent.spool.records import DeadLetter, Registered, SinkSpec, Waiting
from tests.fakes.events import plain, raised

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


def test_each_sink_has_a_cursor_of_its_own() -> None:
    ledger = _ledger("noc", "siem")
    for number in range(3):
        ledger.enqueue(raised(f"e{number}", f"a{number}"))

    _accept(ledger, "noc", "e0", "e1")

    assert _ids(ledger, "noc") == ["e2"]
    assert _ids(ledger, "siem") == ["e0", "e1", "e2"]


def test_an_entry_leaves_when_its_last_sink_has_accepted_it() -> None:
    ledger = _ledger("noc", "siem")
    ledger.enqueue(raised("e", "a"))
    assert ledger.stats("").bytes == len(encode(raised("e", "a"))) + ENTRY_OVERHEAD

    _accept(ledger, "noc", "e")
    assert ledger.stats("").entries == 1

    _accept(ledger, "siem", "e")
    assert (ledger.stats("").entries, ledger.stats("").bytes) == (0, 0)


def test_an_event_that_nobody_wants_takes_no_room() -> None:
    ledger = Ledger(entries=10, size=EVERYTHING)
    ledger.register([SinkSpec(name="noc", minimum_severity=Severity.CRITICAL)], ())

    ledger.enqueue(raised("e", "a"))

    assert ledger.stats("").entries == 0


def test_what_is_not_released_yet_is_not_pending() -> None:
    ledger = _ledger()
    ledger.enqueue(raised("durable", "a"))
    durable = ledger.last_seq
    ledger.enqueue(raised("on its way to the disk", "b"))

    assert [entry.event.event_id for entry in ledger.pending("noc", 10, upto=durable)] == ["durable"]


def test_an_event_for_one_sink_alone() -> None:
    ledger = _ledger("noc", "siem")

    ledger.enqueue(plain("t"), only_sink="siem")

    assert (_ids(ledger, "noc"), _ids(ledger, "siem")) == ([], ["t"])
    with pytest.raises(KeyError):
        ledger.enqueue(plain("t"), only_sink="nobody")


def test_a_new_sink_is_told_what_is_raised() -> None:
    ledger = _ledger("noc")
    ledger.enqueue(raised("e", "a"))

    specs = [SinkSpec(name="noc"), SinkSpec(name="siem", minimum_severity=Severity.CRITICAL)]
    registered = ledger.register(specs, [raised("e", "a"), raised("x", "b", Severity.CRITICAL)])

    assert registered == Registered(added=("siem",))
    assert (_ids(ledger, "noc"), _ids(ledger, "siem")) == (["e"], ["x"])


def test_a_sink_that_listens_to_more_than_before_is_told_what_it_missed() -> None:
    ledger = Ledger(entries=10, size=EVERYTHING)
    ledger.register([SinkSpec(name="noc", minimum_severity=Severity.CRITICAL)], ())
    low, high = raised("low", "a"), raised("high", "b", Severity.CRITICAL)
    ledger.enqueue(low)
    ledger.enqueue(high)

    ledger.register([SinkSpec(name="noc", minimum_severity=Severity.WARNING)], [low, high])

    assert _ids(ledger) == ["high", "low"]


def test_a_sink_that_is_gone_loses_its_cursor_and_its_dead_letters() -> None:
    ledger = _ledger("noc", "siem")
    ledger.enqueue(raised("e1", "a"))
    ledger.enqueue(raised("e2", "b"))
    _accept(ledger, "noc", "e1", "e2")
    ledger.bury("siem", 1, "too long", 5.0)

    registered = ledger.register([SinkSpec(name="noc")], ())

    assert registered == Registered(removed=("siem",), forgotten_events=1)
    assert ledger.stats("").entries == 0
    assert ledger.pending("siem", 10, upto=99) == []
    ledger.accept("siem", [2])  # a late answer of a sink that is gone


def test_a_dead_letter_is_not_sent_again_but_kept_to_be_looked_at() -> None:
    ledger = _ledger("noc", "siem")
    ledger.enqueue(raised("bad", "a"))
    ledger.enqueue(raised("good", "b"))

    assert ledger.bury("noc", 1, "refused", 5.0) == "bad"

    _accept(ledger, "siem", "bad", "good")
    _accept(ledger, "noc", "good")
    shown = ledger.show("bad")
    assert shown is not None
    assert (shown.waiting, shown.dead) == ((), (DeadLetter(sink="noc", reason="refused", time=5.0),))
    assert [entry.event.event_id for entry in ledger.listing()] == ["bad"]
    assert (ledger.stats("").sinks["noc"].dead_letters, ledger.stats("").sinks["noc"].dead_letters_total) == (1, 1)
    assert ledger.bury("noc", 1, "refused", 5.0) == ""


def test_dropping_by_hand_takes_it_from_every_sink() -> None:
    ledger = _ledger("noc", "siem")
    ledger.enqueue(raised("e1", "a"))
    ledger.enqueue(raised("e2", "b"))
    ledger.bury("noc", 1, "refused", 5.0)

    assert ledger.drop("e1")
    assert ledger.drop("2")

    assert not ledger.drop("e1")
    assert (ledger.stats("").entries, ledger.stats("").dropped_total) == (0, 0)
    assert ledger.stats("").sinks["noc"].dead_letters == 0


def test_what_waits_is_shown_with_its_attempts() -> None:
    ledger = _ledger("noc", "siem")
    ledger.enqueue(raised("e", "a"))
    ledger.pending("noc", 1, upto=1)
    ledger.give_back("noc", [1], sent=True)

    shown = ledger.show("1")

    assert shown is not None
    assert shown.waiting == (Waiting(sink="noc", attempts=1), Waiting(sink="siem", attempts=0))
    assert ledger.show("nothing") is None
