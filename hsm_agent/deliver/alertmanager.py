"""The `kind: alertmanager` sink: raised alarms as alerts, repeated while they are on, resolved by their clear.

Alertmanager forgets an alert at its endsAt, and everything when it loses its disk: so what is on is posted again and
again, from what the sink told last, or after a restart from the alarms themselves.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator

from hsm_agent.deliver.base import Refused, always
from hsm_agent.deliver.http import HTTP_WINDOW, HttpSinkSettings, date_of
from hsm_agent.model import EventKind, Guarantee
from hsm_agent.settings.types import Interval
from hsm_agent.wire.alertmanager import FIRING, POST_PATH, Alert, AlertJson, alert_of, other_severities
from hsm_agent.wire.event_json import json_octets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hsm_agent.deliver.base import MaySend, Sink, SinkContext, ToldAlarm
    from hsm_agent.deliver.http import HttpReceiver
    from hsm_agent.model import Event, Severity
    from hsm_agent.net.http_answer import HttpAnswer

log = logging.getLogger(__name__)

REPETITIONS = 4
"""After so many that did not come an alert ends by itself; Prometheus does the same with its own."""
_ALERTS_A_POST = 128
_MOST_REFUSALS = 24
"""Of one repetition: enough to find three alerts among 128 that are not taken."""
_MOST_REMEMBERED = 10_000
_CLOCKS_AGREE_SECONDS = 2.0
"""Date has whole seconds, and takes a while to come."""
_MOST_REPEAT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerting:
    """How alarms become alerts at one Alertmanager."""

    receiver: HttpReceiver
    repeat_seconds: float
    heartbeat_seconds: float | None
    left_out: Collection[str]


class AlertmanagerSink:
    """Posts alerts one event after the other, and repeats what is on."""

    guarantee = Guarantee.AT_LEAST_ONCE
    window = HTTP_WINDOW
    kind = "alertmanager"

    def __init__(self, *, name: str, alerting: Alerting, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives UTC seconds since the epoch."""
        self.name = name
        self.repeat_seconds = alerting.repeat_seconds
        self._alerting = alerting
        self._clock = clock
        self._told: dict[str, Alert] = {}
        """The alert that Alertmanager was told last, by alarm."""
        self._recalled: dict[str, frozenset[Severity]] = {}
        """Under which severities it may have been told of alarms before a restart, where that is known."""
        self._ahead_seconds = 0.0
        """By how much Alertmanager's clock is ahead of ours: it is the one that ends alerts."""

    def recall(self, told: Mapping[str, frozenset[Severity]]) -> None:
        """What the spool knows from before the start, or of what another agent told."""
        self._told.clear()
        self._recalled = dict(told)

    async def deliver(
        self, events: Sequence[Event], accepted: Callable[[Event], None], may_send: MaySend = always
    ) -> None:
        """One request for each event, in order; 2xx accepts it. A notice is no alarm: its request has no alerts.

        Without one the receiver would seem well that nobody asked.
        """
        for event in events:
            await self._post(partial(self._alerts, event), [event], may_send, event_id=event.event_id)
            self._remember(event)
            accepted(event)

    async def repeat(
        self, alarms: Sequence[ToldAlarm], progress: Callable[[], None], may_send: MaySend = always
    ) -> None:
        """Post again what is on: these alarms, of which Alertmanager was told.

        What is refused is halved: one alert that is not taken, or a body that is too long, keeps back no other.
        Refused is raised only where nothing is taken.
        """
        again = [alert for alarm in alarms if (alert := self._repeated(alarm)) is not None]
        events = [alarm.event for alarm in alarms]
        batches = [again[begin : begin + _ALERTS_A_POST] for begin in range(0, len(again), _ALERTS_A_POST)]
        refusals, is_any_taken = 0, False
        while batches:
            part = batches.pop(0)
            try:
                await self._post(partial(self._all_firing, part), events, may_send)
                is_any_taken = True
            except Refused as refused:
                refusals += 1
                if refusals == _MOST_REFUSALS or (len(part) == 1 and not batches and not is_any_taken):
                    raise
                if len(part) == 1:
                    log.warning("sink %s: an alert was not taken again: %s", self.name, refused)
                half = len(part) // 2
                batches[:0] = [part[:half], part[half:]] if half else []
            progress()

    async def close(self) -> None:
        await self._alerting.receiver.client.close()

    def _repeated(self, alarm: ToldAlarm) -> Alert | None:
        known = self._told.get(alarm.event.alarm_id)
        if known is not None:
            return known
        event = alarm.event
        if not alarm.is_last_word:  # told before a restart, and something else than this
            if len(told := self._recalled.get(event.alarm_id, ())) != 1:
                return None
            event = replace(event, severity=next(iter(told)))
        return self._told.setdefault(event.alarm_id, self._alert(event, alarm.since))

    def _alerts(self, event: Event) -> list[AlertJson]:
        """What tells of an event: under other labels than before the old alert ends and another one begins."""
        if event.kind is EventKind.NOTICE:
            return []
        if event.kind is EventKind.HEARTBEAT:
            every = self._alerting.heartbeat_seconds
            # Without one configured it only asks whether the receiver is well; no alerts are an answer to that, too.
            return [] if every is None else [self._firing(self._alert(event, event.time), every)]
        if event.kind is EventKind.TEST:
            return [self._firing(self._alert(event, event.time))]
        known = self._told.get(event.alarm_id)
        ended_at = min(event.time, self._clock() + min(0.0, self._ahead_seconds))
        if event.kind is EventKind.CLEARED:
            return [alert.resolved(ended_at) for alert in self._may_be_on(event, known)]
        alert = self._next(event)
        old = [each for each in self._may_be_on(event, known) if each.labels != alert.labels]
        if known is None and event.kind is EventKind.RAISED and event.alarm_id not in self._recalled:
            old = []
        return [self._firing(alert), *(each.resolved(ended_at) for each in old)]

    def _firing(self, alert: Alert, repeat_seconds: float | None = None) -> AlertJson:
        now = self._clock()
        holds_seconds = max(0.0, self._ahead_seconds) + REPETITIONS * (repeat_seconds or self.repeat_seconds)
        return alert.firing(now=now, ends_at=now + holds_seconds)

    def _all_firing(self, alerts: Sequence[Alert]) -> list[AlertJson]:
        return [self._firing(alert) for alert in alerts]

    def _next(self, event: Event) -> Alert:
        known = self._told.get(event.alarm_id)
        return self._alert(event, event.time if known is None or known.starts_at is None else known.starts_at)

    def _may_be_on(self, event: Event, known: Alert | None) -> list[Alert]:
        if known is not None:
            return [known]
        left_out = self._alerting.left_out
        if "severity" in left_out:
            return [alert_of(event, starts_at=None, left_out=left_out)]
        among = self._recalled.get(event.alarm_id) or FIRING
        return list(other_severities(event, among, left_out=left_out))

    def _alert(self, event: Event, starts_at: float) -> Alert:
        return alert_of(event, starts_at=starts_at, left_out=self._alerting.left_out)

    def _remember(self, event: Event) -> None:
        self._recalled.pop(event.alarm_id, None)
        if event.kind is EventKind.CLEARED:
            self._told.pop(event.alarm_id, None)
        elif event.kind in {EventKind.RAISED, EventKind.CHANGED}:
            self._told[event.alarm_id] = self._next(event)
            for alarm_id in list(islice(self._told, max(0, len(self._told) - _MOST_REMEMBERED))):
                del self._told[alarm_id]  # the oldest: it is then told again from the alarm itself

    async def _post(
        self, alerts: Callable[[], list[AlertJson]], events: Sequence[Event], may_send: MaySend, *, event_id: str = ""
    ) -> None:
        """Post what tells of events; once more where by the answer Alertmanager's clock would end it too early."""
        post = partial(self._alerting.receiver.post, events=events, may_send=may_send, event_id=event_id)
        ahead_seconds = self._ahead_seconds
        self._look_at_clock(await post(json_octets(alerts())))
        if self._ahead_seconds - ahead_seconds >= self.repeat_seconds:
            self._look_at_clock(await post(json_octets(alerts())))

    def _look_at_clock(self, answer: HttpAnswer) -> None:
        date = date_of(answer)
        ahead_seconds = 0.0 if date is None else date - self._clock()
        if abs(ahead_seconds) < _CLOCKS_AGREE_SECONDS:
            ahead_seconds = 0.0
        if abs(ahead_seconds - self._ahead_seconds) >= self.repeat_seconds:
            log.warning("sink %s: the receiver's clock differs from ours by %+.0f s", self.name, ahead_seconds)
        self._ahead_seconds = ahead_seconds


