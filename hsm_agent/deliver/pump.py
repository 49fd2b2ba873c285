"""One loop a sink: takes events from the spool, lets the sink send them, and records the result in the spool.

The sink classifies (accepted, retry, refused); the pump counts, waits, repeats and gives up. No sink waits for another.
Only an acknowledgement ends the pauses after a failure: a receiver that accepts connections and then drops them would
otherwise be called thousands of times a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.deliver.base import LEAST_PATIENCE_SECONDS, Refused, Repeater, Retry, ToldAlarm, Withheld
from hsm_agent.deliver.health import SinkHealth
from hsm_agent.deliver.repetition import Repetition
from hsm_agent.deliver.retries import TRIALS, Backoff, PoisonDetector
from hsm_agent.threads import deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hsm_agent.deliver.base import MaySend, Sink
    from hsm_agent.model import Event, SinkStatus
    from hsm_agent.spool import PendingEvent, Spool

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 1.9
_IDLE_SECONDS = 60.0
_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why a batch was not accepted whole. `refused`: the id of the event that the receiver refused, if it did.

    `certain`: no receiver could take it. `asked_seconds`: the pause that the receiver asked for. `withheld`: it was not
    asked.
    """

    reason: str
    sent: bool = False
    refused: str = ""
    certain: bool = False
    asked_seconds: float = 0.0
    withheld: bool = False


