"""The pipeline of an agent in a group: its own series are judged as ever, the group's by whoever leads.

What the leader decides is recorded for all (`group.base.Journal`) before it is in the leader's spool and seen. The
other members judge nothing of the group's; all store and show what they poll. Loaded only where there is a group.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.evaluate import alarms
from hsm_agent.evaluate.sharing import is_own, is_shared, view
from hsm_agent.evaluate.state import active, part_of, with_alarm
from hsm_agent.group.base import NotCommittedError
from hsm_agent.group.progress import PROGRESS
from hsm_agent.model import AGENT_SOURCE, EventKind, SourceState
from hsm_agent.pipeline import ActRefusedError, Pipeline, finish, outside, steps
from hsm_agent.spool.shared import GROUP_STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from hsm_agent.evaluate.alarms import Context
    from hsm_agent.evaluate.hsms import Hsms, ObjectKey
    from hsm_agent.evaluate.rules import Ruleset
    from hsm_agent.evaluate.state import AlarmState
    from hsm_agent.evaluate.transaction import StepResult
    from hsm_agent.group.base import Journal
    from hsm_agent.model import Event, Reading, Series
    from hsm_agent.pipeline import Change, Refresh
    from hsm_agent.spool import Spool
    from hsm_agent.spool.shared import Addressed
    from hsm_agent.store import Store

log = logging.getLogger(__name__)

OWN_ALARM = f"{GROUP_STATES}own/"
"""Of a state for each alarm that this agent raised or ended for itself, not for the group."""
_RAISED, _ENDED = "raised", "ended"
_TICK_SECONDS = 1.0
_MOST_GONE = 1000
_COMPLETE_SECONDS = 600.0
"""For so long it is waited for a complete poll of each source: some kinds have none, nor has one with an error."""
UP = (SourceState.UP, SourceState.DEGRADED)


class OwnAlarms:
    """The alarms of the group's series that this agent raised for itself, alone or before it was in a group, and ended.

    Of those that it ended only what the group had raised: nobody else knows of the others.
    """

    def __init__(self, alarm_state: AlarmState, kept: Mapping[str, str]) -> None:
        """`kept`: the spool's states that are about the group, one of them for each such alarm."""
        self._saved = {key.removeprefix(OWN_ALARM): text for key, text in kept.items() if key.startswith(OWN_ALARM)}
        self._found = dict(self._saved)
        if PROGRESS not in kept:
            before = (alarm.alarm_id for key, _, alarm in with_alarm(alarm_state) if is_shared(key[1]))
            self._found |= dict.fromkeys(before, _RAISED)

    @property
    def ids(self) -> set[str]:
        """IDs of all."""
        return self._found.keys() | self._saved.keys()

    @property
    def raised(self) -> set[str]:
        """IDs of the alarms that it raised, and that are still there."""
        return {alarm_id for alarm_id, what in self._found.items() if what == _RAISED}

    @property
    def ended(self) -> set[str]:
        """IDs of the group's alarms that it ended."""
        return {alarm_id for alarm_id, what in self._found.items() if what != _RAISED}

    def changes(self, result: StepResult) -> dict[str, str | None]:
        """The states that say which they are after this step, as far as the spool has others."""
        found: dict[str, str | None] = {}
        for key, after in result.transaction.rule_states.changed.items():
            state = result.transaction.base.rule_states.get(key)
            before = "" if state is None or state.alarm is None else state.alarm.alarm_id
            now = "" if after is None or after.alarm is None else after.alarm.alarm_id
            if before not in {"", now}:
                found[before] = None if self._found.get(before) == _RAISED else _ENDED
            if now not in {"", before}:
                found[now] = _RAISED
        return self.unsaved() | {f"{OWN_ALARM}{alarm_id}": what for alarm_id, what in found.items()}

    def unsaved(self) -> dict[str, str | None]:
        """The states of those that the spool has none of."""
        return {f"{OWN_ALARM}{each}": what for each, what in self._found.items() if each not in self._saved}

    def saved(self, states: Mapping[str, str | None]) -> None:
        """The spool has these now."""
        for key, what in states.items():
            for known in (self._found, self._saved):
                known.pop(key.removeprefix(OWN_ALARM), None)
                if what is not None:
                    known[key.removeprefix(OWN_ALARM)] = what

    def states_without(self, alarm_ids: Collection[str]) -> dict[str, str | None]:
        """The states that say of these alarms, as far as they are known, that all is the group's."""
        return dict.fromkeys(f"{OWN_ALARM}{alarm_id}" for alarm_id in self.ids.intersection(alarm_ids))


