"""The whole way of a reading on one page: store, evaluate, spool, show.

Everything that changes the alarm state passes here, one change at a time, so that an event is on disk, together with
the state of the alarm that caused it, before it can be seen or sent.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Protocol

from hsm_agent.evaluate import alarms
from hsm_agent.evaluate.alarms import Context
from hsm_agent.evaluate.hsms import Hsms, Shared, is_of_hsm
from hsm_agent.evaluate.state import AlarmState, active, part_of
from hsm_agent.evaluate.step import step
from hsm_agent.model import SourceState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence

    from hsm_agent.evaluate.hsms import ObjectKey
    from hsm_agent.evaluate.rules import Ruleset
    from hsm_agent.evaluate.state import Silence
    from hsm_agent.evaluate.transaction import StepResult
    from hsm_agent.model import Event, Reading, Series, SourceStatus
    from hsm_agent.spool import Spool
    from hsm_agent.store import Store


STALLED_SECONDS = 60.0
"""A tick comes every second: an agent that has evaluated nothing for so long is stalled."""
READINGS_PER_STEP = 300
"""More are evaluated in several steps. One takes 2 ms, or 20 when every reading is the first of its series."""


class Refresh(Protocol):
    """Makes the servers show what changed: the readings of these sources, and the alarms where `alarms`."""

    def __call__(self, sources: Collection[str], *, alarms: bool) -> None: ...


class Change(Protocol):
    """A step, or an operation on the alarms, with all arguments but these."""

    def __call__(self, state: AlarmState, *, context: Context) -> StepResult: ...


class ActRefusedError(Exception):
    """What an operator asks for is not for this agent to do. The text is one line, and says whose it is."""


def new_id() -> str:
    """A unique identifier."""
    return str(uuid.uuid4())


async def finish(work: Coroutine[object, object, None]) -> None:
    """Finish the work even if the caller is cancelled: the state on disk and the one in memory must not differ."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def steps(readings: Sequence[Reading]) -> list[Change]:
    """The steps that evaluate the readings of a poll."""
    return [partial(step, readings=portion) for portion in _portions(readings)]


def outside(objects: Collection[ObjectKey], *, only_of_hsm: bool) -> Callable[[Series], bool]:
    """A predicate: whether a series belongs to none of the objects; with `only_of_hsm` to none as a whole HSM."""

    def is_outside(series: Series) -> bool:
        return series[:2] not in objects or (only_of_hsm and not is_of_hsm(series[2]))

    return is_outside


def _portions(readings: Sequence[Reading]) -> Iterator[Sequence[Reading]]:
    """The readings in steps that do not block the event loop, the source's own first, a resource always in one step.

    Inhibiting rules are then known before the rules they inhibit, and a token's readings are evaluated together.
    """
    ordered = sorted(readings, key=lambda reading: (reading.resource != "", reading.resource))
    start = 0
    while len(ordered) - start > READINGS_PER_STEP:
        end = start + READINGS_PER_STEP
        while end < len(ordered) and ordered[end].resource == ordered[end - 1].resource:
            end += 1
        yield ordered[start:end]
        start = end
    yield ordered[start:]


def _still_read(source: str, readings: Sequence[Reading], hsms: Hsms) -> Callable[[Series], bool]:
    """A predicate: whether a series is among the readings of a complete poll, or may be missing from it.

    A metric that was read under other labels (a token is expected now) is another series: the old one is gone.
    """
    resources = {reading.resource for reading in readings}
    if hsms.present:
        resources.update(map(hsms.name_of, readings))
    metrics = {(reading.resource, reading.metric) for reading in readings}
    series = {reading.series for reading in readings}

    def is_still_read(each: Series) -> bool:
        if each[0] != source or each in series:
            return True
        return each[1] in resources and (each[1], each[2]) not in metrics

    return is_still_read


def _state_of_series(state: AlarmState, series: Series, now: float) -> AlarmState:
    """The part of the state that is about one series, and the silences in force."""
    part = part_of(state, lambda each: each == series)
    part.silences = {name: each for name, each in state.silences.items() if each.until > now}
    return part


