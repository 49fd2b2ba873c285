"""An agent's own copy of what is its group's, in memory and in the spool: it follows the leader's, until it leads."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.evaluate import alarms
from hsm_agent.evaluate.sharing import (
    adopt,
    each_row,
    is_own,
    is_shared,
    is_shared_row,
    series_in,
    take_in_rows,
)
from hsm_agent.evaluate.state import (
    Loading,
    part_of,
    with_alarm,
)
from hsm_agent.group.base import NotCommittedError
from hsm_agent.log import SparingLog
from hsm_agent.model import EventKind
from hsm_agent.pipeline import finish, new_id, outside, steps
from hsm_agent.scopes import UP, ScopedPipeline
from hsm_agent.spool.shared import Addressed
from hsm_agent.threads import with_pauses

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hsm_agent.evaluate.state import AlarmState
    from hsm_agent.model import Reading
    from hsm_agent.spool.shared import SharedChange, SharedContent, SinkAlarm

log = logging.getLogger(__name__)
_sparing = SparingLog(log)

_OF_HISTORIES = ('["points"', '["windows"')
"""How the keys of their rows begin."""
_ROWS_A_COMMIT = 5000
"""A tenth of a second's work for a disk."""
CORRECTS_AFTER_SECONDS = 300.0
"""After the group's content was taken instead of what this agent judged alone."""


