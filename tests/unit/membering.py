"""A member of a group without the group and without a disk: its pipeline, a journal and a spool to look into."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

from hsm_agent.evaluate.rules import Above, Changes, Rule, Ruleset
from hsm_agent.evaluate.sharing import is_shared_row
from hsm_agent.evaluate.state import AlarmState
from hsm_agent.group.base import NotCommittedError
from hsm_agent.model import Event, EventKind, Reading, SourceState, SourceStatus
from hsm_agent.replica import GroupPipeline
from hsm_agent.spool.shared import Addressed, SharedChange, SharedContent
from hsm_agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hsm_agent.evaluate.hsms import Hsms
    from hsm_agent.model import Labels

WALL = 1_700_000_000.0
SINKS = ("noc", "siem")
FULL = Rule(name="full", metrics=("token_objects", "spool_entries"), condition=Above(warning=10))
RULES = Ruleset([FULL, Rule(name="changed", metrics=("hsm_commands_total",), condition=Changes())], {})
PROGRESS = {"group/progress": "{}"}


class Record:
    """A journal: what is committed, and what it says of this agent."""

    def __init__(self) -> None:
        self.judges = True
        self.shares = True
        self.labels: Labels = ()
        self.may_withdraw = False
        self.leader = "one"
        self.withdrawals = 0
        self.refuses = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.changes: list[SharedChange] = []

    def withdrawn(self) -> None:
        self.withdrawals += 1
        self.may_withdraw = False

    async def commit(self, events: Sequence[Addressed], states: Mapping[str, str | None]) -> Mapping[str, str | None]:
        await self.gate.wait()
        if self.refuses:
            raise NotCommittedError("another agent leads")
        self.changes.append(SharedChange(states=dict(states), events=tuple(events)))
        return {"group/progress": str(len(self.changes))}

    @property
    def events(self) -> list[Event]:
        return [each.event for change in self.changes for each in change.events]


class Shelf:
    """A spool: what was committed to it, and whose it is. Every sink wants every event."""

    def __init__(self, rows: Mapping[str, str]) -> None:
        self.rows = dict(rows)
        self.stored: list[Mapping[str, str | None]] = []
        """The states of each commit that had any."""
        self.own: list[tuple[Event, str | None]] = []
        self.addressed: list[tuple[Addressed, bool]] = []
        self.asked: list[tuple[Collection[str] | None, bool]] = []
        self.taken: list[SharedChange] = []
        self.replaced: list[SharedContent] = []
        self.shared_but: list[set[str]] = []
        self.content = SharedContent(sequences=frozenset({("noc", "a-1")}))

    def _store(self, states: Mapping[str, str | None]) -> None:
        if states:
            self.stored.append(states)
        for key, text in states.items():
            if text is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = text

    async def commit(
        self, events: Sequence[Event], states: Mapping[str, str | None], *, only_sink: str | None = None
    ) -> None:
        self.own += [(event, only_sink) for event in events]
        self._store(states)

    def address(
        self, events: Sequence[Event], *, sinks: Collection[str] | None = None, only_new: bool = False
    ) -> list[Addressed]:
        self.asked.append((sinks, only_new))
        return [Addressed(event=event, sinks=tuple(SINKS if sinks is None else sinks)) for event in events]

    async def commit_addressed(
        self, addressed: Sequence[Addressed], states: Mapping[str, str | None], *, shared: bool
    ) -> None:
        self.addressed += [(each, shared) for each in addressed]
        self._store(states)

    async def take_in(self, change: SharedChange, progress: Mapping[str, str | None]) -> None:
        self.taken.append(change)
        self._store({**change.states, **progress})

    async def replace_shared(
        self, content: SharedContent, states: Mapping[str, str | None], own_alarm_ids: Collection[str] = ()
    ) -> None:
        self.replaced.append(content)
        self._store(states)

    async def shared_content(self) -> SharedContent:
        return self.content

    async def share_all(self, own_alarm_ids: Collection[str], states: Mapping[str, str | None]) -> None:
        self.shared_but.append(set(own_alarm_ids))
        self._store(states)

    async def states(self, prefix: str = "") -> dict[str, str]:
        return {key: text for key, text in self.rows.items() if key.startswith(prefix)}

    def stats(self) -> SimpleNamespace:
        return SimpleNamespace(sinks=dict.fromkeys(SINKS))

    @property
    def own_events(self) -> list[Event]:
        return [event for event, _ in self.own]

    @property
    def shared_rows(self) -> dict[str, str]:
        return {key: text for key, text in self.rows.items() if is_shared_row(key)}


class House:
    """A member: one agent's pipeline, store, spool and journal. `rows`: what its spool holds at the start."""

    def __init__(
        self, rows: Mapping[str, str] = PROGRESS, *, name: str = "one", rules: Ruleset = RULES, hsms: Hsms | None = None
    ) -> None:
        self.name = name
        self.journal = Record()
        self.spool = Shelf(rows)
        self.store = Store(agent_name=name, started=WALL, labels={})
        self.shown: list[tuple[set[str], bool]] = []
        self.now = WALL
        self.ticks = 0.0
        alarm_state, unreadable = AlarmState.load({key: text for key, text in rows.items() if key.startswith("[")})
        assert unreadable == ()
        self.pipeline = GroupPipeline(
            journal=self.journal,
            kept={key: text for key, text in rows.items() if key.startswith("group/")},
            alarm_state=alarm_state,
            rules=rules,
            store=self.store,
            spool=self.spool,  # type: ignore[arg-type]  # a fake at the border, with the methods that are called
            refresh=self.refresh,
            hsms=hsms,
            wall=lambda: self.now,
            monotonic=lambda: self.ticks,
        )

    def refresh(self, sources: Collection[str], *, alarms: bool) -> None:
        self.shown.append((set(sources), alarms))

    def reading(
        self, value: float | None, resource: str = "pay", *, source: str = "a", metric: str = "token_objects"
    ) -> Reading:
        return Reading(source=source, resource=resource, metric=metric, value=value, time=self.now)

    def own(self, value: float) -> Reading:
        return self.reading(value, "", source="agent", metric="spool_entries")

    async def take(
        self, *readings: Reading, source: str = "a", up: bool = True, complete: bool = False, gone: Collection[str] = ()
    ) -> None:
        state = SourceState.UP if up else SourceState.DOWN
        status = SourceStatus(name=source, kind="pkcs11", every_seconds=60.0, state=state)
        await self.pipeline.take(status, readings, complete=complete, gone=gone)

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds
        await self.pipeline.tick()
        await self.pipeline.tick_shared()

    def alarms(self) -> list[tuple[str, str]]:
        """Source and resource of what is shown as raised."""
        return sorted((series[0], series[1]) for _, series in self.store.alarms)


def kinds(events: Sequence[Event]) -> list[tuple[EventKind, str]]:
    return [(event.kind, event.resource) for event in events]
