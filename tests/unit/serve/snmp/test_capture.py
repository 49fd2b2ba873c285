"""Captures: what is taken of the store, and how later ones lie on top of earlier ones."""

from __future__ import annotations

from hsm_agent.model import Severity
from hsm_agent.serve.snmp.capture import Capture, capture, merged
from tests.fakes.snmp_present import alarm, raise_alarms, reading, store

SERIES = alarm().series


def test_a_capture_holds_what_was_true_when_it_was_taken() -> None:
    present = store()
    taken = capture(present, ["soft"], alarms=True, worst={SERIES: Severity.WARNING})
    present.update([reading("token_present", 0, source="soft")])
    raise_alarms(present, [])

    status, readings = taken.sources["soft"]
    assert status == present.sources["soft"]
    assert [(one.resource, one.value) for one in readings] == [("payments", 1), ("slot 9", 0)]
    assert taken.alarms == (alarm(),)
    assert taken.worst == {SERIES: Severity.WARNING}


def test_a_source_whose_severities_changed_is_taken_too() -> None:
    present = store()

    raised = capture(present, ["soft"], alarms=True, worst={})
    raise_alarms(present, [])
    cleared = capture(present, [], alarms=True, worst=raised.worst)
    quiet = capture(present, [], alarms=True, worst=cleared.worst)

    assert list(raised.sources) == ["soft", "luna-a"]
    assert list(cleared.sources) == ["luna-a"]
    assert list(quiet.sources) == []


def test_without_alarms_the_severities_stay() -> None:
    taken = capture(store(), ["soft"], alarms=False, worst={SERIES: Severity.CRITICAL})

    assert taken.alarms is None
    assert taken.worst == {SERIES: Severity.CRITICAL}


def test_of_each_source_and_of_the_alarms_the_last_is_kept() -> None:
    older = Capture(sources={"a": (None, ()), "b": (None, ())}, worst={}, alarms=(alarm(),))
    newer = Capture(sources={"b": (None, (reading("x", 1),))}, worst={SERIES: Severity.MINOR}, alarms=None)

    both = merged(older, newer)

    assert both == Capture(
        sources={"a": (None, ()), "b": (None, (reading("x", 1),))}, worst={SERIES: Severity.MINOR}, alarms=(alarm(),)
    )
    assert merged(older, Capture(sources={}, worst={}, alarms=())) == Capture(
        sources=older.sources, worst={}, alarms=()
    )


def test_nothing_and_something_is_something() -> None:
    one = Capture(sources={}, worst={}, alarms=None)

    assert (merged(None, one), merged(one, None), merged(None, None)) == (one, one, None)
