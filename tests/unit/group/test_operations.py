"""What a leader writes is divided so that etcd takes it, and what belongs together stays together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.group.changes import content_of_keys
from hsm_agent.group.keys import GroupKeys
from hsm_agent.group.operations import MOST_TOGETHER, Operations, committed, difference, portions
from hsm_agent.net.etcd_messages import KeyValue, Put
from hsm_agent.spool.shared import Addressed, SharedContent
from tests.fakes.addressed import addressed, watch_row

KEYS = GroupKeys("pair")


def put(number: int, size: int = 1) -> Put:
    return Put(key=f"k{number}".encode(), value=b"x" * size)


@given(st.lists(st.tuples(st.integers(0, 250), st.integers(0, 250)), max_size=12))
def test_portions_hold_everything_once_and_no_more_than_a_transaction_takes(counts: list[tuple[int, int]]) -> None:
    together = [
        Operations(
            puts=[put(1000 * number + each) for each in range(puts)],
            deletes=[f"d{1000 * number + each}".encode() for each in range(deletes)],
        )
        for number, (puts, deletes) in enumerate(counts)
    ]
    found = list(portions(together))

    assert all(0 < each.count <= MOST_TOGETHER for each in found)
    assert [each for one in found for each in one.puts] == [each for one in together for each in one.puts]
    assert sorted(key for one in found for key in one.deletes) == sorted(key for one in together for key in one.deletes)


def test_what_is_together_is_not_divided_where_it_fits() -> None:
    together = [Operations(puts=[put(10 * number + each) for each in range(7)]) for number in range(30)]

    for portion in portions(together):
        assert len(portion.puts) % 7 == 0


def test_large_values_are_divided_by_their_size() -> None:
    found = list(portions(Operations(puts=[put(number, 300_000)]) for number in range(8)))

    assert [len(each.puts) for each in found] == [3, 3, 2]


def test_an_event_stands_with_its_waits_and_with_the_row_of_its_alarm() -> None:
    events = [addressed("e1", "siem", "nms", resource="r1"), addressed("e2", "siem", resource="r2")]
    states = {watch_row(resource="r2"): "two", '["track","s","r1","m",[]]': None, watch_row(resource="r1"): "one"}
    first, second, third = committed(KEYS, events, states, epoch=7, first=3)

    assert {each.key for each in first.puts} == {
        KEYS.event("e1"), KEYS.wait("siem", "e1"), KEYS.wait("nms", "e1"),
        KEYS.sequence("siem", "alarm-e1"), KEYS.sequence("nms", "alarm-e1"), KEYS.state(watch_row(resource="r1")),
    }  # fmt: skip
    assert KEYS.state(watch_row(resource="r2")) in {each.key for each in second.puts}
    assert (third.puts, third.deletes) == ([], [KEYS.state('["track","s","r1","m",[]]')])


def test_two_events_of_one_alarm_write_its_row_once() -> None:
    events = [addressed("e1", "siem"), addressed("e2", "siem")]
    found = list(committed(KEYS, events, {watch_row(): "x"}, epoch=7, first=0))

    keys = [each.key for one in found for each in one.puts]
    assert keys.count(KEYS.state(watch_row())) == 1


def test_an_event_that_nobody_waits_for_is_not_written() -> None:
    assert list(committed(KEYS, [addressed("e1")], {}, epoch=7, first=0)) == []


_EVENTS = st.lists(st.sampled_from(["e1", "e2", "e3", "e4"]), unique=True)
_STATES = st.dictionaries(st.sampled_from([watch_row(resource=f"r{number}") for number in range(4)]), st.text())


def _content(names: list[str], states: dict[str, str]) -> SharedContent:
    events = tuple(addressed(name, "siem", "nms") for name in names)
    sequences = frozenset((sink, each.event.alarm_id) for each in events for sink in each.sinks)
    return SharedContent(states=states, events=events, sequences=sequences | {("siem", "alarm-old")})


def _apply(entries: dict[bytes, KeyValue], one: Operations) -> None:
    for each in one.puts:
        entries[each.key] = KeyValue(key=each.key, value=each.value, mod_revision=1, create_revision=1, lease=0)
    for key in one.deletes:
        del entries[key]


@given(_EVENTS, _STATES, _EVENTS, _STATES)
def test_the_difference_makes_etcd_say_what_is_held(
    before: list[str], states_before: dict[str, str], after: list[str], states: dict[str, str]
) -> None:
    entries: dict[bytes, KeyValue] = {}
    for one in difference(KEYS, (), _content(before, states_before), epoch=3):
        _apply(entries, one)
    wanted = _content(after, states)
    for portion in portions(difference(KEYS, list(entries.values()), wanted, epoch=9)):
        _apply(entries, portion)
    found = content_of_keys(KEYS, entries.values()).content

    assert found.states == wanted.states
    assert [(each.event, set(each.sinks)) for each in found.events] == [
        (each.event, set(each.sinks)) for each in wanted.events
    ]
    assert found.sequences == wanted.sequences


def test_the_difference_leaves_what_is_none_of_the_content() -> None:
    other = [
        KeyValue(key=key, value=b"{}", mod_revision=1, create_revision=1, lease=0)
        for key in (KEYS.lock, KEYS.head, KEYS.member("a"), KEYS.config)
    ]

    assert list(difference(KEYS, other, SharedContent(), epoch=9)) == []
    assert (
        list(difference(KEYS, [], SharedContent(events=(Addressed(event=addressed("e").event, sinks=()),)), epoch=9))
        == []
    )


def test_the_difference_passes_over_keys_that_cannot_be_read() -> None:
    odd = [
        KeyValue(key=KEYS.prefix + rest, value=b"", mod_revision=1, create_revision=1, lease=0)
        for rest in (b"wait/siem", b"state/", b"state/\xff", b"of-a-later-version")
    ]

    assert list(difference(KEYS, odd, SharedContent(), epoch=9)) == []


def test_the_rows_of_a_large_step_are_made_while_they_are_committed() -> None:
    made = committed(KEYS, [], {f'["points",{number}]': None for number in range(500)}, epoch=7, first=0)

    first = next(portions(made))

    assert first.count == MOST_TOGETHER
    assert len(list(made)) == 500 - MOST_TOGETHER - 1
