"""What of one delivery over RELP is sent, answered and reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.deliver.relp import _Batch
from hsm_agent.net.address import Address
from hsm_agent.wire.syslog.relp import Accepted, Rejected
from tests.fakes.syslog_events import numbered

if TYPE_CHECKING:
    from hsm_agent.model import Event

RECEIVER = Address.parse("relp:siem:2514", ("relp",))


def sent(batch: _Batch, count: int) -> None:
    for txnr in range(2, 2 + count):
        assert batch.next() is not None
        batch.sent(txnr)


def test_answers_are_reported_in_order() -> None:
    events = numbered(3)
    reported: list[Event] = []
    batch = _Batch(events, reported.append, ())
    sent(batch, 3)

    batch.note(Accepted(txnr=4), RECEIVER)
    assert reported == []
    batch.note(Accepted(txnr=2), RECEIVER)
    assert reported == events[:1]
    batch.note(Accepted(txnr=3), RECEIVER)
    assert reported == events
    assert batch.next() is None


def test_after_a_refusal_nothing_more_is_sent_and_only_what_was_accepted_behind_it_is_kept() -> None:
    events = numbered(5)
    reported: list[Event] = []
    batch = _Batch(events, reported.append, ())
    sent(batch, 4)

    first, last = (Rejected(txnr=number, status=500, text="no") for number in (3, 5))
    for answer in (Accepted(txnr=2), first, last, Accepted(txnr=4)):
        batch.note(answer, RECEIVER)

    assert reported == events[:1]
    assert batch.refused is not None
    assert batch.refused.event_id == events[1].event_id
    assert str(batch.refused) == "relp:siem:2514: the receiver answered 500 no"
    assert batch.next() is None
    assert batch.acknowledged == {events[2].event_id}


def test_a_refusal_behind_an_event_without_an_answer_does_not_count_yet() -> None:
    events = numbered(3)
    batch = _Batch(events, lambda _event: None, ())
    sent(batch, 2)

    batch.note(Rejected(txnr=3, status=500, text="no"), RECEIVER)

    assert batch.refused is None
    assert batch.next() == events[2]


def test_what_is_known_is_not_sent_again() -> None:
    events = numbered(3)
    reported: list[Event] = []
    batch = _Batch(events, reported.append, {events[0].event_id, "another"})

    assert batch.next() == events[1]
    batch.report()
    assert reported == events[:1]


@given(st.permutations(range(6)))
def test_every_order_of_answers_reports_each_event_once_in_order(order: list[int]) -> None:
    events = numbered(6)
    reported: list[Event] = []
    batch = _Batch(events, reported.append, ())
    sent(batch, 6)

    for position in order:
        batch.note(Accepted(txnr=2 + position), RECEIVER)

    assert reported == events
