"""The Alertmanager sink: what is posted when an alarm is raised, changes, goes on and ends, also after a restart."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.deliver.alertmanager import AlertmanagerSink
from hsm_agent.deliver.base import Refused, ToldAlarm
from hsm_agent.model import EventKind, Severity
from tests.fakes.http_receiver import OK, Received, Receiver
from tests.fakes.http_sinks import NOW, build, json_of
from tests.fakes.stream_server import StreamServer
from tests.fakes.syslog_events import event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hsm_agent.model import Event

STARTED, IN_FOUR_MINUTES = "2023-11-14T22:13:20.250000Z", "2023-11-14T22:19:00.000000Z"


@dataclass(frozen=True, slots=True)
class Rig:
    receiver: Receiver
    sink: AlertmanagerSink

    async def tell(self, *events: Event) -> None:
        await self.sink.deliver(events, lambda _: None)

    def posted(self) -> list[tuple[str, str | None, str]]:
        """Of the last request: severity, start and end of each alert."""
        return [
            (alert["labels"]["severity"], alert.get("startsAt"), alert["endsAt"])
            for alert in json_of(self.receiver.requests[-1])
        ]


@asynccontextmanager
async def rig(**options: Any) -> AsyncIterator[Rig]:
    receiver = Receiver()
    async with StreamServer(script=receiver) as server:
        sink = build("alertmanager", f"http://127.0.0.1:{server.port}/am", **options)
        assert isinstance(sink, AlertmanagerSink)
        yield Rig(receiver, sink)
        await sink.close()


def told(one: Event, *, is_last_word: bool = True) -> ToldAlarm:
    return ToldAlarm(event=one, since=1_700_000_000.25, is_last_word=is_last_word)


def nothing() -> None:
    """Whom it does not matter how far a repetition is."""


CLEARED = event(kind=EventKind.CLEARED, severity=Severity.CLEARED, time=1_700_000_060.0)
CHANGED = event(kind=EventKind.CHANGED, severity=Severity.WARNING, time=1_700_000_050.0)
CLEARED_AT, CHANGED_AT = "2023-11-14T22:14:20.000000Z", "2023-11-14T22:14:10.000000Z"


async def test_a_raise_is_on_for_four_repetitions_and_ends_with_its_clear() -> None:
    async with rig() as at:
        await at.tell(event())
        raised = at.posted()
        labels = json_of(at.receiver.requests[-1])[0]["labels"]
        await at.tell(CLEARED)

        assert at.receiver.requests[0].line == "POST /am/api/v2/alerts HTTP/1.1"
        assert raised == [("critical", STARTED, IN_FOUR_MINUTES)]
        assert at.posted() == [("critical", STARTED, CLEARED_AT)]
        assert json_of(at.receiver.requests[-1])[0]["labels"] == labels


async def test_a_change_of_severity_ends_one_alert_and_begins_another() -> None:
    async with rig() as at:
        await at.tell(event(), CHANGED)

        assert at.posted() == [("warning", STARTED, IN_FOUR_MINUTES), ("critical", STARTED, CHANGED_AT)]
        await at.tell(CLEARED)
        assert at.posted() == [("warning", STARTED, CLEARED_AT)]


async def test_without_the_severity_in_its_labels_it_stays_one_alert() -> None:
    async with rig(leave_out=["severity", "agent"]) as at:
        await at.tell(event(), CHANGED)
        (alert,) = json_of(at.receiver.requests[-1])

        assert "severity" not in alert["labels"]
        assert "agent" not in alert["labels"]
        await at.tell(CLEARED)
        assert len(json_of(at.receiver.requests[-1])) == 1


async def test_what_is_on_is_repeated_as_it_was_told_last() -> None:
    async with rig(repeat_every="30s") as at:
        await at.tell(event(), CHANGED)
        held_back = event(kind=EventKind.CHANGED, severity=Severity.CRITICAL)
        await at.sink.repeat([told(held_back, is_last_word=False)], nothing)

        assert at.sink.repeat_seconds == 30.0
        assert at.posted() == [("warning", STARTED, "2023-11-14T22:17:00.000000Z")]


async def test_after_a_restart_it_is_repeated_from_the_alarm_itself() -> None:
    async with rig() as at:
        await at.sink.repeat(
            [told(event(time=1_700_000_030.0)), told(event(alarm_id="other"), is_last_word=False)], nothing
        )

        assert at.posted() == [("critical", STARTED, IN_FOUR_MINUTES)]
        await at.tell(CLEARED)
        assert at.posted() == [("critical", STARTED, CLEARED_AT)]


@pytest.mark.parametrize("last", [CHANGED, CLEARED])
async def test_what_was_told_before_a_restart_ends_whatever_its_severity_was(last: Event) -> None:
    async with rig() as at:
        await at.tell(last)
        on = [severity for severity, _, ends_at in at.posted() if ends_at == IN_FOUR_MINUTES]
        over = {severity for severity, starts_at, _ in at.posted() if starts_at is None}

        assert on == (["warning"] if last is CHANGED else [])
        assert over == {"critical", "major", "minor", "indeterminate", "warning"} - {*on}


async def test_what_the_spool_knows_from_before_a_restart_ends_and_no_other() -> None:
    async with rig() as at:
        at.sink.recall({event().alarm_id: frozenset({Severity.CRITICAL})})
        await at.tell(CHANGED)
        changed = at.posted()
        await at.tell(CLEARED)
        cleared = at.posted()
        at.sink.recall({event().alarm_id: frozenset({Severity.CRITICAL, Severity.WARNING})})
        await at.tell(CLEARED)

        assert changed == [("warning", CHANGED_AT, IN_FOUR_MINUTES), ("critical", None, CHANGED_AT)]
        assert cleared == [("warning", CHANGED_AT, CLEARED_AT)]
        assert {severity for severity, _, _ in at.posted()} == {"critical", "warning"}


async def test_what_is_held_back_since_before_a_restart_goes_on_as_it_was_told() -> None:
    async with rig() as at:
        at.sink.recall({event().alarm_id: frozenset({Severity.CRITICAL})})
        await at.sink.repeat([told(CHANGED, is_last_word=False)], nothing)

        assert at.posted() == [("critical", STARTED, IN_FOUR_MINUTES)]


async def test_nothing_to_repeat_is_no_request() -> None:
    async with rig() as at:
        await at.sink.repeat([], nothing)

        assert at.receiver.requests == []


async def test_many_alarms_are_repeated_in_parts() -> None:
    async with rig() as at:
        await at.sink.repeat([told(event(alarm_id=str(number))) for number in range(300)], nothing)

        assert [len(json_of(request)) for request in at.receiver.requests] == [128, 128, 44]


async def test_a_test_ends_by_itself_and_a_notice_is_no_alert() -> None:
    async with rig() as at:
        await at.tell(event(kind=EventKind.NOTICE), event(kind=EventKind.TEST))

        assert json_of(at.receiver.requests[0]) == []  # which is an answer all the same: is the receiver well?
        assert at.posted() == [("test", STARTED, IN_FOUR_MINUTES)]


async def test_a_heartbeat_is_an_alert_that_is_always_on_where_one_is_configured() -> None:
    beat = event(kind=EventKind.HEARTBEAT)
    async with rig() as silent, rig(heartbeat="10s") as beating:
        await silent.tell(beat)
        await beating.tell(beat)

        assert json_of(silent.receiver.requests[0]) == []
        assert beating.posted() == [("none", STARTED, "2023-11-14T22:15:40.000000Z")]


async def test_a_refused_raise_is_not_remembered() -> None:
    async with rig() as at:
        at.receiver.answers.append(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 8\r\n\r\nbad name")
        with pytest.raises(Refused, match="400: bad name"):
            await at.tell(event())
        await at.sink.repeat([told(event(), is_last_word=False)], nothing)

        assert len(at.receiver.requests) == 1


def named(number: int) -> ToldAlarm:
    return told(event(alarm_id=str(number), resource=str(number)))


async def test_an_alert_that_is_refused_keeps_back_no_other() -> None:
    taken: list[str] = []

    def answer(request: Received) -> bytes:
        found = [alert["labels"]["resource"] for alert in json_of(request)]
        if {"7", "100"} & {*found}:
            return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad"
        taken.extend(found)
        return OK

    async with rig() as at:
        at.receiver.by_request = answer
        answers: list[None] = []
        await at.sink.repeat([named(number) for number in range(128)], lambda: answers.append(None))

    assert taken == [str(number) for number in range(128) if number not in {7, 100}]
    assert len(answers) == len(at.receiver.requests) < 32


async def test_where_every_alert_is_refused_it_is_not_asked_for_each() -> None:
    async with rig() as at:
        at.receiver.by_request = lambda _: b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(Refused):
            await at.sink.repeat([named(number) for number in range(128)], nothing)

    assert len(at.receiver.requests) < 32


def dated(offset_seconds: float) -> bytes:
    return f"HTTP/1.1 200 OK\r\nDate: {formatdate(NOW + offset_seconds, usegmt=True)}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_where_alertmanagers_clock_is_ahead_an_alert_is_told_again_at_once_by_that_clock() -> None:
    async with rig() as at:
        at.receiver.by_request = lambda _: dated(3600.0)
        await at.tell(event())
        posted = [json_of(request)[0]["endsAt"] for request in at.receiver.requests]
        await at.tell(CHANGED)

        assert posted == [IN_FOUR_MINUTES, "2023-11-14T23:19:00.000000Z"]
        assert at.posted() == [("warning", STARTED, "2023-11-14T23:19:00.000000Z"), ("critical", STARTED, CHANGED_AT)]
        assert len(at.receiver.requests) == 3


async def test_where_it_is_behind_a_clear_ends_the_alert_at_once() -> None:
    async with rig() as at:
        at.receiver.by_request = lambda _: dated(-3600.0)
        await at.tell(event())
        await at.tell(CLEARED)

        (alert,) = json_of(at.receiver.requests[-1])
        assert (alert["startsAt"], alert["endsAt"]) == ("2023-11-14T21:15:00.000000Z",) * 2
        assert len(at.receiver.requests) == 2


@pytest.mark.parametrize("date", [b"", b"Date: soon", b"Date: Fri, 99 Nov 2023 99:00:00 GMT", b"Date: \xff"])
async def test_a_date_that_is_none_says_nothing(date: bytes) -> None:
    async with rig() as at:
        at.receiver.by_request = lambda _: b"HTTP/1.1 200 OK\r\n" + date + b"\r\nContent-Length: 0\r\n\r\n"
        if not date:
            at.receiver.by_request = lambda _: OK
        await at.tell(event())

        assert at.posted() == [("critical", STARTED, IN_FOUR_MINUTES)]
