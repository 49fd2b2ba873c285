"""CloudHSM's audit log as CloudWatch Logs keeps it: a log group for each cluster, a stream for each HSM.

One FilterLogEvents asks for the new events of all streams. Events arrive late and in any order; a stream's sequence
numbers say which are new, and one that is missing is waited for before it counts as a gap.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.aws.client import AwsClients, AwsSettings, AwsTrouble, Services
from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings
from hsm_agent.collect.checkpoint_file import CheckpointFile
from hsm_agent.collect.trails.checkpoint import TrailCheckpoint, trail_readings
from hsm_agent.collect.trails.cloudhsm import CloudHsmChain, sequence_number
from hsm_agent.text import one_line
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hsm_agent.model import Reading

FORMAT = "cloudhsm"
MOST_STREAMS = 64
_MOST_PAGES = 20
"""A page has up to 1 MB; what is behind them is asked for at once."""
_MOST_OTHERS = 2000
OVERLAP_SECONDS = 600.0
"""So far back of the newest event is asked again: events arrive late, and not in their order."""
GAP_AFTER_SECONDS = 180.0
"""A number that has not come so long after a later one is a gap."""
_NEW_SECONDS = 86400.0
"""How far back a group is read when it is first followed."""
RETIRED_AFTER_SECONDS = 86400.0
_DAY = 86400.0


@dataclass(slots=True, kw_only=True)
class StreamCheckpoint:
    """What is known of a stream. Times are UTC seconds; `seen_at` is when its newest event came.

    `others`: the times of events without a number that were taken and may be asked for again, by the service's id.
    """

    trail: TrailCheckpoint = field(default_factory=lambda: TrailCheckpoint(format=FORMAT))
    newest_event: float = 0.0
    seen_at: float = 0.0
    others: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Event:
    """An event as the service gives it: its time, its text without a line end, and its id there."""

    when: float
    text: bytes
    identifier: str


class LogGroupCollector(Collector):
    """Follows the streams of a log group."""

    kind = "audit_trail"

    def __init__(
        self,
        settings: SourceSettings,
        aws: AwsSettings,
        log_group: str,
        context: CollectorContext,
        *,
        silent_after: float | None = None,
        clients: Services | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(settings)
        self._timeout_seconds = settings.timeout
        self._silent_after = silent_after
        self._log_group = log_group
        self._lane = Lane(f"log group {log_group}")
        self._clients: Services = clients or AwsClients(aws, timeout_seconds=settings.timeout)
        self._file = CheckpointFile(context.state_directory, "streams", settings.name, StreamCheckpoint)
        self._wall = wall
        self._monotonic = monotonic
        self._has_more = False
        self._streams: dict[str, StreamCheckpoint] | None = None
        self._waiting: dict[str, float] = {}
        """Since when a number of a stream is missing, by the stream."""
        self._calls = 0

    async def poll(self) -> Poll:
        """The new events of all streams. Raises SourceFailure."""
        self._calls = 0
        before = set(self._streams or ())
        try:
            readings = await self._lane.call(self._look, seconds=self._timeout_seconds)
        except (AwsTrouble, StuckError, OSError) as error:
            raise SourceFailure(str(error)) from error
        gone = tuple(sorted(before - set(self._streams or ())))
        return Poll(
            readings=tuple(readings),
            next_in_seconds=0.0 if self._has_more else self.every_seconds,
            calls={"FilterLogEvents": self._calls},
            complete=True,
            gone=gone,
        )

    def calls_a_day(self) -> Mapping[str, float]:
        """Requests to the service."""
        return {"FilterLogEvents": _DAY / self.every_seconds}

    def _look(self) -> list[Reading]:
        if self._streams is None:
            self._streams = self._file.load()
        now = self._wall()
        found = self._events(now)
        for name, events in found.items():
            stream = self._streams.get(name)
            if stream is None:
                if len(self._streams) >= MOST_STREAMS:
                    continue
                stream = self._streams[name] = StreamCheckpoint()
            self._take(name, stream, events, now)
        for name, stream in list(self._streams.items()):
            # The stream of an HSM that was replaced gets no events any more.
            if now - stream.seen_at >= RETIRED_AFTER_SECONDS and len(self._streams) > 1:
                del self._streams[name]
        self._file.store(self._streams)
        return [
            each
            for name, stream in self._streams.items()
            for each in trail_readings(self.name, name, stream.trail, now=now, silent_after=self._silent_after)
        ]

    def _start(self, now: float) -> float:
        """From when on events are asked for: a little before the newest that is known.

        Where a number is missing, a little before the newest event of its stream, which may be far behind the others.
        The stream of an HSM that was replaced has no newer ones; it does not make all others be read again.
        """
        streams = self._streams or {}
        if not streams:
            return now - _NEW_SECONDS
        behind = [streams[name].newest_event for name in self._waiting if name in streams]
        return min([max(each.newest_event for each in streams.values()), *behind]) - OVERLAP_SECONDS

    def _events(self, now: float) -> dict[str, list[_Event]]:
        """The events since the newest ones that are known, by stream."""
        parameters: dict[str, object] = {
            "logGroupName": self._log_group,
            "startTime": max(0, int(self._start(now) * 1000)),
        }
        found: dict[str, list[_Event]] = {}
        self._has_more = False
        for _ in range(_MOST_PAGES):
            self._calls += 1
            answer = self._clients.call("logs", "filter_log_events", **parameters)
            for each in answer.get("events", ()):
                text = each["message"].encode("utf-8", "replace").rstrip(b"\r\n")
                event = _Event(each["timestamp"] / 1000, text, each.get("eventId", ""))
                found.setdefault(one_line(each["logStreamName"]), []).append(event)
            token: Any = answer.get("nextToken")
            if not token:
                return found
            parameters["nextToken"] = token
        self._has_more = True
        return found

    def _take(self, name: str, stream: StreamCheckpoint, events: Iterable[_Event], now: float) -> None:
        """Take the events that are new: those with a number in its order, as far as none is missing."""
        point = stream.trail
        chain = CloudHsmChain(point.chain)
        numbered, others = _sorted(events)
        self._take_others(stream, chain, others, now)
        for number, event in numbered:
            if chain.knows(number, event.text):
                continue
            if not chain.follows(number, event.text) and self._waits(name):
                return
            self._feed(stream, chain, event, now)
        self._waiting.pop(name, None)

    def _take_others(
        self, stream: StreamCheckpoint, chain: CloudHsmChain, others: Iterable[_Event], now: float
    ) -> None:
        """Events without a number come in any order; each has an identifier."""
        for event in others:
            identifier = event.identifier or f"{event.when} {event.text!r:.200}"
            if identifier not in stream.others:
                stream.others[identifier] = event.when
                self._feed(stream, chain, event, now)
        if len(stream.others) > _MOST_OTHERS:
            newest = sorted(stream.others.items(), key=lambda item: item[1])[-_MOST_OTHERS:]
            stream.others = dict(newest)

    def _waits(self, name: str) -> bool:
        """Whether to wait for a number that is missing."""
        now = self._monotonic()
        return now - self._waiting.setdefault(name, now) < GAP_AFTER_SECONDS

    def _feed(self, stream: StreamCheckpoint, chain: CloudHsmChain, event: _Event, now: float) -> None:
        point, breaks = stream.trail, stream.trail.chain.breaks
        if chain.feed(event.text):
            point.counts.add([chain.decode(event.text)], now)
        point.gaps += point.chain.breaks - breaks
        point.chain.broken = None
        stream.newest_event = max(stream.newest_event, event.when)
        stream.seen_at = now


def _sorted(events: Iterable[_Event]) -> tuple[list[tuple[int, _Event]], list[_Event]]:
    """Events with a number, in the order of reboots and numbers; and those without, by time."""
    numbered: dict[tuple[int, int], tuple[int, _Event]] = {}
    others = []
    for event in events:
        found = sequence_number(event.text)
        if found is None:
            others.append(event)
        else:
            number, reboots = found
            numbered[reboots, number] = (number, event)
    return [numbered[key] for key in sorted(numbered)], sorted(others, key=lambda event: event.when)
