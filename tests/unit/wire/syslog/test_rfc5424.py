"""What goes to a syslog server is valid RFC 5424 and says what the event says, whatever the event holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rfc5424logging import handler as library
from tzlocal import get_localzone

from hsm_agent.model import AgentIdentity, Event, EventKind, Labels, Severity
from hsm_agent.text import one_line
from hsm_agent.wire.syslog.rfc5424 import MIN_MAX_BYTES, Formatter, label_params, octet_counted
from tests.fakes.syslog_events import any_event, event
from tests.fakes.syslog_oracle import Message, read


def formatter(max_bytes: int, *, process_id: str = "4711", facility: int = 20, **changes: Any) -> Formatter:
    values: dict[str, Any] = {
        "host_name": "hsm-monitor-1.example.net",
        "agent_name": "hsm-monitor-1",
        "version": "1.2.3",
        "enterprise_id": 32473,
    }
    return Formatter(AgentIdentity(**(values | changes)), facility=facility, process_id=process_id, max_bytes=max_bytes)


def wire(one: Event, *, max_bytes: int = 8000, sequence_id: int = 1, synced: bool = True, **changes: Any) -> bytes:
    return formatter(max_bytes, **changes).format(one, sequence_id=sequence_id, synced=synced)


def message(one: Event, **options: Any) -> Message:
    return read(wire(one, **options))


def test_a_raised_alarm_octet_by_octet() -> None:
    assert wire(event(), sequence_id=7).decode() == (
        "<161>1 2023-11-14T22:13:20.250000Z hsm-monitor-1.example.net hsm-agent 4711 ALARM_RAISED "
        '[alarm resource="luna-a/SIGN" probableCause="storageCapacityProblem" perceivedSeverity="critical"]'
        '[hsm@32473 eventId="0191d5a4-0000-7000-8000-000000000001" alarmId="0191d5a4-0000-7000-8000-00000000000a"'
        ' source="luna-a" resource="SIGN" metric="token_memory_private_used_percent" value="91" unit="%"'
        ' threshold="90" severity="critical" rule="token-memory" runbook="https://wiki.example.net/hsm/memory"]'
        '[labels@32473 environment="production" site="north"]'
        '[origin software="hsm-agent" swVersion="1.2.3" enterpriseId="32473"]'
        '[meta sequenceId="7"][timeQuality tzKnown="1" isSynced="1"] '
        "\ufeffPrivate memory of token luna-a/SIGN is 91 % used (limit 90 %)."
    )


@pytest.mark.parametrize(
    ("kind", "severity", "number"),
    [
        (EventKind.RAISED, Severity.CRITICAL, 1),
        (EventKind.RAISED, Severity.MAJOR, 2),
        (EventKind.CHANGED, Severity.MINOR, 3),
        (EventKind.CHANGED, Severity.WARNING, 4),
        (EventKind.CHANGED, Severity.INDETERMINATE, 5),
        (EventKind.CLEARED, Severity.CLEARED, 5),
        (EventKind.TEST, Severity.CRITICAL, 6),
        (EventKind.HEARTBEAT, Severity.CLEARED, 6),
        (EventKind.NOTICE, Severity.CRITICAL, 5),
    ],
)
def test_the_severity_is_that_of_rfc_5674(kind: EventKind, severity: Severity, number: int) -> None:
    assert message(event(kind=kind, severity=severity)).severity == number


@pytest.mark.parametrize("kind", [EventKind.TEST, EventKind.HEARTBEAT, EventKind.NOTICE])
def test_what_is_no_alarm_has_no_alarm_element(kind: EventKind) -> None:
    assert [name for name, _ in message(event(kind=kind)).elements] == [
        "hsm@32473",
        "labels@32473",
        "origin",
        "meta",
        "timeQuality",
    ]


def test_the_kind_is_the_message_id() -> None:
    assert [message(event(kind=kind)).message_id for kind in EventKind] == [
        "ALARM_RAISED",
        "ALARM_CHANGED",
        "ALARM_CLEARED",
        "TEST",
        "HEARTBEAT",
        "NOTICE",
    ]


def test_a_whole_second_still_has_microseconds() -> None:
    assert message(event(time=1_700_000_000.0)).timestamp == "2023-11-14T22:13:20.000000Z"


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 1e18, -1e18])
def test_a_time_that_is_no_date_is_nil(time: float) -> None:
    assert message(event(time=time)).timestamp == "-"


@pytest.mark.parametrize(
    ("host_name", "agent_name", "shown"),
    [
        ("hsm.example.net", "agent", "hsm.example.net"),
        ("", "agent", "agent"),
        ("  ", "agent 1", "agent1"),
        ("größe", "", "gre"),
        ("漢", "漢", "-"),
        ("h" * 300, "", "h" * 255),
    ],
)
def test_the_host_name_is_never_empty(host_name: str, agent_name: str, shown: str) -> None:
    assert message(event(), host_name=host_name, agent_name=agent_name).host_name == shown


def test_an_event_of_the_source_itself_names_the_source_as_the_resource() -> None:
    assert message(event(resource="")).data["alarm"]["resource"] == "luna-a"


def test_an_alarm_without_a_cause_crossed_a_threshold() -> None:
    assert message(event(cause="")).data["alarm"]["probableCause"] == "thresholdCrossed"


def test_no_labels_no_element() -> None:
    assert "labels@32473" not in message(event(labels=())).data


def test_an_unsynchronised_clock_is_said() -> None:
    assert message(event(), synced=False).data["timeQuality"] == {"tzKnown": "1", "isSynced": "0"}


def test_without_text_there_is_no_msg() -> None:
    assert message(event(text="")).text is None


def test_the_enterprise_number_is_the_configured_one_in_each_element() -> None:
    found = message(event(), enterprise_id=4294967295)

    assert [name for name, _ in found.elements][1:3] == ["hsm@4294967295", "labels@4294967295"]
    assert found.data["origin"]["enterpriseId"] == "4294967295"


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        pytest.param("two\nlines", "two lines", id="newline"),
        pytest.param("a\r\n\tb", "a b", id="a run is one space"),
        pytest.param("nul\0", "nul ", id="nul"),
        pytest.param("c1\x85x", "c1 x", id="C1"),
        pytest.param("u\u2028v", "u v", id="line separator"),
        pytest.param("\ufefftext", "\ufffdtext", id="BOM"),
        pytest.param("evil\u202etxt", "evil\ufffdtxt", id="right-to-left override"),
        pytest.param("\ud800", "\ufffd", id="lone surrogate"),
        pytest.param("%s %d 100%", "%s %d 100%", id="no formatting"),
        pytest.param('"\\]', '"\\]', id="escaped characters"),
        pytest.param("漢字😀", "漢字😀", id="beyond ASCII"),
    ],
)
def test_texts_and_values_are_one_line_of_utf_8(given_text: str, shown: str) -> None:
    found = message(event(text=given_text, rule=given_text))

    assert (found.text, found.data["hsm@32473"]["rule"]) == (shown, shown)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ((("site", "1"),), ["site"]),
        ((("a b", "1"), ('c="]', "2")), ["a_b", "c___"]),
        ((("größe", "1"),), ["gr__e"]),
        ((("", "1"),), ["_"]),
        ((("app.kubernetes.io/name", "1"), ("4th", "2")), ["app_kubernetes_io/name", "_4th"]),
        ((("Site", "1"), ("site", "2"), ("sité", "3"), ("sitè", "4")), ["Site", "site_2", "sit_", "sit__2"]),
        ((("x" * 40, "1"), ("x" * 41, "2")), ["x" * 32, "x" * 30 + "_2"]),
    ],
)
def test_label_names_become_valid_and_stay_apart(labels: Labels, names: list[str]) -> None:
    assert list(label_params(labels)) == names


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=5)), max_size=20))
def test_no_label_is_lost_to_another(labels: list[tuple[str, str]]) -> None:
    assert list(label_params(tuple(labels)).values()) == [value for _, value in labels]


def _pieces(one: Event, max_bytes: int) -> tuple[int, str, str, bool]:
    octets = wire(one, max_bytes=max_bytes)
    found = read(octets)
    return len(octets), found.text or "", found.data["hsm@32473"]["runbook"], "labels@32473" in found.data


def test_the_text_is_cut_first_at_a_character() -> None:
    one = event(text="ä" * 2000)

    length, text, runbook, labels = _pieces(one, 1500)

    assert 1499 <= length <= 1500
    assert text == "ä" * len(text)
    assert runbook
    assert labels


def test_then_the_runbook_then_the_labels_then_the_ends_of_values() -> None:
    long = event(runbook="r" * 600, labels=(("l", "v" * 400),), text="text")
    no_room_for_labels = event(runbook="r" * 600, labels=(("l", "v" * 800),), text="text")
    monstrous = event(source="s" * 3000, resource='"' * 3000, rule="ä" * 3000, event_id="e" * 99, text="text")

    _, text, runbook, labels = _pieces(long, 1200)
    assert (text, runbook, labels) == ("text", "", True)
    _, text, runbook, labels = _pieces(no_room_for_labels, 1200)
    assert (text, runbook, labels) == ("text", "", False)
    found = message(monstrous, max_bytes=1200)
    assert found.data["hsm@32473"]["source"] == "s" * 64
    assert found.data["hsm@32473"]["resource"] == '"' * 32
    assert found.data["hsm@32473"]["eventId"] == "e" * 36


def test_even_the_longest_of_everything_fits_into_the_least_limit() -> None:
    long = "]" * 5000
    everything = event(
        event_id=long, alarm_id=long, source=long, resource=long, metric=long, value=long, unit=long, threshold=long,
        rule=long, runbook=long, cause=long, text=long, labels=((long, long),), severity=Severity.INDETERMINATE,
    )  # fmt: skip
    sizes: dict[str, Any] = {"host_name": "h" * 300, "version": "9" * 40, "process_id": "4194304", "facility": 23}

    octets = wire(everything, max_bytes=MIN_MAX_BYTES, enterprise_id=2**32 - 1, sequence_id=2**31 - 1, **sizes)

    assert len(octets) <= MIN_MAX_BYTES
    assert read(octets).data["hsm@4294967295"]["rule"] == "]" * 8


def test_a_limit_below_the_least_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1024"):
        formatter(MIN_MAX_BYTES - 1)


def expected(text: str) -> str:
    """What a value looks like on the wire; tests/unit/test_text.py holds what that is."""
    return one_line(text)


@given(any_event())
def test_any_event_is_a_valid_message_that_says_the_same(one: Event) -> None:
    found = message(one)

    own = found.data["hsm@32473"]
    assert own == {
        "eventId": one.event_id,
        "alarmId": one.alarm_id,
        "source": expected(one.source),
        "resource": expected(one.resource),
        "metric": expected(one.metric),
        "value": expected(one.value),
        "unit": expected(one.unit),
        "threshold": expected(one.threshold),
        "severity": one.severity.value,
        "rule": expected(one.rule),
        "runbook": expected(one.runbook),
    }
    assert (found.text or "") == expected(one.text)
    assert list(found.data.get("labels@32473", {}).values()) == [expected(value) for _, value in one.labels]


@given(
    any_event(),
    st.integers(MIN_MAX_BYTES, 1800),
    st.integers(0, 5000),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=300),
)
def test_no_message_is_longer_than_allowed(one: Event, max_bytes: int, length: int, host_name: str) -> None:
    import dataclasses

    long = dataclasses.replace(one, source=one.source * length, runbook="\\" * length, text=one.text * 9)

    octets = wire(long, max_bytes=max_bytes, host_name=host_name, enterprise_id=2**32 - 1, sequence_id=2**31 - 1)

    assert len(octets) <= max_bytes
    assert one_line(long.text).startswith(read(octets).text or "")


def test_the_librarys_own_module_stays_as_it_is() -> None:
    wire(event())

    assert library.REGISTERED_SD_IDs == ("timeQuality", "origin", "meta")
    assert library.get_localzone is get_localzone


@pytest.mark.parametrize(
    ("one", "framed"),
    [
        (b"<14>1 - - - - - -", b"17 <14>1 - - - - - -"),
        ("漢".encode(), b"3 \xe6\xbc\xa2"),
        (b"x" * 1000, b"1000 " + b"x" * 1000),
    ],
)
def test_a_frame_begins_with_the_number_of_octets(one: bytes, framed: bytes) -> None:
    assert octet_counted(one) == framed
