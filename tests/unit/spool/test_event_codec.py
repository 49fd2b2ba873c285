"""Stored events come back as they were, from older and newer versions too."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.spool.tables import decode_event, encode_event
from tests.fakes.events import raised

_TEXT = st.text(st.characters(), max_size=30)  # surrogates included

EVENTS = st.builds(
    Event,
    event_id=_TEXT,
    kind=st.sampled_from(EventKind),
    severity=st.sampled_from(Severity),
    time=st.floats(allow_nan=False, allow_infinity=False),
    text=_TEXT,
    agent=_TEXT,
    alarm_id=_TEXT,
    value=_TEXT,
    threshold=_TEXT,
    cause=_TEXT,
    labels=st.lists(st.tuples(_TEXT, _TEXT), max_size=3).map(tuple),
)


@given(EVENTS)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert decode_event(encode_event(event)) == event


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    payload = json.dumps({**json.loads(encode_event(raised("e1", "a1"))), "mood": "good"}).encode()

    assert decode_event(payload) == raised("e1", "a1")


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'{"event_id":"e"}', id="no kind"),
        pytest.param(b'{"kind":"SONG","severity":"warning","time":1}', id="unknown kind"),
        pytest.param(b'{"kind":"TEST","severity":"warning","time":null}', id="no time"),
        pytest.param(b'{"kind":"TEST","severity":"warning","time":1,"text":7}', id="text is a number"),
        pytest.param(b'{"kind":"TEST","severity":"warning","time":1,"labels":[1]}', id="labels are no pairs"),
    ],
)
def test_what_is_no_event_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        decode_event(payload)