def _label(name: str) -> str:
    if name == "alertname":
        raise ValueError("alertname: an alert without it has no name")
    return name


def _often_enough(seconds: float) -> float:
    if seconds > _MOST_REPEAT_SECONDS:
        raise ValueError(f"longer than {_MOST_REPEAT_SECONDS / 3600:g}h: an alert that lost its source would stay on")
    return seconds


class AlertmanagerSinkSettings(HttpSinkSettings):
    """One Alertmanager; each member of a cluster is a sink of its own, as Prometheus does it."""

    kind: Literal["alertmanager"]
    repeat_every: Annotated[Interval, AfterValidator(_often_enough)] = 60.0
    """Seconds. What was not repeated four times ends by itself."""
    leave_out: tuple[Annotated[str, AfterValidator(_label)], ...] = ()
    """Labels that alerts are not told apart by: `agent`, so that those of two agents are one."""

    def warnings_in_group(self) -> tuple[str, ...]:
        if "agent" in self.leave_out:
            return ()
        return (
            "leave_out: without `agent` an alert that was on at a takeover ends only as nobody repeats it any more",
        )

    def build(self, context: SinkContext) -> Sink:
        del context  # an event names its agent itself
        alerting = Alerting(
            receiver=self.receiver(self.url.target(POST_PATH)),
            repeat_seconds=self.repeat_every,
            heartbeat_seconds=self.heartbeat,
            left_out=frozenset(self.leave_out),
        )
        return AlertmanagerSink(name=self.name, alerting=alerting)
