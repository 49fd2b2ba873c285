"""What is stored comes back as it was, from older versions too; what is damaged is a ValueError."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent import codec
from hsm_agent.evaluate.state import Alarm, ConditionMemory, ObjectState, PendingLevels, RuleState, SeriesState, Silence
from hsm_agent.model import Event, EventKind, Severity
from tests.fakes.events import raised

if TYPE_CHECKING:
    from collections.abc import Callable

texts = st.text(st.characters(), max_size=8)  # surrogates included
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
    threshold=texts,
    cause=texts,
    labels=labels,
)
alarms = st.builds(
    Alarm,
    alarm_id=texts,
    since=times,
    event=events,
    notified_severity=severities,
    notified_at=times,
    notification_pending=st.booleans(),
)
rule_states = st.builds(
    RuleState,
    level=severities,
    unknown=st.booleans(),
    pending=st.builds(PendingLevels, warning=clocks, critical=clocks),
    memory=st.builds(
        ConditionMemory,
        seen=st.none() | st.tuples(numbers, labels).map(json.dumps),
        clock=clocks,
        last=st.none() | numbers,
        before=st.none() | numbers,
    ),
    alarm=st.none() | alarms,
)


@given(events)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert codec.from_bytes(Event, codec.to_bytes(event)) == event


@given(rule_states)
def test_the_state_of_a_rule_comes_back_as_it_was(state: RuleState) -> None:
    assert codec.decode(RuleState, codec.parse(codec.dump(codec.encode(state)))) == state


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(SeriesState(), id="present"),
        pytest.param(SeriesState(missing=True, since=0.0, reason="gone"), id="missing"),
        pytest.param(ObjectState(zero=True), id="object"),
        pytest.param(Silence(silence_id="s", until=9.0, reason="ä", by_uid=0, created=1.0, rule="pin"), id="silence"),
    ],
)
def test_the_rest_comes_back_as_it_was(value: object) -> None:
    assert codec.decode(type(value), codec.encode(value)) == value


@dataclass(slots=True, kw_only=True)
class _Counted:
    """Members of every shape that a checkpoint has."""

    totals: dict[str, int] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    levels: dict[str, Severity] = field(default_factory=dict)
    states: dict[str, ObjectState] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


def test_objects_and_arrays_come_back_as_they_were() -> None:
    value = _Counted(
        totals={"Login\tSUCCESS": 3, "": 0},
        times={"1": [1.5, 2.0], "2": []},
        levels={"pin": Severity.CRITICAL},
        states={"a": ObjectState(zero=True), "b": ObjectState()},
        names=["ä", "b"],
    )
    encoded = codec.encode(value)

    assert json.loads(codec.dump(encoded)) == {
        "totals": {"Login\tSUCCESS": 3, "": 0},
        "times": {"1": [1.5, 2.0], "2": []},
        "levels": {"pin": "critical"},
        "states": {"a": {"zero": True}, "b": {}},
        "names": ["ä", "b"],
    }
    assert codec.from_bytes(_Counted, codec.to_bytes(value)) == value
    assert codec.decode(_Counted, codec.encode(_Counted())) == _Counted()
    assert codec.decode(_Counted, {"names": ["written by an older version"]}).totals == {}


@pytest.mark.parametrize(
    "member",
    [
        {"totals": []},
        {"totals": {"a": "1"}},
        {"totals": {"a": True}},
        {"times": {"a": 1.0}},
        {"times": {"a": [None]}},
        {"levels": {"a": "loud"}},
        {"states": {"a": {"mood": "good"}}},
        {"names": {}},
        {"names": [1]},
        {"names": None},
    ],
    ids=str,
)
def test_objects_and_arrays_of_other_contents_are_value_errors(member: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        codec.decode(_Counted, {**codec.encode(_Counted()), **member})


def test_members_have_the_names_of_older_versions() -> None:
    event = Event(event_id="e", kind=EventKind.TEST, severity=Severity.WARNING, time=2, text="t", agent="a")
    state = RuleState(
        level=Severity.WARNING,
        pending=PendingLevels(critical=0.0),
        memory=ConditionMemory(clock=1.0),
        alarm=Alarm(alarm_id="i", since=1.0, event=event),
    )

    assert codec.encode(state) == {
        "level": "warning",
        "critical_since": 0.0,
        "clock": 1.0,
        "alarm": {
            "id": "i",
            "since": 1.0,
            "event": {"event_id": "e", "kind": "TEST", "severity": "warning", "time": 2, "text": "t", "agent": "a"},
            "told": "cleared",
            "told_at": 0.0,
            "owed": False,
        },
    }
    assert codec.decode(RuleState, codec.encode(state)) == state


def test_what_equals_its_default_is_left_out_unless_an_older_version_asks_for_it() -> None:
    assert codec.encode(RuleState()) == {}
    assert codec.encode(SeriesState(since=0.0)) == {"since": 0.0}
    assert set(codec.encode(Silence(silence_id="s", until=9.0, reason="", by_uid=0, created=1.0))) == {
        *("silence_id", "until", "reason", "by_uid", "created", "source", "resource", "rule")
    }


def test_texts_that_an_older_version_left_out_are_empty() -> None:
    payload = b'{"kind":"TEST","severity":"warning","time":1}'

    event = codec.from_bytes(Event, payload)

    assert (event.event_id, event.text, event.agent) == ("", "", "")


def test_members_of_a_newer_version_are_ignored_where_they_may_be() -> None:
    payload = json.dumps({**codec.encode(raised("e1", "a1")), "mood": "good"}).encode()

    assert codec.from_bytes(Event, payload) == raised("e1", "a1")
    assert codec.decode(ObjectState, {"zero": True, "lost": 1.0}, ignored=("lost",)) == ObjectState(zero=True)
    with pytest.raises(ValueError, match="mood"):
        codec.decode(ObjectState, {"mood": "good"})


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[]", id="no object"),
        pytest.param(99999 * b"[", id="nested too deeply"),
        pytest.param(b'{"event_id":"e"}', id="no kind"),
        pytest.param(b'{"kind":"SONG","severity":"warning","time":1}', id="unknown kind"),
        pytest.param(b'{"kind":"TEST","severity":"warning","time":null}', id="no time"),
        pytest.param(b'{"kind":"TEST","severity":"warning"}', id="time is missing"),
        pytest.param(b'{"kind":"TEST","severity":"warning","time":1,"text":7}', id="text is a number"),
        pytest.param(b'{"kind":"TEST","severity":"warning","time":1,"labels":7}', id="labels are no list"),
        pytest.param(b'{"kind":"TEST","severity":"warning","time":1,"labels":[1]}', id="labels are no pairs"),
        pytest.param(b'{"kind":"TEST","severity":"warning","time":1,"labels":[["a"]]}', id="half a label"),
    ],
)
def test_what_is_no_event_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        codec.from_bytes(Event, payload)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (codec.text, "a"),
        (codec.flag, False),
        (codec.number, float("inf")),
        (codec.number, 3),
        (codec.whole, -3),
        (codec.finite, 1.5),
        (codec.positive, 3600),
    ],
)
def test_what_is_right_is_taken_as_it_is(check: Callable[[object], object], value: object) -> None:
    assert check(value) == value
    assert codec.optional(check, value) == value
    assert codec.optional(check, None) is None


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (codec.text, 1),
        (codec.flag, 1),
        (codec.number, True),
        (codec.number, "1"),
        (codec.number, float("nan")),
        (codec.number, 2**63),
        (codec.whole, True),
        (codec.whole, 1.0),
        (codec.whole, -(2**70)),
        (codec.finite, float("inf")),
        (codec.positive, 0),
        (codec.positive, -1.0),
    ],
)
def test_what_is_wrong_is_no_value(check: Callable[[object], object], value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        check(value)


def test_a_lone_surrogate_makes_a_text_that_a_file_takes_and_others_stay_as_they_were() -> None:
    assert codec.dump(["Zürich"]) == '["Zürich"]'
    assert codec.dump(["M\udcfcnchen"]).encode() == b'["M\\udcfcnchen"]'
    assert codec.parse(codec.dump(["M\udcfcnchen"])) == ["M\udcfcnchen"]
