"""The whole way of a reading on one page: store, judge, spool, show.

Everything that changes what is judged passes here, one at a time, so that an event is on disk, together with the
state of the alarm that caused it, before anybody can see or send it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Protocol

from hsm_agent.evaluate import operations
from hsm_agent.evaluate.alarms import Context
from hsm_agent.evaluate.hsms import Hsms, is_of_hsm
from hsm_agent.evaluate.state import AlarmState, active
from hsm_agent.evaluate.step import step
from hsm_agent.model import SourceState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence

    from hsm_agent.evaluate.rules import Ruleset
    from hsm_agent.evaluate.state import Silence
    from hsm_agent.evaluate.transaction import StepResult
    from hsm_agent.model import Event, Reading, Series, SourceStatus
    from hsm_agent.spool import Spool
    from hsm_agent.store import Store


STALLED_SECONDS = 60.0
"""Time passes every second: an agent in which nothing was judged for so long is ill."""
READINGS_A_STEP = 300
"""More are judged in several steps. One takes 2 ms, or 20 when every reading is the first of its series."""


class Refresh(Protocol):
    """Shows what changed: the readings of these sources, and the alarms where `alarms`."""

    async def __call__(self, sources: Collection[str], *, alarms: bool) -> None: ...


def new_id() -> str:
    """An identifier that nothing else has."""
    return str(uuid.uuid4())


async def _whole(work: Coroutine[object, object, None]) -> None:
    """Do it to the end even if whoever asked is cancelled: what is on disk and what is in memory must not part."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _portions(readings: Sequence[Reading]) -> Iterable[Sequence[Reading]]:
    """The readings in steps that don't hold the event loop up, the source's own first, a resource never torn apart.

    What inhibits is known before what it inhibits is told, and a token's readings are judged together.
    """
    ordered = sorted(readings, key=lambda reading: (reading.resource != "", reading.resource))
    start = 0
    while len(ordered) - start > READINGS_A_STEP:
        end = start + READINGS_A_STEP
        while end < len(ordered) and ordered[end].resource == ordered[end - 1].resource:
            end += 1
        yield ordered[start:end]
        start = end
    yield ordered[start:]


def _still_there(source: str, readings: Sequence[Reading], hsms: Hsms) -> Callable[[Series], bool]:
    """Whether a series is among the readings of a complete poll, or could have been left out of it.

    A metric that was read under other labels (a token is expected now) is another series: the old one is gone.
    """
    resources = {name for reading in readings for name in (reading.resource, hsms.name_of(reading))}
    metrics = {(reading.resource, reading.metric) for reading in readings}
    series = {reading.series for reading in readings}

    def kept(each: Series) -> bool:
        if each[0] != source or each in series:
            return True
        return each[1] in resources and (each[1], each[2]) not in metrics

    return kept


def _state_of_series(state: AlarmState, series: Series, now: float) -> AlarmState:
    """The part of the state that is about one series, and the silences in force."""
    part = AlarmState()
    part.rule_states = {key: rule_state for key, rule_state in state.rule_states.items() if key[1] == series}
    part.alarmed = {key: None for key in part.rule_states if key in state.alarmed}
    part.series_states = {each: found for each, found in state.series_states.items() if each == series}
    part.missing = {each: None for each in part.series_states if each in state.missing}
    part.unread = {each: None for each in part.series_states if each in state.unread}
    part.silences = {name: each for name, each in state.silences.items() if each.until > now}
    return part