class Pipeline:
    """Takes readings and operations; keeps the alarm state, the store and the spool consistent."""

    def __init__(
        self,
        *,
        alarm_state: AlarmState,
        rules: Ruleset,
        store: Store,
        spool: Spool,
        refresh: Refresh | None = None,
        hsms: Hsms | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.alarm_state = alarm_state
        self.rules = rules
        self._hsms = hsms or Hsms()
        self._store = store
        self._spool = spool
        self._refresh = refresh
        self._wall = wall
        self._monotonic = monotonic
        self._evaluated_at = monotonic()
        self._turn = asyncio.Lock()
        self._completed: set[str] = set()
        """Sources that had a complete poll with this configuration."""

    async def take(
        self, status: SourceStatus, readings: Sequence[Reading], *, complete: bool = False, gone: Collection[str] = ()
    ) -> None:
        """The result of a poll.

        The first `complete` one after a start or a new configuration shows which tokens left the configuration.
        `gone` are resources that are no longer read under that name.
        """
        self._store.sources[status.name] = status  # first: evaluation depends on which sources are up
        shared = Shared(readings=tuple(readings), moved={})
        if self._hsms.globs or self._hsms.present or any(reading.hsm for reading in readings):
            shared = self._hsms.shared(readings)
        await self._judge(shared.readings, settled=status.name if complete else None)
        # Only after the HSM's own series were evaluated, so that its alarms are raised before the old ones clear.
        for name in sorted(set(shared.moved.values())):
            await self._move({key for key, to in shared.moved.items() if to == name}, name)
        if gone:
            await self._drop(status.name, frozenset(gone), "no longer read under this name")
        if complete and status.name not in self._completed:
            await self._settle(status.name, _still_read(status.name, (*readings, *shared.readings), self._hsms))

    async def tick(self) -> None:
        """Let time pass: `for`, repeats, silences that end, readings that stay away."""
        await self._carry_out(partial(step, readings=()))

    async def _judge(self, readings: Sequence[Reading], *, settled: str | None) -> None:
        await self._carry_out(*steps(readings), readings=readings, settled=settled)

    async def _settle(self, source: str, is_still_read: Callable[[Series], bool]) -> None:
        """The first complete poll of a source shows what of it left the configuration."""
        self._completed.add(source)
        await self._carry_out(partial(alarms.withdraw, is_configured=is_still_read))

    async def _carry_out(self, *changes: Change, readings: Sequence[Reading] = (), settled: str | None = None) -> None:
        """`settled` is a source that has told of everything it has: what it was known to have before is over."""
        await finish(self._carry_out_in_turn(changes, readings, settled))

    async def _carry_out_in_turn(
        self, changes: Iterable[Change], readings: Sequence[Reading], settled: str | None
    ) -> None:
        async with self._turn:
            self._store.update(readings)
            if settled is not None:
                self._store.known.pop(settled, None)
            alarms_changed = False
            for change in changes:
                # Not on a thread, although it may look at the whole state (16 ms for 1000 tokens): if a thread hung,
                # it would keep the lock, and evaluation would stop.
                result = change(self._scope(), context=self._context())
                # On disk before it is in memory: what is seen or sent has survived a crash of this process.
                if result.events or result.rows:
                    await self._spool.commit(result.events, result.rows)
                self._apply(result)
                alarms_changed |= result.alarms_changed
                await asyncio.sleep(0)  # servers and sinks get a turn between the steps of a large poll
            sources = {reading.source for reading in readings}
            if (sources or alarms_changed) and self._refresh is not None:
                self._refresh(sources, alarms=alarms_changed)
            self._evaluated_at = self._monotonic()

    def _scope(self) -> AlarmState:
        """What a change looks at."""
        return self.alarm_state

    @property
    def age_seconds(self) -> float:
        """How long ago something was evaluated last; small while all is well, as a tick comes every second."""
        return self._monotonic() - self._evaluated_at

    async def evaluate_aside(self, reading: Reading) -> None:
        """Evaluate one reading of the agent's own without waiting for the lock, while a stalled step holds it.

        The step is given nothing but the state of this series, so that its result is still right when it is applied.
        """
        self._store.update((reading,))
        context = self._context()
        result = step(_state_of_series(self.alarm_state, reading.series, context.now), (reading,), context)
        self._apply(result)
        # Shown before it is on disk, as an exception: the disk may be what stalls the rest.
        if self._refresh is not None:
            self._refresh({reading.source}, alarms=result.alarms_changed)
        if result.events or result.rows:
            await self._spool.commit(result.events, result.rows)

    async def silence(self, wanted: Silence) -> None:
        """Begin a silence. ActRefusedError where others do."""
        await self._operate(partial(alarms.silence, wanted=wanted))

    async def end_silence(self, silence_id: str, uid: int) -> None:
        """LookupError if there is none of that id; ActRefusedError where others do."""
        await self._operate(partial(alarms.end_silence, silence_id=silence_id, by_uid=uid))

    async def forget(self, alarm_id: str, uid: int) -> Series | None:
        """Clear an alarm for good; returns its series if it was shown.

        LookupError if there is none of that id; ActRefusedError where others do.
        """
        series = next((a.series for a in active(self.alarm_state).values() if a.alarm_id == alarm_id), None)
        await self._forget(partial(alarms.forget, alarm_id=alarm_id, by_uid=uid), alarm_id)
        return series

    async def _operate(self, act: Change) -> None:
        await self._carry_out(act)

    async def _forget(self, act: Change, alarm_id: str) -> None:  # noqa: ARG002 - an overriding method looks at it
        await self._carry_out(act)

    @property
    def refusal(self) -> str:
        """Why an operator's act on alarms is not for this agent; empty where it is."""
        return ""

    def raised_events(self) -> list[Event]:
        """The latest event of every alarm that is raised and not silenced."""
        return [alarm.event for alarm in active(self.alarm_state).values() if not alarm.silenced]

    def events_for_new_sinks(self) -> list[Event]:
        """What of it a sink is told as soon as it is registered with the spool."""
        return self.raised_events()

    async def bring_up_to_date(self, sinks: Collection[str]) -> None:
        """These sinks are new, or get more than before: tell them the rest of what is raised."""

    async def resend(self, sink: str) -> int:
        """Send the raised alarms to one sink again; how many. ActRefusedError where others do."""
        events = self.raised_events()
        await self.notify(events, only_sink=sink)
        return len(events)

    async def drop(self, source: str, resource: str, why: str) -> None:
        """Clear every alarm of an object, and forget its readings."""
        await self._drop(source, frozenset({resource}), why)

    async def _drop(self, source: str, resources: Collection[str], why: str) -> None:
        for resource in resources:
            self._store.forget_resource(source, resource)
        await self._end({(source, resource) for resource in resources}, why)
        if self._refresh is not None:
            self._refresh({source}, alarms=False)
        hsms = {hsm for resource in resources for _, hsm in self._hsms.forget(source, resource)}.difference(resources)
        if hsms:
            await self._drop(source, hsms, f"{why}, and no other partition of it is read")

    async def _move(self, objects: Collection[ObjectKey], name: str) -> None:
        """Withdraw series of the HSM under its partitions' names: from now on they bear the HSM's own."""
        is_kept = outside(objects, only_of_hsm=True)
        sources = {source for source, _ in objects}
        for series in [each for source in sources for each in self._store.of_source(source) if not is_kept(each)]:
            self._store.forget(series)
        await self._end(objects, f"told of the whole HSM now, as {name}", only_of_hsm=True)
        if self._refresh is not None:
            self._refresh(sources, alarms=False)

    async def _end(self, objects: Collection[ObjectKey], why: str, *, only_of_hsm: bool = False) -> None:
        """Clear the alarms of objects that are not read any more, in one change: each looks at the whole state."""
        is_kept = outside(objects, only_of_hsm=only_of_hsm)
        await self._carry_out(partial(alarms.withdraw, is_configured=is_kept, why=why))

    async def reconfigure(
        self, is_configured: Callable[[Series], bool], rules: Ruleset, hsms: Hsms | None = None
    ) -> None:
        """Go on with new rules; alarms of what left the configuration clear."""
        self.rules = rules
        self._completed.clear()
        if hsms is not None and hsms.globs != self._hsms.globs:
            self._hsms = hsms
            for series in [reading.series for reading in self._store.readings() if is_of_hsm(reading.metric)]:
                self._store.forget(series)  # the next polls bring it under its new name
        await self._withdraw(is_configured)

    async def _withdraw(self, is_configured: Callable[[Series], bool]) -> None:
        await self._carry_out(partial(alarms.withdraw, is_configured=is_configured))

    async def notify(self, events: Iterable[Event], *, only_sink: str | None = None) -> None:
        """Send events that no reading caused: tests, notices."""
        await finish(self._spool.commit(tuple(events), {}, only_sink=only_sink))

    def show_alarms(self) -> None:
        """Put the raised alarms into the store."""
        self._store.set_alarms(active(self.alarm_state))

    def _context(self) -> Context:
        up = {
            name
            for name, source in self._store.sources.items()
            if source.state in (SourceState.UP, SourceState.DEGRADED)
        }
        return Context(
            rules=self.rules,
            now=self._wall(),
            new_id=new_id,
            agent=self._store.agent_name,
            up=up,
            sharing=self._hsms.sharing() if self._hsms.present else {},
            gone=self._hsms.gone() if self._hsms.present else (),
        )

    def _apply(self, result: StepResult) -> None:
        result.apply_to(self.alarm_state)
        if result.alarms_changed:
            self.show_alarms()
