"""What is written down and read again."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.evaluate import state_codec as rows
from hsm_agent.evaluate.levels import Waiting
from hsm_agent.evaluate.silences import Silence
from hsm_agent.evaluate.trends import Points, Windows
from hsm_agent.evaluate.verdicts import Memory
from hsm_agent.evaluate.watches import RESTING, Alarm, Presence, Track, Watch
from hsm_agent.model import Event, EventKind, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

texts = st.text(max_size=8)
numbers = st.floats(allow_nan=False)
times = st.floats(allow_nan=False, allow_infinity=False)
clocks = st.none() | times
labels = st.lists(st.tuples(texts, texts), max_size=2).map(tuple)
severities = st.sampled_from(Severity)
events = st.builds(
    Event,
    event_id=texts,
    kind=st.sampled_from(EventKind),
    severity=severities,
    time=times,
    text=texts,
    agent=texts,
    alarm_id=texts,
    value=texts,
    labels=labels,
)
alarms = st.builds(Alarm, alarm_id=texts, since=times, event=events, told=severities, told_at=times, owed=st.booleans())
seen = st.tuples(numbers, labels).map(json.dumps)
watches = st.builds(
    Watch,
    level=severities,
    unknown=st.booleans(),
    waiting=st.builds(Waiting, warning=clocks, critical=clocks),
    memory=st.builds(Memory, seen=st.none() | seen, clock=clocks, last=st.none() | numbers),
    alarm=st.none() | alarms,
)


@given(watches)
def test_a_watch_is_read_as_it_was_written(watch: Watch) -> None:
    assert rows.watch_from(rows.watch_text(watch)) == watch


@pytest.mark.parametrize(
    ("value", "text_of", "read"),
    [
        pytest.param(Track(), rows.track_text, rows.track_from, id="present"),
        pytest.param(Track(missing=True, since=0.0, reason="gone"), rows.track_text, rows.track_from, id="missing"),
        pytest.param(Presence(zero=True), rows.presence_text, rows.presence_from, id="presence"),
        pytest.param(Windows(number=3, low=1.5, lows=(None, 2.0)), rows.windows_text, rows.windows_from, id="windows"),
        pytest.param(
            Silence(silence_id="s", until=9.0, reason="ä", by_uid=0, created=1.0, rule="pin"),
            rows.silence_text,
            rows.silence_from,
            id="silence",
        ),
    ],
)
def test_the_rest_is_read_as_it_was_written(
    value: object, text_of: Callable[[object], str], read: Callable[[str], object]
) -> None:
    assert read(text_of(value)) == value


def test_what_is_at_rest_needs_next_to_nothing() -> None:
    assert rows.watch_text(RESTING) == "{}"
    assert rows.track_text(Track()) == "{}"


def test_a_new_point_rewrites_its_own_chunk_only() -> None:
    points = Points(array("d", [0.0, 10.0, 20.0, 30.0]), array("d", [1.0, 2.0, 3.0, 4.0]))

    assert rows.newest_chunk(points, lambda time: int(time) // 20) == "[[20.0,3.0],[30.0,4.0]]"
    assert rows.newest_chunk(points, lambda _: 0) == "[[0.0,1.0],[10.0,2.0],[20.0,3.0],[30.0,4.0]]"


def test_chunks_come_together_in_any_order() -> None:
    assert rows.points_from(["[[20,3]]", "[[0,1],[10,2]]"]) == Points(
        array("d", [0.0, 10.0, 20.0]), array("d", [1.0, 2.0, 3.0])
    )