class Pump:
    """Delivers what the spool holds for one sink."""

    def __init__(
        self,
        sink: Sink,
        spool: Spool,
        *,
        heartbeat_seconds: float | None,
        make_heartbeat: Callable[[], Event],
        on_status: Callable[[SinkStatus], None],
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
        patience_seconds: float = LEAST_PATIENCE_SECONDS,
        told_alarms: Callable[[], Sequence[ToldAlarm]] = tuple,
    ) -> None:
        """`heartbeat_seconds`: time between heartbeats, None for none.

        `patience_seconds`: how long a sink may be silent over a batch; longer than its own deadlines together.
        `told_alarms`: what a sink that repeats is to repeat.
        """
        self._sink = sink
        self._spool = spool
        self._heartbeat_seconds = heartbeat_seconds
        self._make_heartbeat = make_heartbeat
        self._health = SinkHealth(sink, spool, on_status=on_status, clock=clock)
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._patience_seconds = patience_seconds
        self._repeater = sink if isinstance(sink, Repeater) else None
        self._repetition = None if self._repeater is None else Repetition(self._repeater, told_alarms, clock)
        self._poison = PoisonDetector(sink.window)
        self._followed = 0
        self._last_heartbeat: float | None = None
        self._defect = ""
        self._last_refusal = ""
        """Why the last refused event was refused."""
        self._draining = False
        self._hurry = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Deliver until cancelled or drained. What was accepted is recorded even then."""
        self._health.report()
        self._recall()
        try:
            goes_on = True
            while goes_on:
                try:
                    goes_on = await self._turn()
                except Exception as error:
                    # Whatever the defect is, the other events of this sink must still be delivered.
                    log.exception("sink %s: a defect of the agent, going on", self._sink.name)
                    goes_on = await self._fail(_Failure(reason=_line(error)), ())
        finally:
            await self._spool.returned(self._sink.name, (), sent=False)
            await self._close()
            self._ended.set()

    def _recall(self) -> None:
        """Let a sink that repeats know what its receiver was told by others."""
        self._followed = self._spool.followed
        if self._repeater is not None:
            self._repeater.recall(self._spool.told_severities(self._sink.name))

    async def drain(self, seconds: float) -> int:
        """Deliver what can be delivered in so many seconds, then end `run`; how many events stay in the spool.

        A failing receiver is tried once more, at once.
        """
        self._draining = True
        self._poison.clear()
        self._hurry.set()
        self._spool.arrived(self._sink.name).set()
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            log.info("sink %s: not drained within %g s", self._sink.name, seconds)
        return self._health.queued

    async def _turn(self) -> bool:
        """One batch or one heartbeat; False when there is nothing more to do."""
        # Before anything else: a trial compares the receiver's answers at one time. When draining there is no time for
        # trials, and the events go in their order.
        if self._poison.wants_heartbeat() and not self._draining:
            return await self._send_heartbeat()
        if self._repetition is not None and not self._draining:
            if self._repetition.due_in() <= 0 and not self._repetition.gives_way:
                return await self._repeat(self._repetition)
            self._repetition.gives_way = False
        seq = None if self._draining else self._poison.turn_of(self._clock())
        if seq is not None:
            return await self._retry(seq)
        entries = await self._next()
        if entries is None:
            return False
        if entries:
            return await self._send(entries)
        return await self._send_heartbeat() if self._heartbeat_due_in() <= 0 else True

    async def _retry(self, seq: int) -> bool:
        """Try once more an event that is set aside."""
        if self._poison.wants_heartbeat_before(seq):
            return await self._send_heartbeat()
        entries = await self._spool.pending_one(self._sink.name, seq)
        if not entries:  # dropped by the operator, or by a full spool
            self._poison.forget(seq)
            return True
        return await self._send(entries)

    async def _next(self) -> list[PendingEvent] | None:
        """The next batch, as soon as there is one; empty: something else is due; None: drained."""
        arrived = self._spool.arrived(self._sink.name)
        while True:
            arrived.clear()  # before the look into the spool: what arrives after it sets the event again
            aside = self._poison.aside
            entries = await self._spool.pending(self._sink.name, self._poison.limit, aside)
            if self._draining:
                return entries or None
            due_in = self._heartbeat_due_in()
            # To a failing sink an event that waits is sent instead: its acknowledgement says as much.
            if due_in <= 0 and not (entries and self._health.failing):
                return []
            if entries:
                return entries
            self._poison.no_others()
            due_in = min(due_in, self._repeat_due_in(), self._poison.due_in(self._clock(), _IDLE_SECONDS))
            if due_in <= 0:
                return []
            try:
                async with asyncio.timeout(min(due_in, _IDLE_SECONDS)):
                    await arrived.wait()
            except TimeoutError:
                if aside:
                    return []

    def _heartbeat_due_in(self) -> float:
        if self._heartbeat_seconds is None:
            return _IDLE_SECONDS
        if self._last_heartbeat is None or self._health.failing:
            return 0.0
        return self._last_heartbeat + self._heartbeat_seconds - self._clock()

    def _repeat_due_in(self) -> float:
        return _IDLE_SECONDS if self._repetition is None else self._repetition.due_in()

    async def _repeat(self, repetition: Repetition) -> bool:
        """Let the sink tell again a part of what is on."""
        repeater = self._repeater
        part = repetition.next_part()
        if repeater is None or not part:
            return True
        answers: list[None] = []
        if self._followed != self._spool.followed:
            self._recall()

        async def repeat(accept: Callable[..., None]) -> None:
            def answered() -> None:
                answers.append(None)
                accept()

            await repeater.repeat(part, answered, self._may_repeat)

        failure = await self._attempt(repeat, [])
        if failure is not None:
            repetition.failed(part)
            return True if failure.withheld else await self._fail(failure, ())
        if answers:  # else it was asked nothing: it may be as unwell as before
            self._acknowledged(())
        return True

    async def _send(self, entries: Sequence[PendingEvent]) -> bool:
        accepted: list[Event] = []
        if self._followed != self._spool.followed:
            self._recall()
        events = [entry.event for entry in entries]
        may_send = self._right_to(entries)
        try:
            failure = await self._attempt(lambda accept: self._sink.deliver(events, accept, may_send), accepted)
        finally:
            # Also when cancelled: what the receiver has acknowledged must not be sent again after a restart.
            left = await self._record(entries, accepted)
        if self._repetition is not None:
            self._repetition.was_told()
        if accepted:
            self._acknowledged([entry.seq for entry in entries if entry not in left])
        if failure is None and left:
            failure = _Failure(reason=f"the sink said nothing of {len(left)} events")
        if failure is None:
            return True
        refused = next((entry for entry in left if entry.event.event_id == failure.refused), None)
        if refused is not None:
            return await self._refuse(refused.seq, failure)
        seqs = [entry.seq for entry in left]
        await self._spool.returned(self._sink.name, seqs, sent=failure.sent)
        return True if failure.withheld else await self._fail(failure, seqs)

    def _right_to(self, entries: Sequence[PendingEvent]) -> MaySend:
        """What is the group's may be sent while this agent may tell it; its own always."""
        shared = {entry.event.event_id for entry in entries if entry.shared}
        return lambda event: event.event_id not in shared or self._spool.may_tell()

    def _may_repeat(self, event: Event) -> bool:
        return self._spool.may_repeat(self._sink.name, event.alarm_id)

    async def _refuse(self, seq: int, failure: _Failure) -> bool:
        """The receiver answered that it does not take an event: set it aside, or give it up."""
        if failure.certain:
            await self._dead_letter(seq, failure.reason)
            return True
        await self._spool.returned(self._sink.name, [seq], sent=True)
        if seq not in self._poison.aside:
            log.warning("sink %s: an event was not taken, others go first: %s", self._sink.name, failure.reason)
        self._poison.refused(seq, self._clock())
        self._last_refusal = failure.reason
        self._health.long_refused = self._poison.long_refused
        self._health.refused(failure.reason, failing=self._poison.in_doubt)
        return await self._pause() if self._poison.in_doubt else True

    async def _record(self, entries: Sequence[PendingEvent], accepted: Sequence[Event]) -> list[PendingEvent]:
        """Record in the spool what was accepted; returns the rest."""
        ids = [event.event_id for event in accepted]
        left: list[PendingEvent] = []
        seqs: list[int] = []
        for entry in entries:
            if entry.event.event_id in ids:
                ids.remove(entry.event.event_id)
                seqs.append(entry.seq)
            else:
                left.append(entry)
        if seqs:
            await self._spool.accepted(self._sink.name, seqs)
        return left

    async def _attempt(
        self, work: Callable[[Callable[..., None]], Awaitable[None]], accepted: list[Event]
    ) -> _Failure | None:
        """Let the sink work. It calls what it is given with each event that is accepted, or just to say it gets on."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience_seconds) as patience:

                def accept(*events: Event) -> None:
                    accepted.extend(events)
                    # The bound is on silence, not on the batch: a slow receiver that goes on is not cut off.
                    patience.reschedule(loop.time() + self._patience_seconds)

                await work(accept)
        except Retry as error:
            return _Failure(reason=_line(error), sent=error.sent, asked_seconds=error.asked_seconds)
        except Refused as error:
            return _Failure(reason=_line(error), refused=error.event_id, certain=error.certain)
        except Withheld as error:
            return _Failure(reason=_line(error), sent=error.sent, withheld=True)
        except TimeoutError:
            await self._close()
            return _Failure(reason=f"no answer within {self._patience_seconds:g} s", sent=True)
        except Exception as error:
            reason = f"{type(error).__name__}: {_line(error)}"
            if reason != self._defect:
                log.exception("sink %s: a defect of the agent in sending, going on", self._sink.name)
            self._defect = reason
            # As if the session had ended: an event that the sink can't encode becomes a dead letter like one that ends
            # the receiver's sessions.
            return _Failure(reason=reason, sent=True)
        return None

    async def _send_heartbeat(self) -> bool:
        """Send a heartbeat, which is not spooled; to a failing sink it is the probe whether it is back."""
        failure = await self._attempt(partial(self._sink.deliver, [self._make_heartbeat()]), [])
        if failure is not None:
            return await self._fail(failure, ())
        self._last_heartbeat = self._clock()
        self._acknowledged(())
        if (seq := self._poison.poisonous()) is not None:
            await self._dead_letter(seq, self._last_refusal)
        return True

    async def _dead_letter(self, seq: int, reason: str) -> None:
        await self._spool.dead_letter(self._sink.name, seq, reason)
        self._poison.forget(seq)
        self._health.gave_up(reason)

    async def _fail(self, failure: _Failure, batch: Sequence[int]) -> bool:
        """Record a failure and pause; False if that was the last try."""
        self._poison.failed(batch, sent=failure.sent, now=self._clock())
        self._last_refusal = f"{TRIALS} times others were accepted and it was not: {failure.reason}"
        self._health.long_refused = self._poison.long_refused
        self._health.failed(failure.reason)
        return await self._pause(failure.asked_seconds)

    async def _pause(self, asked_seconds: float = 0.0) -> bool:
        """Wait before the next try, unless drained meanwhile; False if there is no time for another one."""
        if self._draining:
            return False
        try:
            async with asyncio.timeout(self._backoff.next(asked_seconds)):
                await self._hurry.wait()
        except TimeoutError:
            return True
        return True

    def _acknowledged(self, seqs: Sequence[int]) -> None:
        self._backoff.reset()
        self._poison.accepted(seqs)
        self._health.accepted(len(seqs))

    async def _close(self) -> None:
        try:
            async with deadline(_CLOSE_SECONDS):
                await self._sink.close()
        except TimeoutError:
            log.info("sink %s: the session was not closed in time", self._sink.name)
        except Exception:
            log.exception("sink %s: a defect of the agent in closing", self._sink.name)


def _line(error: BaseException) -> str:
    """What went wrong, as one line of bounded length."""
    return (" ".join(str(error).split()) or type(error).__name__)[:_REASON_LENGTH]
