"""The syslog messages that operators write SIEM rules against, octet by octet: golden/syslog.txt."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_agent.model import AgentIdentity, Event, EventKind, Severity
from hsm_agent.wire.syslog.rfc5424 import Formatter
from tests.fakes.syslog_events import event
from tests.fakes.syslog_oracle import InvalidMessageError, read

GOLDEN = Path(__file__).parent / "golden" / "syslog.txt"

SESSIONS = {
    "resource": "PAYMENT",
    "metric": "token_sessions_used_percent",
    "rule": "token-sessions",
    "cause": "resourceAtOrNearingCapacity",
    "runbook": "",
    "labels": (),
}
NO_ALARM = {"alarm_id": "", "severity": Severity.INDETERMINATE, "cause": "", "value": "", "unit": "", "threshold": ""}
NOWHERE = {"source": "", "resource": "", "metric": "", "rule": "", "runbook": ""}

SAMPLES: dict[str, Event] = {
    "raised critical": event(),
    "raised warning": event(severity=Severity.WARNING, value="76.5", threshold="75", text="76.5 % used (limit 75 %)."),
    "raised without labels and runbook": event(**SESSIONS, text="Sessions of luna-a/PAYMENT are 96 % used."),
    "changed to major": event(kind=EventKind.CHANGED, severity=Severity.MAJOR),
    "changed to minor": event(kind=EventKind.CHANGED, severity=Severity.MINOR),
    "changed to unknown": event(kind=EventKind.CHANGED, severity=Severity.INDETERMINATE, value=""),
    "cleared": event(kind=EventKind.CLEARED, severity=Severity.CLEARED, value="60", text="Memory is 60 % used again."),
    "a source is down": event(
        resource="", metric="source_up", value="0", threshold="1", unit="", rule="source-down",
        cause="communicationsSubsystemFailure", text="luna-a: the module did not answer within 10 s.",
    ),
    "a cause of its own is missing": event(cause=""),
    "odd characters": event(
        resource='a"b\\c]d', text='Token "ä漢😀"\nsecond line\x00\ttab', labels=(("a b", "1"), ("A_B", "2"), ("größe", "ü]")),
    ),
    "test": event(**NO_ALARM | NOWHERE, kind=EventKind.TEST, text="TEST of hsm-monitor-1: nothing is wrong.", labels=()),
    "heartbeat": event(**NO_ALARM | NOWHERE, kind=EventKind.HEARTBEAT, text="hsm-monitor-1 is alive.", labels=()),
    "notice": event(**NO_ALARM | NOWHERE, kind=EventKind.NOTICE, text="uid 0 silenced luna-a for 2h: change 4711."),
}  # fmt: skip


def messages() -> dict[str, bytes]:
    sender = AgentIdentity(
        host_name="hsm-monitor-1.example.net",
        agent_name="hsm-monitor-1",
        version="1.0.0",
        enterprise_id=32473,
    )
    formatter = Formatter(sender, facility=20, process_id="4711", max_bytes=8000)
    return {
        name: formatter.format(sample, sequence_id=number, synced=True)
        for number, (name, sample) in enumerate(SAMPLES.items(), 1)
    }


def test_the_messages_are_those_promised() -> None:
    lines = [part for name, wire in messages().items() for part in (f"# {name}", wire.decode())]

    assert "\n".join(lines) + "\n" == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SAMPLES)
def test_each_is_valid(name: str) -> None:
    found = read(messages()[name])

    assert (found.app_name, found.facility) == ("hsm-agent", 20)
    assert list(found.data)[-3:] == ["origin", "meta", "timeQuality"]


@pytest.mark.parametrize(
    "bad",
    [
        b"<192>1 - h a p m -",
        b"<1>1 - h  p m -",
        b'<1>1 - h a p m [own a="1"]',
        b'<1>1 - h a p m [own@x a="1"]',
        b'<1>1 - h a p m [o@1 a="1" a="2"]',
        b'<1>1 - h a p m [o@1 a="]"]',
        b"<1>1 - h a p m [o@1][o@1]",
        b"<1>1 - h a p m - no bom",
        b"<1>1 2023-11-14T22:13:20.1234567Z h a p m -",
        b"<1>1 - h a p m - \xef\xbb\xbf\xff",
    ],
)
def test_the_reader_used_here_refuses_what_the_rfc_forbids(bad: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        read(bad)