class GroupPipeline(ScopedPipeline):
    """The pipeline of a member: a `group.base.Replica`."""

    _corrects_at = 0.0
    """On the monotonic clock."""

    async def tick_shared(self) -> None:
        await super().tick_shared()
        if self._own_alarms.ended and self._journal.shares and self._monotonic() >= self._corrects_at:
            await finish(self._correct())

    async def _correct(self) -> None:
        """Raise once more what this agent cleared while it was alone, and what the group has as raised all the same.

        Only after a while: the group has most often come to the same with its next poll.
        """
        async with self._shared_turn:
            ended, sequences = self._own_alarms.ended, (await self._spool.shared_content()).sequences
            found = []
            for _, _, alarm in with_alarm(self.alarm_state):
                if alarm.alarm_id in ended:
                    event = replace(alarm.event, event_id=new_id(), kind=EventKind.RAISED, time=self._wall())
                    sinks = tuple(name for name, owed in sorted(sequences) if owed == alarm.alarm_id)
                    found.append(Addressed(event=event, sinks=sinks))
            states = self._own_alarms.states_without(ended)
            await self._spool.commit_addressed([each for each in found if each.sinks], states, shared=False)
            self._own_alarms.saved(states)

    async def take_in(self, change: SharedChange, progress: Mapping[str, str | None]) -> None:
        """Do what the leader did. `progress`: states that say how far this agent is, stored with it."""
        await finish(self._take_in(change, progress))

    async def _take_in(self, change: SharedChange, progress: Mapping[str, str | None]) -> None:
        states = {key: text for key, text in change.states.items() if is_shared_row(key)}
        async with self._shared_turn:
            told = {each.event.alarm_id for each in change.events}
            corrected = self._own_alarms.states_without(told)
            await self._spool.take_in(replace(change, states=states), {**progress, **corrected})
            self._own_alarms.saved(corrected)
            self._report_unreadable(take_in_rows(self.alarm_state, states))
            self._touched.update(series for key in states if (series := series_in(key)) is not None)
            if any(key.startswith(('["watch"', '["silence"')) for key in states):
                self._show_change()

    async def replace(
        self, content: SharedContent, progress: Mapping[str, str | None], *, merged_by: str | None = None
    ) -> None:
        """Hold this instead of what is held.

        `merged_by`, a name: this agent has judged for itself meanwhile. Alarms that it raised then, and that are not
        in the content, are cleared by itself: merged into the content's alarm of the same rule and series, or not seen
        by `merged_by`.
        """
        await finish(self._replace(content, progress, merged_by))

    async def _replace(self, content: SharedContent, progress: Mapping[str, str | None], merged_by: str | None) -> None:
        states = {key: text async for key, text in with_pauses(content.states.items()) if is_shared_row(key)}
        async with self._shared_turn:
            fresh = await self._loaded(states)
            clears = () if merged_by is None else await self._merge(fresh, content.sequences, merged_by)
            on_disk = await self._on_disk()
            held = on_disk | await self._in_memory()
            changed = {key: text for key, text in states.items() if on_disk.get(key) != text}
            changed = await self._store_histories(changed)
            stale = {key: None for key in held if key not in states}
            going_on = {alarm.alarm_id for _, _, alarm in with_alarm(fresh)}
            own = self._own_alarms.states_without(self._own_alarms.ids - (self._own_alarms.ended & going_on))
            await self._spool.replace_shared(
                replace(content, states=states),
                {**stale, **changed, **own, **progress},
                () if merged_by is None else self._own_alarms.ids,
            )
            self._touched |= {
                series
                async for key in with_pauses({**held, **states})
                if key.startswith('["watch"')
                and held.get(key) != states.get(key)
                and (series := series_in(key)) is not None
            }
            adopt(self.alarm_state, fresh)
            # Not before: what it judged of alarms of the group's is dropped there.
            await self._spool.commit_addressed(clears, {}, shared=False)
            self._own_alarms.saved(own)
            self._corrects_at = self._monotonic() + CORRECTS_AFTER_SECONDS
            self._show_change()

    async def _merge(self, fresh: AlarmState, sequences: Collection[SinkAlarm], merged_by: str) -> list[Addressed]:
        """Clear what this agent raised for itself. Returns what is to be sent after the group's content is held.

        That is about alarms of the group's of which receivers may have heard this agent's word after the group's last:
        for the sinks that the group owes nothing more of them.
        """
        merge = partial(alarms.merge, self.alarm_state, fresh, by=merged_by, context=self._context())
        ids = {alarm.alarm_id for key, _, alarm in with_alarm(self.alarm_state) if is_shared(key[1])}
        raised = (ids & self._own_alarms.raised) - {alarm.alarm_id for _, _, alarm in with_alarm(fresh)}
        # Before anything is replaced: if it ends here, the next attempt finds the alarms as they are now.
        notices = alarms.lost_silences(self.alarm_state, fresh, merged_by, self._context())
        await self._spool.commit((*merge(own=raised), *notices), {})
        found = []
        for each in self._spool.address(merge(own=ids - raised)):
            sinks = tuple(name for name in each.sinks if (name, each.event.alarm_id) not in sequences)
            found.append(replace(each, sinks=sinks))
        return [each for each in found if each.sinks]

    async def _store_histories(self, rows: Mapping[str, str]) -> dict[str, str]:
        """Those of histories, some at a time; the others, which are to be stored as one.

        For a thousand tokens they are 80 MB: a disk that takes seconds for them would count as one that is silent. It
        does no harm that they are there before the rest, since they say nothing of alarms.
        """
        histories = {key: text for key, text in rows.items() if key.startswith(_OF_HISTORIES)}
        entries = iter(histories.items())
        while portion := dict(islice(entries, _ROWS_A_COMMIT)):
            await self._spool.commit((), portion)
        return {key: text for key, text in rows.items() if key not in histories}

    async def _loaded(self, rows: Mapping[str, str]) -> AlarmState:
        loading = Loading(rows)
        async for _ in with_pauses(loading):
            pass
        self._report_unreadable(loading.unreadable)
        return loading.state

    async def _on_disk(self) -> dict[str, str]:
        """The group's rows on disk, those that could not be read too; none if the disk cannot be read."""
        found = (await self._spool.states("[")).items()
        return {key: text async for key, text in with_pauses(found) if is_shared_row(key)}

    async def _in_memory(self) -> dict[str, str]:
        """The group's rows as they would be stored; with the lock held, which keeps them as they are."""
        shared = part_of(self.alarm_state, is_shared)
        shared.silences = self.alarm_state.silences
        return {key: text async for key, text in with_pauses(each_row(shared))}

    async def content(self) -> SharedContent:
        """All that is held of the group's."""
        async with self._shared_turn:
            return replace(await self._spool.shared_content(), states=await self._on_disk() | await self._in_memory())

    async def share(self) -> None:
        """What this agent has judged for itself, and not told yet, is the group's from now on."""
        async with self._shared_turn:
            own = {alarm.alarm_id for key, _, alarm in with_alarm(self.alarm_state) if is_own(key[1])}
            # Which alarms were its own is remembered until this agent leads: what is shared may not reach the others.
            await self._spool.share_all(own, {})

    async def judge_present(self) -> None:
        """Judge the latest readings of all sources: this agent leads, or is alone, from now on.

        Not readings that are older than what another agent judged of the same series, which the next poll replaces,
        and not what is left of sources that are down.
        """
        await finish(self._judge_present())

    async def _judge_present(self) -> None:
        # Others may have judged by another configuration meanwhile, of which something is still there.
        self._due = self._is_configured
        self._completed.clear()
        readings = [each for name in self._store.sources for each in self._present(name)]
        moved = set(self._hsms.moved)
        async with self._shared_turn:
            await self._note_own_alarms()
            changes = [
                *([self._ending(outside(moved, only_of_hsm=True), "told of the whole HSM now")] if moved else ()),
                *(self._ending(outside({place}, only_of_hsm=False), why) for place, why in self._gone.items()),
                *(steps(readings) if readings else ()),
            ]
            try:
                await self._change_shared(changes)
                self._gone.clear()
            except NotCommittedError as error:
                log.debug("what is read now is judged with the next polls: %s", error)
            judged = {reading.series for reading in readings}
            unread = (key[1] for key in self.alarm_state.alarmed if is_shared(key[1]) and key[1] not in judged)
            self.alarm_state.unread.update(dict.fromkeys(unread))

    async def _note_own_alarms(self) -> None:
        """What this agent raised is the group's once it leads, and its own for longer while it is alone."""
        if not self._journal.judges:
            return
        own = self._own_alarms
        states = own.states_without(own.raised) if self._journal.shares else own.unsaved()
        if states:
            await self._spool.commit((), states)
            own.saved(states)

    def _present(self, source: str) -> list[Reading]:
        """The readings of a source that can be judged now; of one that is down only those about the source itself."""
        is_up = self._store.sources[source].state in UP
        return [
            reading
            for series, reading in self._store.of_source(source).items()
            if is_shared(series)
            and series not in self._touched
            and (is_up or (series[1] == "" and series[2].startswith("source_")))
        ]

    def _show_change(self) -> None:
        self.show_alarms()
        if self._refresh is not None:
            self._refresh((), alarms=True)

    def _report_unreadable(self, keys: Collection[str]) -> None:
        if keys:
            _sparing.warning("rows of the group's state can't be read and are left out: %s", " ".join(keys)[:2000])