class Pipeline:
    """Takes in readings and acts; keeps the alarm state, the store and the spool in step."""

    def __init__(
        self,
        *,
        alarm_state: AlarmState,
        rules: Ruleset,
        store: Store,
        spool: Spool,
        refresh: Refresh,
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
        self._judged_at = monotonic()
        self._turn = asyncio.Lock()
        self._settled: set[str] = set()

    async def take(
        self, status: SourceStatus, readings: Sequence[Reading], *, complete: bool = False, gone: Sequence[str] = ()
    ) -> None:
        """What a poll brought.

        The first `complete` one after a start or a new configuration shows which tokens left the configuration.
        `gone` are resources that are not read under that name any more.
        """
        self._store.sources[status.name] = status
        shared = self._hsms.shared(readings)
        await self.watch(shared.readings)
        for name in sorted(set(shared.moved.values())):
            await self._move({place for place, to in shared.moved.items() if to == name}, name)
        await self._drop(status.name, gone, "no longer read under this name")
        if complete and status.name not in self._settled:
            self._settled.add(status.name)
            keeps = _still_there(status.name, (*readings, *shared.readings), self._hsms)
            await self._act(lambda context: operations.withdraw(self.alarm_state, keeps, context))

    async def _move(self, places: Collection[tuple[str, str]], name: str) -> None:
        """What told of the HSM under partitions' names until now is told under the HSM's own."""

        def keeps(series: Series) -> bool:
            return series[:2] not in places or not is_of_hsm(series[2])

        sources = {source for source, _ in places}
        for series in [each for source in sources for each in self._store.of_source(source) if not keeps(each)]:
            self._store.forget(series)
        why = f"told of the whole HSM now, as {name}"
        await self._act(lambda context: operations.withdraw(self.alarm_state, keeps, context, why=why))
        await self._refresh(sources, alarms=False)

    async def watch(self, readings: Sequence[Reading]) -> None:
        """Readings without a poll: the agent's account of itself, ages of sources."""
        await _whole(self._judge(readings))

    async def tick(self) -> None:
        """Let time pass: holds, repeats, silences that end, readings that stay away."""
        await _whole(self._judge(()))

    async def _judge(self, readings: Sequence[Reading]) -> None:
        async with self._turn:
            self._store.update(readings)
            alarms_changed = False
            for portion in _portions(readings):
                result = step(self.alarm_state, portion, self._context())
                await self._remember(result)
                alarms_changed |= result.alarms_changed
                await asyncio.sleep(0)
            await self._show({reading.source for reading in readings}, alarms=alarms_changed)
            self._judged_at = self._monotonic()

    @property
    def age_seconds(self) -> float:
        """How long ago something was judged last; time passes here every second, so it is small while all is well."""
        return self._monotonic() - self._judged_at

    async def judge_aside(self, reading: Reading) -> None:
        """Judge one reading of the agent's own without having the turn.

        For what is to be told while whoever has the turn does not give it back. Nothing but this series is looked at,
        so that what was found there, and is taken in later, stays right.
        """
        self._store.update((reading,))
        context = self._context()
        result = step(_state_of_series(self.alarm_state, reading.series, context.now), (reading,), context)
        self._apply(result)
        # Seen before it is on disk, as an exception: the disk may be what holds the rest up.
        await self._show({reading.source}, alarms=result.alarms_changed)
        if result.events or result.rows:
            await self._spool.commit(result.events, result.rows)

    async def silence(self, wanted: Silence) -> None:
        """Begin a silence."""
        await self._act(lambda context: operations.silence(self.alarm_state, wanted, context))

    async def end_silence(self, silence_id: str, uid: int) -> None:
        """End a silence. LookupError if there is none."""
        await self._act(lambda context: operations.end_silence(self.alarm_state, silence_id, uid, context))

    async def forget(self, alarm_id: str, uid: int) -> Series | None:
        """Clear an alarm for good and drop its reading. LookupError if there is none."""
        series = next((a.series for a in active(self.alarm_state).values() if a.alarm_id == alarm_id), None)
        await self._act(lambda context: operations.forget(self.alarm_state, alarm_id, uid, context))
        return series

    async def drop(self, source: str, resource: str, why: str) -> None:
        """Clear every alarm of an object, and forget what was read of it."""
        await self._drop(source, (resource,), why)

    async def _drop(self, source: str, resources: Collection[str], why: str) -> None:
        """All at once: a look at the whole alarm state takes its time, and there may be hundreds."""
        if not resources:
            return
        left = frozenset(resources)

        def keeps(series: Series) -> bool:
            return series[0] != source or series[1] not in left

        for resource in left:
            self._store.forget_resource(source, resource)
        await self._act(lambda context: operations.withdraw(self.alarm_state, keeps, context, why=why))
        await self._refresh({source}, alarms=False)
        hsms = {hsm for resource in left for _, hsm in self._hsms.forget(source, resource)} - left
        await self._drop(source, hsms, f"{why}, and no other partition of it is read")

    async def withdraw(self, keeps: Callable[[Series], bool], rules: Ruleset, hsms: Hsms | None = None) -> None:
        """Go on with new rules; alarms of what left the configuration clear."""
        self.rules = rules
        self._settled.clear()
        if hsms is not None and hsms.globs != self._hsms.globs:
            self._hsms = hsms
            for series in [reading.series for reading in self._store.readings() if is_of_hsm(reading.metric)]:
                self._store.forget(series)  # the next polls bring it under its new name
        await self._act(lambda context: operations.withdraw(self.alarm_state, keeps, context))

    async def tell(self, events: Iterable[Event], *, only_sink: str | None = None) -> None:
        """Events that no reading caused: tests, notices."""
        await _whole(self._spool.commit(tuple(events), {}, only_sink=only_sink))

    async def _act(self, act: Callable[[Context], StepResult]) -> None:
        await _whole(self._carry_out(act))

    async def _carry_out(self, act: Callable[[Context], StepResult]) -> None:
        async with self._turn:
            # Not on a thread, although it may look at all there is (16 ms for 1000 tokens): whatever kept a thread
            # would keep the turn, and with it all judging.
            result = act(self._context())
            await self._remember(result)
            await self._show((), alarms=result.alarms_changed)
            self._judged_at = self._monotonic()

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
            sharing=self._hsms.sharing(),
            gone=self._hsms.gone(),
        )

    async def _remember(self, result: StepResult) -> None:
        if result.events or result.rows:
            await self._spool.commit(result.events, result.rows)
        self._apply(result)

    def _apply(self, result: StepResult) -> None:
        result.apply_to(self.alarm_state)
        if result.alarms_changed:
            self._store.set_alarms(active(self.alarm_state))

    async def _show(self, sources: Collection[str], *, alarms: bool) -> None:
        if sources or alarms:
            await self._refresh(sources, alarms=alarms)

    def show_alarms(self) -> None:
        """Put the alarms of the alarm state into the store, at start."""
        self._store.set_alarms(active(self.alarm_state))
