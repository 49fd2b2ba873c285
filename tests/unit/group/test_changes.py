"""What a leader puts into etcd, and what a follower reads of it: the same, revision by revision and all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.group.changes import change_of, content_of_keys, deletes_of, puts_of
from hsm_agent.group.keys import GroupKeys
from hsm_agent.model import Event, EventKind, Severity
from hsm_agent.net.etcd_messages import KeyChange, KeyValue, Put
from hsm_agent.spool.shared import Addressed, Left, SharedChange, SharedContent
from tests.fakes.etcd_store import EtcdStore

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = GroupKeys("emea")


def event(event_id: str, alarm_id: str = "") -> Event:
    kind = EventKind.RAISED if alarm_id else EventKind.NOTICE
    return Event(
        event_id=event_id, kind=kind, severity=Severity.MAJOR, time=1.0, text="t", agent="a", alarm_id=alarm_id
    )


def addressed(event_id: str, *sinks: str, alarm_id: str = "", begins: Sequence[str] = ()) -> Addressed:
    return Addressed(event=event(event_id, alarm_id), sinks=sinks, begins=tuple(begins))


def put(key: bytes, value: bytes = b"") -> KeyChange:
    entry = KeyValue(key=key, value=value, mod_revision=7, create_revision=7, lease=0)
    return KeyChange(entry=entry, is_deleted=False)


def deleted(key: bytes) -> KeyChange:
    return KeyChange(entry=KeyValue(key=key, value=b"", mod_revision=7, create_revision=0, lease=0), is_deleted=True)


def changes(puts: Sequence[Put]) -> list[KeyChange]:
    return [put(each.key, each.value) for each in puts]


def test_a_revision_is_read_in_the_order_of_the_leader_whatever_that_of_its_keys_is() -> None:
    first = addressed("z", "noc", "siem", alarm_id="a1", begins=["noc", "siem"])
    second = addressed("b", "siem", alarm_id="a1")
    puts = [*puts_of(KEYS, second, (5, 2)), *puts_of(KEYS, first, (5, 1))]
    row = put(KEYS.state('["watch"]'), b"{}")
    others = [
        put(KEYS.beat, b"garbage"),
        put(KEYS.member("a")),
        put(KEYS.prefix + b"later/a"),
        deleted(KEYS.event("o")),
    ]

    found = change_of(KEYS, [*changes(puts), row, deleted(KEYS.state('["track"]')), *others])

    assert found.change == SharedChange(states={'["watch"]': "{}", '["track"]': None}, events=(first, second))
    assert (found.refused, found.is_whole, found.is_empty) == ((), True, False)


def test_what_a_sink_waits_for_no_more_is_read() -> None:
    last = Left(sink="noc", event_id="e1", told=True, ended_alarm_id="a1")
    keys = [*deletes_of(KEYS, Left(sink="siem", event_id="e1", told=True), is_last=False)]
    keys += deletes_of(KEYS, last, is_last=True)
    assert keys == [
        KEYS.wait("siem", "e1"), KEYS.wait("noc", "e1"), KEYS.event("e1"), KEYS.sequence("noc", "a1")
    ]  # fmt: skip

    found = change_of(KEYS, [deleted(key) for key in keys])

    assert found.change == SharedChange(left=(("siem", "e1"), ("noc", "e1")), ended=(("noc", "a1"),))


def test_an_event_that_no_sink_waits_for_is_not_stored() -> None:
    assert puts_of(KEYS, addressed("e1"), (1, 1)) == []
    assert change_of(KEYS, [put(KEYS.lock, b"{}"), put(KEYS.beat)]).is_empty


def test_what_cannot_be_told_from_one_revision_is_no_whole_change() -> None:
    whole = puts_of(KEYS, addressed("e1", "noc", alarm_id="a1", begins=["noc"]), (1, 1))

    assert change_of(KEYS, changes(whole)).is_whole
    assert not change_of(KEYS, [put(KEYS.wait("noc", "e1"))]).is_whole
    assert not change_of(KEYS, [put(KEYS.sequence("noc", "a1"))]).is_whole
    assert not change_of(KEYS, [*changes(whole), put(KEYS.sequence("siem", "a1"))]).is_whole


def test_what_cannot_be_read_is_passed_over_by_name_and_spoils_nothing_else() -> None:
    bad = [put(KEYS.event("e1"), b"{"), put(KEYS.wait("noc", "e1")), put(KEYS.sequence("noc", "a1"))]
    good = addressed("e2", "noc")
    row, key = put(KEYS.state("r"), b"\xff"), put(KEYS.prefix + b"wait/a")

    found = change_of(KEYS, [*bad, row, key, *changes(puts_of(KEYS, good, (1, 1)))])

    assert found.change == SharedChange(events=(good,))
    assert found.is_whole
    assert [each.partition(":")[0] for each in found.refused] == [
        "/hsm-agent/emea/event/e1", "/hsm-agent/emea/state/r", "/hsm-agent/emea/wait/a"
    ]  # fmt: skip


def test_all_that_stands_there_is_read_without_what_waits_for_nothing() -> None:
    one, two = addressed("z", "noc", "siem", alarm_id="a1"), addressed("b", "siem")
    puts = [*puts_of(KEYS, two, (5, 2)), *puts_of(KEYS, one, (5, 1))]
    entries = [
        each.entry
        for each in [
            *changes(puts),
            put(KEYS.state("r"), b"1"),
            put(KEYS.sequence("noc", "a1")),
            put(KEYS.sequence("noc", "a0")),
            put(KEYS.event("left"), puts_of(KEYS, addressed("left", "noc"), (1, 1))[0].value),
            put(KEYS.wait("noc", "gone")),
            put(KEYS.head, b"{}"),
        ]
    ]

    found = content_of_keys(KEYS, entries)

    assert found.content == SharedContent(
        states={"r": "1"}, events=(one, two), sequences=frozenset({("noc", "a1"), ("noc", "a0")})
    )
    assert found.refused == ("/hsm-agent/emea/event/gone: is waited for, and is not there",)


SINKS = ("noc", "siem", "mail")


@given(st.data())
def test_what_is_read_revision_by_revision_is_what_stands_there(data: Any) -> None:
    """A leader's random commits and acceptances: a follower of all changes holds what one does who reads all."""
    store = EtcdStore()
    states: dict[str, str] = {}
    waits: dict[tuple[str, str], Event] = {}
    sequences: set[tuple[str, str]] = set()
    for number in range(data.draw(st.integers(1, 12))):
        before = store.revision
        gone = data.draw(st.sampled_from([*waits, None]))
        if gone is not None and data.draw(st.booleans()):
            sink, event_id = gone
            is_last = [key for key in waits if key[1] == event_id] == [gone]
            ended = data.draw(st.sampled_from(["", *(alarm for name, alarm in sorted(sequences) if name == sink)]))
            left = Left(sink=sink, event_id=event_id, told=True, ended_alarm_id=ended)
            store.do((), (), deletes_of(KEYS, left, is_last=is_last))
        else:
            sinks = data.draw(st.lists(st.sampled_from(SINKS), unique=True, max_size=3))
            begins = data.draw(st.booleans())
            new = addressed(f"e{99 - number}", *sinks, alarm_id=f"a{number}", begins=sinks if begins else ())
            row = Put(key=KEYS.state(f"r{number % 3}"), value=str(number).encode())
            store.do((), [*puts_of(KEYS, new, (1, number)), row], ())
        assert store.revision == before + 1

        change = change_of(KEYS, store.changes(store.revision)).change
        for key, text in change.states.items():
            assert text is not None
            states[key] = text
        for each in change.events:
            waits |= {(sink, each.event.event_id): each.event for sink in each.sinks}
            sequences |= {(sink, each.event.alarm_id) for sink in each.begins}
        for pair in change.left:
            del waits[pair]
        sequences -= set(change.ended)

    content = content_of_keys(KEYS, store.keys.values()).content
    assert content.states == states
    assert {(sink, each.event.event_id): each.event for each in content.events for sink in each.sinks} == waits
    assert content.sequences == sequences
    numbers = [int(each.event.event_id[1:]) for each in content.events]
    assert numbers == sorted(numbers, reverse=True)
