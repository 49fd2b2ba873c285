"""Handlers of the verbs of the control socket.

A verb that changes anything is logged with the caller's uid and announced as an event of the agent.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from hsm_agent.agent.control_client import ANSWER_SECONDS, ControlError
from hsm_agent.agent.control_socket import Verb
from hsm_agent.agent.group_commands import GroupCommands
from hsm_agent.collect.base import PushCollector
from hsm_agent.evaluate.alarms import unmatched_globs
from hsm_agent.evaluate.messages import counted
from hsm_agent.evaluate.rules import PRESENCE
from hsm_agent.evaluate.state import Silence
from hsm_agent.model import AGENT_SOURCE, EventKind, GroupRole, SourceState, number_text
from hsm_agent.pipeline import ActRefusedError, new_id
from hsm_agent.serve.snapshot import value_now
from hsm_agent.serve.status import status, summary
from hsm_agent.text import checked_glob, harmless, one_line
from hsm_agent.threads import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from hsm_agent.agent.agent import Agent
    from hsm_agent.model import Reading, Series
    from hsm_agent.serve.snapshot import Snapshot
    from hsm_agent.spool import SpoolEntry

    Handler = Callable[[Mapping[str, Any], int], Coroutine[Any, Any, dict[str, Any]]]

log = logging.getLogger(__name__)

TEST_SECONDS = 30.0
STATUS_SECONDS = 60.0
ENTRIES_A_PAGE = 500
LONGEST_SILENCE_SECONDS = 366 * 86400.0
MOST_ELSEWHERE = 50
MOST_DAYS = 100
"""Tokens of which an overview has the last day: more than there are lines in a terminal."""
_LOOK_AGAIN_SECONDS = 0.1


class OperatorCommands:
    """The verbs of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._writing = Lane("control socket: the status")

    def verbs(self) -> dict[str, Verb]:
        """All verbs by name."""
        return {
            "status": Verb(self.status, changes_state=False, seconds=STATUS_SECONDS),
            "overview": Verb(self.overview, changes_state=False, seconds=STATUS_SECONDS),
            "fleet": Verb(self.fleet, changes_state=False),
            "reading": Verb(self.reading, changes_state=False),
            "spool-list": Verb(self.spool_list, changes_state=False),
            "spool-show": Verb(self.spool_show, changes_state=False),
            "spool-drop": Verb(self.spool_drop, changes_state=True),
            "test-notification": Verb(self.test_notification, changes_state=True, seconds=ANSWER_SECONDS),
            "forget": Verb(_told_whose(self.forget), changes_state=True),
            "silence": Verb(_told_whose(self.silence), changes_state=True),
            "silence-end": Verb(_told_whose(self.end_silence), changes_state=True),
            "resend": Verb(_told_whose(self.resend), changes_state=True),
            **GroupCommands(self._agent).verbs(),
        }

    async def status(self, _request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        """The status document."""
        return await self._writing.call(partial(status, self._agent.snapshot()), seconds=STATUS_SECONDS)

    async def overview(self, _request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        """The status without the readings, what is waited for, and the last day of the tokens that are worst off."""
        work = partial(overview_document, self._agent.snapshot(), tuple(self._agent.unready()))
        return await self._writing.call(work, seconds=STATUS_SECONDS)

    async def fleet(self, _request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        """A row for each agent of the fleets that are watched, and the sources that watch them."""
        # An agent that watches no fleet need not hold what shows one.
        from hsm_agent.serve.fleet import KIND, fleet_rows  # noqa: PLC0415

        names = [source.name for source in self._agent.loaded.config.sources if source.kind == KIND]
        if not names:
            raise ControlError("no source of kind fleet is configured")
        store = self._agent.store
        readings = [reading for name in names for reading in store.of_source(name).values()]
        sources = [store.sources[name] for name in names if name in store.sources]
        return {
            "agents": fleet_rows(readings, down=[each.name for each in sources if each.state is SourceState.DOWN]),
            "sources": [
                {"name": each.name, "status": each.state.name.lower(), "last_error": harmless(each.last_error)}
                for each in sources
            ],
        }

    async def reading(self, request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        """The selected readings, infinity as the text `inf`; without any, where else it is and similar names."""
        # Loaded with the HTTP server, after the agent began to answer.
        from hsm_agent.serve.http.exposition import near, select  # noqa: PLC0415

        metric = str(request.get("metric"))
        globs = {key: _glob(request, key) for key in ("source", "resource")}
        given = request.get("labels") or {}
        if not isinstance(given, dict):
            raise ControlError("labels must be a mapping")
        labels = {str(name): str(value) for name, value in given.items()}
        present = self._agent.snapshot()
        found = [_reading(each, present) for each in select(present, metric, labels=labels, **globs)]
        others = [] if found else select(present, metric, source="*", resource="*", labels={})
        return {
            "readings": found,
            "elsewhere": [_reading(each, present) for each in others[:MOST_ELSEWHERE]],
            "near": [] if found or others else near(present, metric),
        }

    async def spool_list(self, request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        """A page of undelivered events; `next`, if there is one, is the `after` of the following page."""
        after = request.get("after", 0)
        if not isinstance(after, int):
            raise ControlError("`after` is the number that the page before said")
        found = await self._agent.spool.entries(after=after, most=ENTRIES_A_PAGE)
        more = {"next": found[-1].seq} if len(found) == ENTRIES_A_PAGE else {}
        return {"entries": [_summary(entry) for entry in found], **more}

    async def spool_show(self, request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        """One entry whole."""
        entry = await self._agent.spool.show(str(request.get("event_id")))
        if entry is None:
            raise ControlError(f"the spool has no event {request.get('event_id')}")
        whole = asdict(entry.event)
        whole["kind"], whole["severity"] = entry.event.kind.value, entry.event.severity.value
        whole["labels"] = dict(entry.event.labels)
        return {"entry": {**whole, **_delivery(entry)}}

    async def spool_drop(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        """Drop one entry for good."""
        event_id = str(request.get("event_id"))
        entry = await self._agent.spool.show(event_id)
        if entry is not None and entry.shared and entry.waiting and (refusal := self._agent.pipeline.refusal):
            raise ControlError(refusal)
        if not await self._agent.spool.drop(event_id):
            raise ControlError(f"the spool has no event {event_id}")
        await self._log_and_announce(f"Event {event_id} dropped from the spool by uid {uid}")
        return {"text": f"{event_id} dropped"}

    async def test_notification(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        """Send a TEST event and wait until each sink has accepted it, has refused it or is failing."""
        sinks = self._sinks_named(request.get("sink"))
        event = self._agent.event(
            EventKind.TEST, f"TEST notification asked for by uid {uid}: no alarm, no action needed"
        )
        log.info("test notification %s to %s asked for by uid %d", event.event_id, ", ".join(sinks), uid)
        await self._agent.pipeline.notify([event], only_sink=sinks[0] if request.get("sink") else None)
        waiting = await self._wait_for_delivery(event.event_id, sinks)
        results = {}
        for name in sinks:
            state = self._agent.store.sinks.get(name)
            problem = f" ({state.last_error})" if state is not None and state.last_error else ""
            results[name] = f"{waiting[name]}{problem}" if name in waiting else "accepted"
        return {"accepted": not waiting, "event_id": event.event_id, "sinks": results}

    async def _wait_for_delivery(self, event_id: str, sinks: list[str]) -> dict[str, str]:
        """Sinks that have not accepted the event after TEST_SECONDS, each with the reason."""
        end = time.monotonic() + TEST_SECONDS
        while True:
            entry = await self._agent.spool.show(event_id)
            waiting = {} if entry is None else dict.fromkeys(entry.waiting, "not accepted yet")
            dead = {} if entry is None else {each.sink: f"refused: {each.reason}" for each in entry.dead}
            failing = all(
                (state := self._agent.store.sinks.get(name)) is not None and state.failing_since is not None
                for name in waiting
            )
            if not waiting or (failing and waiting) or time.monotonic() > end:
                return {name: text for name, text in {**waiting, **dead}.items() if name in sinks}
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def forget(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        """Clear an alarm whose object is gone for good."""
        alarm_id = str(request.get("alarm_id"))
        try:
            series = await self._agent.pipeline.forget(alarm_id, uid)
        except LookupError as error:
            raise ControlError(f"there is no alarm {alarm_id}; `alarms list` shows them") from error
        if series is not None:
            await self._forget_object(series, uid)
        log.info("alarm %s forgotten by uid %d", alarm_id, uid)
        return {"text": f"{alarm_id} forgotten"}

    async def _forget_object(self, series: Series, uid: int) -> None:
        """Forget the alarm's object. If it is gone, clear its other alarms and readings too."""
        name, resource, _, _ = series
        is_gone = self._is_gone(name, resource)
        self._agent.store.forget(series)
        if self._agent.group is not None:
            self._agent.group.forget(series)
        source = self._agent.sources.running.get(name)
        if source is not None and isinstance(source.runner.collector, PushCollector):
            await source.runner.collector.end_alarm(series)
        forgotten = source is not None and await source.runner.collector.forget(resource)
        if forgotten and is_gone:
            await self._agent.pipeline.drop(name, resource, f"forgotten with its token by uid {uid}")

    def _is_gone(self, source: str, resource: str) -> bool:
        """Whether a token is absent, or nothing is told of an object any more whose presence nobody tells of."""
        presence = self._agent.store.reading(source, resource, PRESENCE)
        if presence is not None:
            return presence.value == 0
        readings = self._agent.store.of_source(source).values()
        return all(reading.value is None for reading in readings if reading.resource == resource)

    async def silence(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        """Add a silence: raises and changes are held back until it ends."""
        seconds, reason = request.get("seconds"), one_line(str(request.get("reason", ""))).strip()
        if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_SILENCE_SECONDS:
            raise ControlError("a silence lasts more than nothing and a year at the most")
        if not reason:
            raise ControlError("a silence needs a reason")
        now = time.time()
        wanted = Silence(
            silence_id=new_id()[:8],
            until=now + seconds,
            reason=reason[:500],
            by_uid=uid,
            created=now,
            source=_glob(request, "source"),
            resource=_glob(request, "resource"),
            rule=_glob(request, "rule"),
        )
        await self._agent.pipeline.silence(wanted)
        log.info("silence %s (%s) by uid %d: %s", wanted.silence_id, wanted.scope, uid, wanted.reason)
        warnings = unmatched_globs(
            wanted, self._known_resources(), [rule.name for rule in self._agent.pipeline.rules.rules]
        )
        group = self._agent.store.group
        if group is not None and group.role in (GroupRole.ALONE, GroupRole.ISOLATED):
            warnings.append(f"this agent is {group.role.value}: it is silenced here only, until a member leads")
        return {"id": wanted.silence_id, "until": wanted.until, "warnings": warnings}

    def _known_resources(self) -> set[tuple[str, str]]:
        """Every (source, resource) that is configured, has a reading or has an alarm."""
        configured = {(source.name, "") for source in self._agent.loaded.config.sources}
        read = {(reading.source, reading.resource) for reading in self._agent.store.readings()}
        return {(AGENT_SOURCE, ""), *configured, *read, *(key[1][:2] for key in self._agent.store.alarms)}

    async def end_silence(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        """End a silence now."""
        silence_id = str(request.get("id"))
        try:
            await self._agent.pipeline.end_silence(silence_id, uid)
        except LookupError as error:
            raise ControlError(f"there is no silence {silence_id}; `silence list` shows them") from error
        log.info("silence %s ended by uid %d", silence_id, uid)
        return {"text": f"{silence_id} ended"}

    async def resend(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        """Send the raised alarms to one sink again."""
        (sink,) = self._sinks_named(request.get("sink") or "")
        silenced = sum(alarm.silenced for alarm in self._agent.store.alarms.values())
        count = await self._agent.pipeline.resend(sink)
        held = f"; {counted(silenced, 'alarms')} more silenced" if silenced else ""
        await self._log_and_announce(f"{counted(count, 'alarms')} sent again to sink {sink} by uid {uid}{held}")
        return {"count": count, "silenced": silenced}

    def _sinks_named(self, name: object) -> list[str]:
        sinks = list(self._agent.sinks.running)
        if name is None:
            if not sinks:
                raise ControlError("no sink is configured")
            return sinks
        if name not in sinks:
            raise ControlError(f"there is no sink {name!r}; there are: {', '.join(sinks) or 'none'}")
        return [str(name)]

    async def _log_and_announce(self, text: str) -> None:
        log.info("%s", text)
        await self._agent.announce(text)


def _told_whose(act: Handler) -> Handler:
    """An act on alarms that another agent may have to do: then that is the error."""

    async def handle(request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        try:
            return await act(request, uid)
        except ActRefusedError as error:
            raise ControlError(str(error)) from error

    return handle


def _summary(entry: SpoolEntry) -> dict[str, Any]:
    event = entry.event
    return {
        "event_id": event.event_id,
        "time": event.time,
        "kind": event.kind.value,
        "severity": event.severity.value,
        "source": event.source,
        "resource": event.resource,
        "rule": event.rule,
        **_delivery(entry),
    }


def _delivery(entry: SpoolEntry) -> dict[str, Any]:
    return {
        "waiting_for": dict(entry.waiting),
        "dead_at": {each.sink: each.reason for each in entry.dead},
    }


def overview_document(present: Snapshot, waiting: Sequence[str]) -> dict[str, Any]:
    """What `status --watch` is drawn of. To be called on a thread."""
    # An agent that nobody watches need not hold what is made for people.
    from hsm_agent.serve.days import histories, histories_of, last_day, spans_of_day  # noqa: PLC0415
    from hsm_agent.serve.overview import overview  # noqa: PLC0415

    document = summary(present)
    known, days = histories(present), []
    for token in overview(document).tokens[:MOST_DAYS]:
        for bar, points in histories_of(known, token.source, token.resource).items():
            spans = spans_of_day(last_day(points, present.now), present.now)
            days.append({"source": token.source, "resource": token.resource, "bar": bar, "spans": spans})
    return {**document, "waiting": list(waiting), "days": days}


def _glob(request: Mapping[str, Any], key: str) -> str:
    """A glob of a request; `*` where it is left out."""
    try:
        glob = checked_glob(str(request.get(key, "*")))
        glob.encode()  # a terminal of another encoding gives lone surrogates, which no file and no name has
    except UnicodeEncodeError:
        raise ControlError(f"{key}: not text in the encoding of this host") from None
    except ValueError as error:
        raise ControlError(f"{key}: {error}") from error
    return glob


def _reading(reading: Reading, present: Snapshot) -> dict[str, Any]:
    value = value_now(reading, present)
    known = {"source": reading.source, "resource": reading.resource, "metric": reading.metric}
    shown = value if value is None or math.isfinite(value) else number_text(value)
    return {**known, "labels": dict(reading.labels), "reason": reading.reason, "value": shown}
