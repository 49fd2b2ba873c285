"""The group's keys and what is written there: read back as it was, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.group.keys import (
    FORMAT,
    BeatRecord,
    ConfigRecord,
    GroupKey,
    GroupKeys,
    HeadRecord,
    KeyKind,
    LockRecord,
    MemberRecord,
    UnreadableKeyError,
    event_bytes,
    read_event,
    read_record,
    read_text,
    record_bytes,
)
from hsm_agent.group.progress import Place, Progress, instance_of, instance_states
from hsm_agent.model import Event, EventKind, GroupRole, Severity
from hsm_agent.net.etcd_messages import KeyValue

KEYS = GroupKeys("emea")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


def entry(value: bytes, key: bytes = KEYS.lock) -> KeyValue:
    return KeyValue(key=key, value=value, mod_revision=7, create_revision=7, lease=0)


def event(event_id: str = "e1", **changes: Any) -> Event:
    keys: dict[str, Any] = {
        "kind": EventKind.RAISED,
        "severity": Severity.MAJOR,
        "time": 1.5,
        "text": "x",
        "agent": "a",
    }
    return Event(event_id=event_id, **(keys | changes))


def test_each_key_is_below_the_groups_and_says_what_it_is_for() -> None:
    assert KEYS.lock == b"/hsm-agent/emea/lock"
    assert KEYS.wait("siem/1", "e1") == b"/hsm-agent/emea/wait/siem%2F1/e1"
    assert KEYS.prefix <= KEYS.config < KEYS.end
    first, end = KEYS.all_of(KeyKind.MEMBER)
    assert first <= KEYS.member("a") < end <= KEYS.sequence("s", "a")
    assert [KEYS.read(key) for key in (KEYS.lock, KEYS.beat, KEYS.head, KEYS.config)] == [
        GroupKey(KeyKind.LOCK),
        GroupKey(KeyKind.BEAT),
        GroupKey(KeyKind.HEAD),
        GroupKey(KeyKind.CONFIG),
    ]


@given(name=NAMES, sink=NAMES)
def test_any_name_comes_back_from_its_key(name: str, sink: str) -> None:
    found = [
        KEYS.read(key)
        for key in (
            KEYS.member(name),
            KEYS.state(name),
            KEYS.event(name),
            KEYS.wait(sink, name),
            KEYS.sequence(sink, name),
        )
    ]

    assert found == [
        GroupKey(KeyKind.MEMBER, name),
        GroupKey(KeyKind.STATE, name),
        GroupKey(KeyKind.EVENT, name),
        GroupKey(KeyKind.WAIT, name, sink),
        GroupKey(KeyKind.SEQUENCE, name, sink),
    ]


@pytest.mark.parametrize("rest", ["lock/", "lock/a", "member", "member/", "wait/a", "wait/a/", "wait//a", "wait/%ff/a"])
def test_a_key_that_names_too_little_or_too_much_is_refused_by_name(rest: str) -> None:
    with pytest.raises(UnreadableKeyError, match=f"^/hsm-agent/emea/{rest}: "):
        KEYS.read(KEYS.prefix + rest.encode())


def test_a_key_of_a_later_version_is_passed_over_and_one_of_others_refused() -> None:
    assert KEYS.read(KEYS.prefix + b"quota/a") is None
    for key in (b"/hsm-agent/apac/lock", KEYS.prefix + b"state/\xff"):
        with pytest.raises(UnreadableKeyError):
            KEYS.read(key)


@pytest.mark.parametrize("group", ["", "a/b", "a\nb", "a\u202eb"])
def test_a_group_needs_a_name_that_a_key_can_have(group: str) -> None:
    with pytest.raises(ValueError, match="not the name of a group"):
        GroupKeys(group)


RECORDS = [
    LockRecord(name="a", instance="i", lease_seconds=3.0, sinks=["noc", "siem"]),
    BeatRecord(time=1.5, epoch=7),
    BeatRecord(time=1.5, epoch=7, yields_to=""),
    BeatRecord(time=1.5, epoch=7, number=812, yields_to="b"),
    HeadRecord(id="h", number=3, time=1.5),
    HeadRecord(id="h", number=3, time=1.5, whole=False),
    ConfigRecord(digest="d"),
    MemberRecord(name="a", instance="i", role=GroupRole.STANDBY, time=1.5),
    MemberRecord(
        name="a", instance="i", version="1.0", format=2, digest="d", role=GroupRole.LEADER,
        sources_up=3, sources_expected=4, time=1.5, sinks=["noc"], clock_offset=-0.25,
    ),
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was_written(record: Any) -> None:
    assert read_record(type(record), entry(record_bytes(record))) == record


def test_what_a_later_version_adds_is_passed_over() -> None:
    value = b'{"name":"a","instance":"i","format":9,"lease_seconds":3,"sinks":[],"colour":"red"}'

    assert read_record(LockRecord, entry(value)).format == 9 > FORMAT


@pytest.mark.parametrize(
    "value",
    [
        b"", b"\xff", b"[]", b"[" * 10_000, b"{}", b'{"name":1,"instance":"i","lease_seconds":3,"sinks":[]}',
        b'{"name":"a\\u202e","instance":"i","lease_seconds":3,"sinks":[]}',
        b'{"name":"%s","instance":"i","lease_seconds":3,"sinks":[]}' % (b"a" * 257),
        b'{"name":"a","instance":"i","lease_seconds":0,"sinks":[]}',
        b'{"name":"a","instance":"i","lease_seconds":1e999,"sinks":[]}',
        b'{"name":"a","instance":"i","lease_seconds":1e9,"sinks":[]}',
        b'{"name":"a","instance":"i","lease_seconds":3,"format":-1,"sinks":[]}',
        b'{"name":"a","instance":"i","lease_seconds":3,"sinks":[%s]}' % b",".join([b'"a"'] * 257),
        b'{"name":"a","instance":"i","lease_seconds":3,"sinks":[]}' + b" " * 65_536,
    ],
)  # fmt: skip
def test_what_no_agent_writes_is_refused_under_its_keys_name(value: bytes) -> None:
    with pytest.raises(UnreadableKeyError, match=r"^/hsm-agent/emea/lock: ") as caught:
        read_record(LockRecord, entry(value))

    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@given(
    at=st.tuples(st.integers(0, 2**62), st.integers(0, 2**31)),
    text=st.text(max_size=50),
    labels=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3),
)
def test_an_event_comes_back_as_it_was_written(at: tuple[int, int], text: str, labels: list[tuple[str, str]]) -> None:
    one = event(text=text, labels=tuple(labels), alarm_id="a1")

    assert read_event(entry(event_bytes(at, one)), "e1") == (at, one)


@pytest.mark.parametrize(
    "value",
    [b"7", b"{}", b'{"at":[1],"event":{}}', b'{"at":[1,-2],"event":{}}', b'{"at":[1,2],"event":{"time":1}}',
     event_bytes((1, 2), event("e2")), event_bytes((1, 2), event(text="x" * 1024 * 1024))],
)  # fmt: skip
def test_an_event_that_is_none_or_another_is_refused(value: bytes) -> None:
    with pytest.raises(UnreadableKeyError, match=r"^/hsm-agent/emea/event/e1: "):
        read_event(entry(value, KEYS.event("e1")), "e1")


def test_a_row_is_text() -> None:
    assert read_text(entry("é".encode())) == "é"
    with pytest.raises(UnreadableKeyError, match="no text"):
        read_text(entry(b"\xff"))


HERE = Place(host="one", directory=7, booted_at=1000.0)


@pytest.mark.parametrize(
    ("place", "instance"),
    [
        (replace(HERE, booted_at=1030.0), "i"),
        (replace(HERE, booted_at=1100.0), ""),
        (replace(HERE, host="two"), ""),
        (replace(HERE, directory=8), ""),
    ],
)
def test_a_copy_of_a_state_directory_is_no_former_life(place: Place, instance: str) -> None:
    assert instance_of(instance_states("i", HERE), place) == instance


@pytest.mark.parametrize("text", ["", "i", "{}", "[]"])
def test_an_instance_that_cannot_be_read_is_none(text: str) -> None:
    assert instance_of({"group/instance": text}, HERE) == ""
    assert instance_of({}, HERE) == ""


def test_progress_and_instance_come_back_from_the_states_they_are_stored_as() -> None:
    progress = Progress(cluster_id="1", revision=7, head_id="h", head_number=3, alone=True, judged_at=1.5)

    assert Progress.of(progress.states()) == progress
    assert Progress.of({}) is None
    assert set(progress.states() | instance_states("i", HERE)) == {"group/progress", "group/instance"}
    with pytest.raises(ValueError, match="not a number"):
        Progress.of({"group/progress": '{"revision":"x"}'})
