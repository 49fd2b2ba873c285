"""Tables: what a person sees, in a pipe and on a terminal."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import replace

import pytest

from hsm_agent.cli import tables as show
from hsm_agent.cli.poll import Polled
from hsm_agent.collect.base import Poll
from hsm_agent.model import Reading
from hsm_agent.serve.group import group_document
from hsm_agent.serve.status import status
from tests.fakes.groups import LEADER, STANDBY, WELL
from tests.fakes.present import known_snapshot

READINGS = (
    Reading(source="a", resource="pay", metric="token_memory_private_free_bytes", value=1234567, time=0.0),
    Reading(source="a", resource="pay", metric="token_sessions", value=None, reason="no limit [none]", time=0.0),
    Reading(source="a", resource="pay", metric="audit_seconds_to_full", value=float("inf"), time=0.0),
    Reading(source="a", resource="pay", metric="token_info", value=1, labels=(("label", "pay"),), time=0.0),
)
POLLED = Polled(
    source="a",
    kind="pkcs11",
    poll=Poll(
        readings=READINGS, next_in_seconds=1.0, errors=("slot 3: gone",), calls={"C_GetTokenInfo": 2}, raw={"slots": []}
    ),
    failure="",
    calls_a_day={"C_GetTokenInfo": 1440.0, "C_Initialize": 144.0},
)
FAILED = Polled(source="b", kind="pkcs11", poll=None, failure="no module", calls_a_day={})


def test_readings_are_shown_with_unit_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    show.polled([POLLED, FAILED])
    out = capsys.readouterr().out

    assert "1,234,567   bytes" in out
    assert "no limit [none]" in out  # not taken for markup
    assert "label=pay" in out
    assert "inf" in out
    assert "failed: slot 3: gone" in out
    assert "failed: no module" in out
    assert "b (pkcs11): none" in out
    assert "\x1b" not in out


def test_calls_add_up_to_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    show.explained([POLLED])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert ["C_GetTokenInfo", "2", "1,440"] in rows
    assert ["C_Initialize", "0", "144"] in rows
    assert ["all", "2", "1,584"] in rows


def test_alarms_and_silences_are_shown_with_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    alarm = {"severity": "critical", "since": 0, "source": "a", "resource": "pay", "rule": "token-memory"}
    show.alarms([alarm])
    show.silences([{"id": "s1", "source": "*", "resource": "*", "rule": "*", "until": 0, "reason": "work"}])
    show.alarms([])
    out = capsys.readouterr().out

    assert "critical" in out
    assert out.count("1970-01-01 00:00:00Z") == 2
    assert "alarms: none" in out
    assert show.when(None) == ""


def test_the_spool_is_shown_as_people_read_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    entry = {"event_id": "e1", "time": 1_700_000_000.25, "kind": "ALARM_RAISED", "rule": "pin", "dead_at": {}}
    try:
        show.spool([{**entry, "waiting_for": {"siem": 0, "noc": 1, "b": 7}}])
        show.spool([{**entry, "time": 1e300, "waiting_for": {}, "dead_at": {"noc": "500 no"}}])
        show.spool([])
    finally:
        monkeypatch.undo()
        time.tzset()
    out = " ".join(capsys.readouterr().out.split())

    assert "2023-11-15T03:43:20+05:30" in out
    assert "siem (not tried yet), noc (1 try), b (7 tries)" in out
    assert "noc: 500 no" in out
    assert "{" not in out
    assert out.endswith("spool: none")


def test_what_others_wrote_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show.table("silences", ("reason", "age"), [("\x1b[2J\u202egone\nnext", 2.3343797489997087)])

    out = capsys.readouterr().out
    assert "\\x1b[2J\\u202egone\\nnext" in out
    assert "2.33438 " in out


@pytest.mark.parametrize(
    ("value", "threshold", "unit", "said"),
    [
        pytest.param("99.632", "95", "percent", "99.6 % (limit 95 %)", id="both"),
        pytest.param("1", "", "", "1 since", id="no limit"),
        pytest.param("", "95", "percent", "a/pay since", id="no value"),
        pytest.param("inf", "3600", "seconds", "never (limit 1h)", id="without end"),
        pytest.param("7.8.400", "", "", "7.8.400 since", id="no number"),
    ],
)
def test_an_alarm_shows_value_and_limit_as_one_says_them(
    value: str, threshold: str, unit: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    alarm = {"severity": "warning", "since": 0, "source": "a", "resource": "pay", "rule": "r"}
    show.alarms([alarm | {"value": value, "threshold": threshold, "unit": unit}])

    assert said in " ".join(capsys.readouterr().out.split())


def test_a_narrow_terminal_cuts_no_name_and_breaks_no_id(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    identity = "0bacba3e-7596-4220-9a76-278e33ac64ac"
    alarm = {"severity": "critical", "since": 0, "source": "luna-a", "resource": "payments-of-the-bank", "rule": "pin"}
    more = {"value": "3", "threshold": "1", "unit": "sessions", "labels": {"role": "so"}, "silenced": True}
    sink = {"name": "siem", "kind": "syslog", "guarantee": "at least once", "status": "retrying", "queued": 3}
    token = {"source": "luna-a", "resource": "payments-of-the-bank", "serial": "d30995bbd5e10bd1", "status": "present"}
    show.alarms([alarm | more | {"text": "a sentence " * 20, "runbook": "", "alarm_id": identity}])
    show.status(
        {
            "agent": {"name": "hsm", "version": "1", "started": 0, "polls": 1},
            "spool": {"entries": 1, "used_percent": 0.0, "failed": False},
            "sources": [{"name": "luna-a", "kind": "pkcs11", "status": "down", "age_seconds": None, "failures": 1}],
            "alarms": [], "silences": [],
            "tokens": [
                token | {"memory_used_percent": None, "storage_used_percent": 99.632, "sessions": 49.0}
                | {"sessions_max": 50.0, "audit_used_percent": 0.0},
                token | {"sessions": 2097152.0, "sessions_max": None},
            ],
            "sinks": [sink | {"delivered": 1, "failed": 2, "dropped": 0, "last_error": "connection refused"}],
        }
    )  # fmt: skip
    out = " ".join(capsys.readouterr().out.split())

    assert f"id: {identity}" in out
    assert "luna-a/payments-of-the-bank" in out
    assert "3 sessions (limit 1 session)" in out
    assert "role: so" in out
    assert "silenced" in out
    assert "runbook" not in out
    assert "1 poll; spool: 1 entry" in out
    assert "never" in out
    assert "siem syslog at least once retrying 3 1 2 0" in out
    assert "d30995bbd5e10bd1 present 99.6 % 49 of 50 0 %" in out
    assert "d30995bbd5e10bd1 present 2097152" in out
    assert "last error of siem: connection refused" in out
    assert "\u2026" not in out


def test_that_nobody_reads_a_table_is_left_to_the_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unread(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Unread())

    with pytest.raises(BrokenPipeError):
        show.table("alarms", ["rule"], [["pin"]])


def test_a_fleet_is_a_line_for_each_agent_and_a_blank_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"critical": 1, "major": 0, "minor": 0, "warning": 2, "indeterminate": 0}
    common = {"source": "fleet", "clock_offset_seconds": None, "worst": "", "down": ""}
    up: dict[str, object] = {
        "agent": "fra-1",
        "site": "fra",
        "state": "up",
        "version": "0.1.0",
        "started": "",
        "silent_seconds": 5.0,
    }
    up |= {"alarms": counts, "sources_down": 0, "remark": ""}
    gone: dict[str, object] = {
        "agent": "fra-2",
        "site": None,
        "state": "missing",
        "version": None,
        "started": None,
        "silent_seconds": None,
    }
    gone |= {"alarms": dict.fromkeys(counts), "sources_down": None, "remark": "nothing is published under its name"}
    sources = [{"name": "fleet", "status": "degraded", "last_error": "agent x: not a JSON document"}]

    show.fleet({"agents": [common | gone, common | up], "sources": sources})

    lines = capsys.readouterr().out.splitlines()
    rows = [" ".join(line.split()) for line in lines if "fra-" in line]
    assert rows == [
        "fra-2 missing never nothing is published under its name",
        "fra-1 fra up 5s ago 1 0 0 2 0 0 0.1.0",
    ]
    assert lines[-1].strip() == "last error of fleet: agent x: not a JSON document"


def test_a_group_is_its_line_and_a_line_for_each_member(capsys: pytest.CaptureFixture[str]) -> None:
    gone = replace(STANDBY, is_up=False, seconds_since_seen=90.0)

    show.group(group_document(replace(WELL, name="a", members=(LEADER, gone), problem="x")))

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0].startswith("group emea: standby, last beat 400ms ago")
    assert lines[-2:] == ["a leader up 3 of 3 sources up, version 0.1.0", "b standby down seen 1m 30s ago"]


def test_the_status_of_an_agent_of_a_group_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    show.status(status(replace(known_snapshot(), group=WELL)))
    with_group = capsys.readouterr().out
    show.status(status(known_snapshot()))

    assert "group emea: standby, a leads" in with_group
    assert "group" not in capsys.readouterr().out
