"""Which events a sink is told, by the minimum severity it asks for."""

from __future__ import annotations

import pytest

from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.spool.changes import Pending
from hsm_agent.spool.sink_queue import Cursor
from tests.fakes.events import changed, cleared, plain, raised

CRITICAL, WARNING, UNKNOWN = Severity.CRITICAL, Severity.WARNING, Severity.INDETERMINATE


def _told(minimum: Severity | None, events: list[Event]) -> list[str]:
    cursor = Cursor("noc", minimum, Pending(), dropped=0, buried=0)
    told = []
    for seq, event in enumerate(events):
        if cursor.wants(event):
            cursor.queue(seq, event)
            told.append(event.event_id)
    return told


LIFE = [raised("r", "a", WARNING), changed("up", "a", CRITICAL), changed("down", "a", WARNING), cleared("c", "a")]


@pytest.mark.parametrize(
    ("minimum", "events", "told"),
    [
        pytest.param(None, LIFE, ["r", "up", "down", "c"], id="no minimum: everything"),
        pytest.param(WARNING, LIFE, ["r", "up", "down", "c"], id="reached by the raise: all of the alarm"),
        pytest.param(CRITICAL, LIFE, ["up", "down", "c"], id="reached later: from there on, down and clear included"),
        pytest.param(CRITICAL, [raised("r", "a"), cleared("c", "a")], [], id="never reached: not even the clear"),
        pytest.param(CRITICAL, [raised("r", "a", CRITICAL), cleared("c", "b")], ["r"], id="each alarm for itself"),
        pytest.param(None, [cleared("c", "a")], [], id="a clear whose raise was never told is not"),
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
def test_minimum_severity(minimum: Severity | None, events: list[Event], told: list[str]) -> None:
    assert _told(minimum, events) == told


def test_after_its_clear_was_accepted_an_alarm_is_over() -> None:
    cursor = Cursor("noc", CRITICAL, Pending(), dropped=0, buried=0)
    cursor.queue(1, raised("r", "a", CRITICAL))
    cursor.queue(2, cleared("c", "a"))

    cursor.remove(1, told=True)
    cursor.remove(2, told=True)

    assert cursor.runs == {}
    assert not cursor.wants(cleared("again", "a"))


def test_what_was_sent_without_an_answer_counts_as_told() -> None:
    cursor = Cursor("noc", None, Pending(), dropped=0, buried=0)
    cursor.queue(1, raised("r", "a"))
    cursor.queue(2, cleared("c", "a"))
    cursor.take(10, upto=2)

    cursor.give_back([1, 2], sent=True)

    assert list(cursor.untold_runs()) == []
    assert cursor.take(10, upto=2) == [(1, 1), (2, 1)]


def test_what_never_left_does_not_count_as_told() -> None:
    cursor = Cursor("noc", None, Pending(), dropped=0, buried=0)
    cursor.queue(1, raised("r", "a"))
    cursor.queue(2, cleared("c", "a"))
    cursor.take(10, upto=2)
    assert list(cursor.untold_runs()) == []

    cursor.give_back([1, 2], sent=False)

    assert list(cursor.untold_runs()) == [[1, 2]]
    assert cursor.take(1, upto=2) == [(1, 0)]
