"""Which events a sink gets, by the minimum severity it asks for."""

from __future__ import annotations

import pytest

from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.spool.sink_queue import SinkQueue
from tests.fakes.events import changed, cleared, plain, raised

CRITICAL, WARNING, UNKNOWN = Severity.CRITICAL, Severity.WARNING, Severity.INDETERMINATE


def _wanted(minimum: Severity | None, events: list[Event]) -> list[str]:
    sink_queue = SinkQueue("noc", minimum, {})
    wanted = []
    for seq, event in enumerate(events):
        if sink_queue.wants(event):
            sink_queue.enqueue(seq, event)
            wanted.append(event.event_id)
    return wanted


LIFE = [raised("r", "a", WARNING), changed("up", "a", CRITICAL), changed("down", "a", WARNING), cleared("c", "a")]


@pytest.mark.parametrize(
    ("minimum", "events", "wanted"),
    [
        pytest.param(None, LIFE, ["r", "up", "down", "c"], id="no minimum: everything"),
        pytest.param(WARNING, LIFE, ["r", "up", "down", "c"], id="reached by the raise: all of the alarm"),
        pytest.param(CRITICAL, LIFE, ["up", "down", "c"], id="reached later: from there on, down and clear included"),
        pytest.param(CRITICAL, [raised("r", "a"), cleared("c", "a")], [], id="never reached: not even the clear"),
        pytest.param(CRITICAL, [raised("r", "a", CRITICAL), cleared("c", "b")], ["r"], id="each alarm for itself"),
        pytest.param(None, [cleared("c", "a")], [], id="a clear whose raise was never sent is not"),
        pytest.param(
            WARNING, [raised("r", "a"), changed("u", "a", UNKNOWN), cleared("c", "a")], ["r", "u", "c"], id="unknown"
        ),
        pytest.param(WARNING, [changed("u", "a", UNKNOWN)], [], id="indeterminate is below warning"),
        pytest.param(
            CRITICAL,
            [plain("t"), plain("n", EventKind.NOTICE), plain("h", EventKind.HEARTBEAT)],
            ["t", "n", "h"],
            id="tests, notices and heartbeats always",
        ),
        pytest.param(
            None, [raised("r", "a"), cleared("c", "a"), cleared("c2", "a")], ["r", "c", "c2"], id="still queued"
        ),
    ],
)
def test_minimum_severity(minimum: Severity | None, events: list[Event], wanted: list[str]) -> None:
    assert _wanted(minimum, events) == wanted


def test_after_its_clear_was_accepted_an_alarm_is_over() -> None:
    sink_queue = SinkQueue("noc", CRITICAL, {})
    sink_queue.enqueue(1, raised("r", "a", CRITICAL))
    sink_queue.enqueue(2, cleared("c", "a"))

    sink_queue.remove(1, notified=True)
    sink_queue.remove(2, notified=True)

    assert sink_queue.sequences == {}
    assert not sink_queue.wants(cleared("again", "a"))


def test_what_was_sent_without_an_answer_counts_as_wanted() -> None:
    sink_queue = SinkQueue("noc", None, {})
    sink_queue.enqueue(1, raised("r", "a"))
    sink_queue.enqueue(2, cleared("c", "a"))
    sink_queue.take(10, upto=2)

    sink_queue.give_back([1, 2], sent=True)

    assert list(sink_queue.unnotified()) == []
    assert sink_queue.take(10, upto=2) == [1, 2]
    assert [sink_queue.waiting[seq].attempts for seq in (1, 2)] == [1, 1]


def test_what_never_left_does_not_count_as_wanted() -> None:
    sink_queue = SinkQueue("noc", None, {})
    sink_queue.enqueue(1, raised("r", "a"))
    sink_queue.enqueue(2, cleared("c", "a"))
    sink_queue.take(10, upto=2)
    assert list(sink_queue.unnotified()) == []

    sink_queue.give_back([1, 2], sent=False)

    assert list(sink_queue.unnotified()) == [[1, 2]]
    assert sink_queue.take(1, upto=2) == [1]
    assert sink_queue.waiting[1].attempts == 0
