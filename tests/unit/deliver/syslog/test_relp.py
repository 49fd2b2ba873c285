"""What of one delivery is sent, answered and reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.deliver.syslog.relp import _Batch
from hsm_agent.wire.syslog.relp import Accepted, Rejected
from tests.fakes.syslog_events import numbered

if TYPE_CHECKING:
    from hsm_agent.model import Event


def sent(batch: _Batch, count: int) -> None:
    for txnr in range(2, 2 + count):
        assert batch.next() is not None
        batch.sent(txnr)


def test_answers_are_reported_in_order() -> None:
    events = numbered(3)
    batch = _Batch(events, {})
    reported: list[Event] = []
    sent(batch, 3)

    batch.answered(Accepted(txnr=4))
    batch.report(reported.append)
    assert reported == []
    batch.answered(Accepted(txnr=2))
    batch.report(reported.append)
    assert reported == events[:1]
    batch.answered(Accepted(txnr=3))
    batch.report(reported.append)
    assert reported == events
    assert batch.next() is None


def test_after_a_refusal_nothing_more_is_sent_and_only_what_was_accepted_behind_it_is_kept() -> None:
    events = numbered(4)
    batch = _Batch(events, {})
    reported: list[Event] = []
    sent(batch, 4)

    first, last = (Rejected(txnr=number, status=500, text="no") for number in (3, 5))
    answers: list[Accepted | Rejected] = [Accepted(txnr=2), first, last, Accepted(txnr=4)]
    for answer in answers:
        batch.answered(answer)
    batch.report(reported.append)

    assert reported == events[:1]
    assert batch.refused == events[1]
    assert batch.refusal().text == "no"
    assert batch.next() is None
    assert batch.unreported() == {events[2].event_id: Accepted(txnr=4)}


def test_what_is_known_is_not_sent_again() -> None:
    events = numbered(3)
    batch = _Batch(events, {events[0].event_id: Accepted(txnr=9), "another": Accepted(txnr=8)})
    reported: list[Event] = []

    assert batch.next() == events[1]
    batch.report(reported.append)
    assert reported == events[:1]


@given(st.permutations(range(6)))
def test_every_order_of_answers_reports_each_event_once_in_order(order: list[int]) -> None:
    events = numbered(6)
    batch = _Batch(events, {})
    reported: list[Event] = []
    sent(batch, 6)

    for position in order:
        batch.answered(Accepted(txnr=2 + position))
        batch.report(reported.append)

    assert reported == events
