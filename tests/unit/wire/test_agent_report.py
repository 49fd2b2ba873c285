"""What an agent publishes: the document that is made is the one that is read, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsm_agent.model import Severity
from hsm_agent.wire.agent_report import (
    MOST_REPORT_BYTES,
    NoReportError,
    WorstAlarm,
    decode,
    encode,
    key_of,
    name_of,
)
from tests.fakes.fleet import NOW, REPORT

DOCUMENT: dict[str, Any] = json.loads(encode(REPORT))


def changed(**members: Any) -> bytes:
    return json.dumps(DOCUMENT | members).encode()


def test_what_is_made_is_what_is_read() -> None:
    assert decode(encode(REPORT)) == REPORT


def test_the_document_is_short_and_says_this() -> None:
    assert encode(REPORT) == (
        b'{"format":1,"site":"fra","version":"0.1.0","run":"0123456789abcdef","time":1790000000.0,'
        b'"started":1789996400.0,"every":60.0,"alarms":{"critical":1,"warning":2},'
        b'"worst":[{"severity":"critical","rule":"token-memory","place":"luna-a/payments","text":"full",'
        b'"since":1789999940.0}],"sources":5,"sources_down":1,"down":["luna-b"],"problem":""}'
    )


@given(st.text(st.characters(), max_size=2000))
@example("\ud800")
def test_no_text_makes_a_document_that_is_refused(text: str) -> None:
    alarm = WorstAlarm(severity=Severity.MAJOR, rule=text, place=text, text=text, since=NOW)
    octets = encode(replace(REPORT, site=text, worst=(alarm,) * 50, down=(text,) * 50, problem=text))

    assert len(octets) < MOST_REPORT_BYTES // 2
    assert len(decode(octets).worst) == 3


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_stands_there_is_a_report_or_none(octets: bytes) -> None:
    with pytest.raises(NoReportError):
        decode(octets)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(sorted(DOCUMENT)), _JSON)
def test_whatever_a_member_is_there_is_a_report_or_none(name: str, value: Any) -> None:
    try:
        found = decode(changed(**{name: value}))
    except NoReportError:
        return

    assert 0 <= found.sources_down <= 10**6
    assert len(found.site) <= 64


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        pytest.param(b"", "not a JSON document", id="nothing"),
        pytest.param(b"[" * 10_000, "not a JSON document", id="deep"),
        pytest.param(b"\xff{}", "not a JSON document", id="no UTF-8"),
        pytest.param(b" " * (MOST_REPORT_BYTES + 1), "longer than 16384 octets", id="long"),
        pytest.param(b"[]", "not an object of JSON where one belongs", id="a list"),
        pytest.param(changed(format=2), "of a newer format: bring this agent to its version", id="newer"),
        pytest.param(changed(time=float("nan")), "'time' is no such number", id="not a number"),
        pytest.param(changed(time=float("inf")), "'time' is no such number", id="infinite"),
        pytest.param(changed(time=10**400), "'time' is no such number", id="huge"),
        pytest.param(changed(every=0), "'every' is no such number", id="no interval"),
        pytest.param(changed(every=10**6), "'every' is no such number", id="an interval that hides silence"),
        pytest.param(changed(sources_down=-1), "'sources_down' is no such number", id="negative"),
        pytest.param(changed(sources_down=True), "'sources_down' is no such number", id="a boolean"),
        pytest.param(changed(alarms=[]), "not an object of JSON where one belongs", id="no counts"),
        pytest.param(changed(site=7), "'site' is no text", id="no text"),
        pytest.param(changed(worst={}), "'worst' is no list", id="no list"),
        pytest.param(changed(down=[[]]), "'down' is no text", id="no name"),
    ],
)
def test_what_is_no_report_is_refused_with_the_reason(octets: bytes, why: str) -> None:
    with pytest.raises(NoReportError) as caught:
        decode(octets)

    assert str(caught.value) == why


def test_texts_are_made_fit_to_be_shown_and_cut() -> None:
    found = decode(changed(site="\x1b[31mfra\u202e", problem="x" * 5000))

    assert found.site == " [31mfra\ufffd"
    assert len(found.problem) == 200


def test_members_of_a_later_version_are_passed_over() -> None:
    assert decode(changed(mood="good")) == REPORT


@pytest.mark.parametrize("name", ["monitor-1", "münchen/a b", "x" * 255])
def test_an_agent_has_a_key(name: str) -> None:
    assert name_of(key_of(name).encode()) == name


@pytest.mark.parametrize("key", [b"/elsewhere/monitor-1", b"monitor-1", b"/hsm-agent-fleet/", b"/hsm-agent-fleet/\xff", b"/hsm-agent-fleet/a\nb", b"/hsm-agent-fleet/" + b"x" * 256])  # fmt: skip
def test_a_key_that_nobody_can_have_is_refused(key: bytes) -> None:
    with pytest.raises(NoReportError):
        name_of(key)
