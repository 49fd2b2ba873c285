"""CEF, LEEF and JSON within RFC 5424: read by readers of their own, whatever an event holds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.model import AgentIdentity, Event, EventKind, Severity
from hsm_agent.text import one_line
from hsm_agent.wire.syslog.bodies import BodyFormat, BodyFormatter
from hsm_agent.wire.syslog.rfc5424 import MIN_MAX_BYTES
from tests.fakes.siem_oracles import read_cef, read_leef
from tests.fakes.syslog_events import any_event, event
from tests.fakes.syslog_oracle import read

ORIGIN = AgentIdentity(
    agent_name="hsm-monitor-1", host_name="hsm-monitor-1.example.net", version="1.2.3", enterprise_id=32473
)
FORMATS: tuple[BodyFormat, ...] = get_args(BodyFormat)
WIDE = replace(ORIGIN, host_name="h" * 255, agent_name="a" * 255)
NASTY = 'a=b|c\\d"e^f\\=\\n ^~`;,#@!$%&*+<>?/ cs1=x'


def made(one: Event, body: BodyFormat, *, max_bytes: int = 8000, origin: AgentIdentity = ORIGIN) -> bytes:
    formatter = BodyFormatter(origin, body=body, facility=20, process_id="7", max_bytes=max_bytes)
    return formatter.format(one, sequence_id=5, synced=True)


def body_of(octets: bytes) -> str:
    """MSG, after the header was read by the oracle; structured data is empty and there is no BOM."""
    head, dash, body = octets.partition(b" - ")
    message = read(head + b" -")
    assert (dash, message.elements, message.text) == (b" - ", (), None)
    assert b"\xef\xbb\xbf" not in octets
    assert b"\n" not in octets
    return body.decode()


def test_cef() -> None:
    octets = made(event(), "cef")

    assert octets == (
        b"<161>1 2023-11-14T22:13:20.250000Z hsm-monitor-1.example.net hsm-agent 7 ALARM_RAISED - "
        b"CEF:0|hsm-agent|hsm-agent|1.2.3|token-memory|HSM alarm raised|10|rt=1700000000250"
        b" externalId=0191d5a4-0000-7000-8000-000000000001 cat=ALARM_RAISED dvchost=hsm-monitor-1.example.net"
        b" deviceExternalId=hsm-monitor-1 reason=storageCapacityProblem cs1=luna-a cs1Label=source cs2=SIGN"
        b" cs2Label=resource cs3=token_memory_private_used_percent cs3Label=metric cs4=91 % cs4Label=value cs5=90"
        b" cs5Label=threshold cs6=0191d5a4-0000-7000-8000-00000000000a cs6Label=alarmId"
        b" flexString1=https://wiki.example.net/hsm/memory flexString1Label=runbook"
        b" flexString2=environment\\=production, site\\=north flexString2Label=labels cfp1=91 cfp1Label=valueNumber cfp2=90"
        b" cfp2Label=thresholdNumber cn1=5 cn1Label=sequenceId"
        b" msg=Private memory of token luna-a/SIGN is 91 % used (limit 90 %)."
    )


def test_leef() -> None:
    octets = made(event(), "leef")

    assert body_of(octets) == (
        "LEEF:2.0|hsm-agent|hsm-agent|1.2.3|token-memory|^|devTime=1700000000250^sev=10^cat=ALARM_RAISED^resource=SIGN"
        "^source=luna-a^eventId=0191d5a4-0000-7000-8000-000000000001^alarmId=0191d5a4-0000-7000-8000-00000000000a"
        "^severity=critical^metric=token_memory_private_used_percent^value=91^unit=%^threshold=90"
        "^cause=storageCapacityProblem^runbook=https://wiki.example.net/hsm/memory"
        "^labels=environment=production, site=north^agent=hsm-monitor-1^identHostName=hsm-monitor-1.example.net"
        "^sequenceId=5^text=Private memory of token luna-a/SIGN is 91 % used (limit 90 %)."
    )


def test_json() -> None:
    octets = made(event(), "json")
    found = json.loads(body_of(octets))

    assert found["event_id"] == "0191d5a4-0000-7000-8000-000000000001"
    assert found["labels"] == {"environment": "production", "site": "north"}
    assert found["sequence_id"] == 5
    assert b"\n" not in octets


def test_what_cef_escapes() -> None:
    record = read_cef(body_of(made(event(text=NASTY, rule=NASTY, resource=NASTY), "cef")))

    assert record.header[3] == NASTY
    assert (record.fields["msg"], record.fields["cs2"]) == (NASTY, NASTY)


def test_leef_takes_a_delimiter_that_stands_in_no_value() -> None:
    record = read_leef(body_of(made(event(text="a^b~c", rule="x|y"), "leef")))

    assert record.fields["text"] == "a^b~c"
    assert record.header[3] == "x_y"


def test_leef_without_one_left_loses_one_character_and_no_attribute() -> None:
    record = read_leef(body_of(made(event(text=NASTY), "leef")))

    assert record.fields["text"] == NASTY.replace("^", " ")
    assert record.fields["source"] == "luna-a"


@pytest.mark.parametrize(
    ("changes", "cef", "leef"),
    [
        ({"severity": Severity.CRITICAL}, "10", "10"),
        ({"severity": Severity.WARNING}, "5", "5"),
        ({"severity": Severity.CLEARED, "kind": EventKind.CLEARED}, "1", "1"),
        ({"kind": EventKind.HEARTBEAT}, "0", "1"),
        ({"kind": EventKind.TEST}, "0", "1"),
    ],
)
def test_severities(changes: dict[str, Any], cef: str, leef: str) -> None:
    one = event(**changes)

    assert read_cef(body_of(made(one, "cef"))).header[5] == cef
    assert read_leef(body_of(made(one, "leef"))).fields["sev"] == leef


def test_a_value_that_is_no_decimal_is_no_number_of_cef() -> None:
    fields = read_cef(body_of(made(event(value="inf", threshold=""), "cef"))).fields

    labels = [value for key, value in fields.items() if key.endswith("Label")]
    assert len(labels) == len(set(labels))
    assert fields["cs4"] == "inf %"
    assert not {"cfp1", "cfp2", "cs5"} & fields.keys()


@pytest.mark.parametrize("body", FORMATS)
def test_the_text_gives_way_first(body: BodyFormat) -> None:
    octets = made(event(text="ä|=\\" * 1000), body, max_bytes=1400)

    assert 1350 < len(octets) <= 1400
    assert "https://wiki.example.net/hsm/memory" in body_of(octets)


@pytest.mark.parametrize("body", FORMATS)
def test_the_worst_event_still_fits(body: BodyFormat) -> None:
    long = '=\\"' * 400
    names = ("event_id", "alarm_id", "text", "agent", "source", "resource", "metric", "value", "unit", "threshold")
    worst = event(**dict.fromkeys(names, long), rule=long, runbook=long, cause=long, labels=((long, long),) * 9)

    octets = made(worst, body, max_bytes=MIN_MAX_BYTES, origin=WIDE)

    assert len(octets) <= MIN_MAX_BYTES
    assert body_of(octets)


@pytest.mark.parametrize("body", FORMATS)
@given(one=any_event(), max_bytes=st.sampled_from([MIN_MAX_BYTES, 8000]))
def test_whatever_an_event_holds_the_record_can_be_read(body: BodyFormat, one: Event, max_bytes: int) -> None:
    octets = made(one, body, max_bytes=max_bytes)
    said = body_of(octets)

    assert len(octets) <= max_bytes
    if body == "json":
        found = json.loads(said)
        assert found["kind"] == one.kind.value
        assert max_bytes < 8000 or found["resource"] == one_line(one.resource)
    elif body == "cef":
        fields = read_cef(said).fields
        assert fields["externalId"] == one.event_id
        # CEF cannot tell a blank at the end of a value from the one before the next key.
        assert max_bytes < 8000 or fields.get("cs2", "").strip() == one_line(one.resource).strip()
    else:
        assert read_leef(said).fields["eventId"] == one.event_id


def test_a_formatter_with_too_little_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1024"):
        BodyFormatter(ORIGIN, body="cef", facility=20, process_id="7", max_bytes=1023)