class ScopedPipeline(Pipeline):
    """A pipeline in two scopes, each with its own lock: the agent's own series, and the group's."""

    def __init__(
        self,
        *,
        journal: Journal,
        kept: Mapping[str, str],
        alarm_state: AlarmState,
        rules: Ruleset,
        store: Store,
        spool: Spool,
        refresh: Refresh | None = None,
        hsms: Hsms | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`kept`: the spool's states whose key begins with `GROUP_STATES`."""
        super().__init__(
            alarm_state=alarm_state,
            rules=rules,
            store=store,
            spool=spool,
            refresh=refresh,
            hsms=hsms,
            wall=wall,
            monotonic=monotonic,
        )
        self._journal = journal
        self._shared_turn = asyncio.Lock()
        self._shared_at = monotonic()
        self._own_alarms = OwnAlarms(alarm_state, kept)
        self._may_since: float | None = None
        """Since when it may be withdrawn, on the monotonic clock."""
        self._is_configured: Callable[[Series], bool] | None = None
        self._due: Callable[[Series], bool] | None = None
        """What is configured, while what left the configuration is still to be withdrawn."""
        self._touched: set[Series] = set()
        """Series of which another agent judged something since they were read here last."""
        self._gone: dict[ObjectKey, str] = {}
        """Objects that are not read any more, and why, while nothing was judged here."""
        self._to_bring_up: set[str] = set()
        """Sinks that are new, or get more than before, and were told of no alarm of the group's yet."""

    async def keep_time(self) -> None:
        """Let time pass for the group's series, until cancelled; `tick` does for the agent's own.

        Two tasks, as a commit may wait for a whole lease, and the agent's own alarms do not.
        """
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            await self.tick_shared()

    async def tick_shared(self) -> None:
        """Let time pass for the group's series, and do what was due and could not be done yet."""
        if self._journal.judges:
            await self._judge_shared(*steps(()))
            await self._withdraw_when_due()
            await self._bring_up()
        self._shared_at = self._monotonic()

    @property
    def age_seconds(self) -> float:
        return max(super().age_seconds, self._monotonic() - self._shared_at)

    # What a pipeline does, in two scopes.

    def _scope(self) -> AlarmState:
        return view(self.alarm_state, own=True, now=self._wall())

    async def _judge(self, readings: Sequence[Reading], *, settled: str | None) -> None:
        own = [reading for reading in readings if is_own(reading.series)]
        shared = [reading for reading in readings if is_shared(reading.series)]
        await self._carry_out(*(steps(own) if own else ()), readings=readings, settled=settled)
        for reading in shared:
            self._touched.discard(reading.series)
            self._gone.pop((reading.source, reading.resource), None)
        if shared:
            await self._judge_shared(*steps(shared))

    async def _judge_shared(self, *changes: Change) -> bool:
        """Whether it was judged, and is recorded. Where not, nothing changed, and the next poll is judged the same."""
        if not self._journal.judges:
            return False
        try:
            await finish(self._carry_out_shared(changes))
        except NotCommittedError as error:
            log.debug("what was judged for the group is dropped: %s", error)
            return False
        return True

    async def _carry_out_shared(self, changes: Iterable[Change]) -> None:
        async with self._shared_turn:
            await self._change_shared(changes)

    async def _change_shared(self, changes: Iterable[Change]) -> None:
        """With the lock held. NotCommittedError: those before were carried out, and no more."""
        alarms_changed = False
        try:
            for change in changes:
                if not self._journal.judges:
                    raise NotCommittedError("this agent does not lead")
                result = change(view(self.alarm_state, own=False, now=self._wall()), context=self._context())
                await self._record(result)
                self._apply(result)
                alarms_changed |= result.alarms_changed
                await asyncio.sleep(0)
        finally:
            if alarms_changed and self._refresh is not None:
                self._refresh((), alarms=True)
        self._shared_at = self._monotonic()

    async def _record(self, result: StepResult) -> None:
        """For all, then in the spool. Notices of it are the agent's own: who follows tells of no other's acts."""
        told = [event for event in result.events if event.kind is not EventKind.NOTICE]
        if told or result.rows:
            await self._commit(self._spool.address(self._labelled(told)), result.rows, self._own_alarms.changes(result))
        if len(told) < len(result.events):
            await self._spool.commit([event for event in result.events if event.kind is EventKind.NOTICE], {})

    async def _commit(
        self, addressed: Sequence[Addressed], rows: Mapping[str, str | None], raises: Mapping[str, str | None]
    ) -> None:
        """`raises`: states of alarms that are this agent's alone, unless the journal shares them."""
        shares = self._journal.shares
        progress = await self._journal.commit(addressed, rows)
        kept = {} if shares else raises
        await self._spool.commit_addressed(addressed, {**rows, **kept, **progress}, shared=shares)
        self._own_alarms.saved(kept)

    def _labelled(self, events: Iterable[Event]) -> list[Event]:
        added = dict(self._journal.labels)
        return [
            replace(event, labels=tuple(sorted((dict(event.labels) | added).items()))) if added else event
            for event in events
        ]

    async def _settle(self, source: str, is_still_read: Callable[[Series], bool]) -> None:
        # As long as it may not be withdrawn, the next complete poll asks again.
        if self._due is None and self._journal.may_withdraw and await self._withdraw_shared(is_still_read):
            self._completed.add(source)

    async def _withdraw(self, is_configured: Callable[[Series], bool]) -> None:
        await self._carry_out(self._withdrawal(is_configured, is_own))
        self._is_configured = is_configured
        self._due = is_configured  # last: whether it may be withdrawn is asked by the next tick at the earliest

    async def _withdraw_shared(self, is_configured: Callable[[Series], bool]) -> bool:
        return await self._judge_shared(self._withdrawal(is_configured, is_shared))

    async def _withdraw_when_due(self) -> None:
        if not (self._journal.judges and self._journal.may_withdraw):
            self._may_since = None
            return
        now = self._monotonic()
        self._may_since = now if self._may_since is None else self._may_since
        due = self._due
        if due is not None and await self._withdraw_shared(due) and self._due is due:
            self._due = None
        # What left a source shows only in a complete poll; a source that is down is not waited for, and none for ever:
        # as long as this is not over, a takeover may withdraw what the new leader has not read.
        up = {name for name, source in self._store.sources.items() if source.state in UP}
        is_late = now - self._may_since >= _COMPLETE_SECONDS
        if self._due is None and (is_late or up <= self._completed | {AGENT_SOURCE}):
            self._journal.withdrawn()

    async def _end(self, objects: Collection[ObjectKey], why: str, *, only_of_hsm: bool = False) -> None:
        own = {place for place in objects if place[0] == AGENT_SOURCE}
        if own:
            await self._carry_out(self._ending(outside(own, only_of_hsm=only_of_hsm), why))
        shared = set(objects) - own
        if shared and not await self._judge_shared(self._ending(outside(shared, only_of_hsm=only_of_hsm), why)):
            # For who judges next here. Of an HSM it is known from the readings.
            self._gone.update({} if only_of_hsm else dict.fromkeys(shared, why))
            for place in list(self._gone)[:-_MOST_GONE]:
                del self._gone[place]

    def _ending(self, is_kept: Callable[[Series], bool], why: str) -> Change:
        return self._withdrawal(is_kept, lambda series: not is_kept(series), why)

    def _withdrawal(
        self, is_configured: Callable[[Series], bool], is_wanted: Callable[[Series], bool], why: str = alarms.WITHDRAWN
    ) -> Change:
        """A withdrawal that looks at no other series than those wanted."""

        def withdraw(state: AlarmState, *, context: Context) -> StepResult:
            return alarms.withdraw(part_of(state, is_wanted), is_configured, context, why=why)

        return withdraw

    # What an operator asks for.

    @property
    def refusal(self) -> str:
        if self._journal.judges:
            return ""
        leader = self._journal.leader
        if not leader or leader == self._store.agent_name:
            return "no member of the group is known to lead now: ask again, or another member"
        return f"{leader} leads the group: ask it there"

    async def _operate(self, act: Change) -> None:
        if self.refusal:
            raise ActRefusedError(self.refusal)
        try:
            await finish(self._carry_out_shared((act,)))
        except NotCommittedError as error:
            raise ActRefusedError(f"not done: {error}") from error

    async def _forget(self, act: Change, alarm_id: str) -> None:
        own = with_alarm(view(self.alarm_state, own=True, now=self._wall()))
        if any(alarm.alarm_id == alarm_id for _, _, alarm in own):
            await self._carry_out(act)
        else:
            await self._operate(act)

    def events_for_new_sinks(self) -> list[Event]:
        return self._raised(own=True)

    def _raised(self, *, own: bool) -> list[Event]:
        found = active(self.alarm_state).values()
        return [each.event for each in found if not each.silenced and is_own(each.series) is own]

    async def bring_up_to_date(self, sinks: Collection[str]) -> None:
        """Where this agent leads, at the next tick; where another does, it tells of it, if it has that sink."""
        self._to_bring_up.update(sinks)

    async def _bring_up(self) -> None:
        if not self._to_bring_up:
            return
        present = self._spool.stats().sinks
        sinks = [name for name in self._to_bring_up if name in present]
        if not sinks or await self._tell_again(sinks, only_new=True):
            self._to_bring_up.clear()

    async def _tell_again(self, sinks: Collection[str], *, only_new: bool) -> bool:
        try:
            await finish(self._send_raised(sinks, only_new=only_new))
        except NotCommittedError as error:
            log.debug("sinks are not brought up to date yet: %s", error)
            return False
        return True

    async def _send_raised(self, sinks: Collection[str], *, only_new: bool) -> None:
        async with self._shared_turn:
            addressed = self._spool.address(self._labelled(self._raised(own=False)), sinks=sinks, only_new=only_new)
            if addressed:
                await self._commit(addressed, {}, {})

    async def resend(self, sink: str) -> int:
        if self.refusal:
            raise ActRefusedError(self.refusal)
        count = len(self.raised_events())
        try:
            await finish(self._send_raised([sink], only_new=False))
        except NotCommittedError as error:
            raise ActRefusedError(f"not sent: {error}") from error
        await self.notify(self._raised(own=True), only_sink=sink)
        return count
