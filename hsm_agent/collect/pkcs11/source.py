"""The source `kind: pkcs11`: its settings, its schedule, and the collector that reads tokens through a worker process.

It must not load a PKCS#11 module into this process, nor wait for one: see fetch.py.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import re
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings
from hsm_agent.collect.child_common import MEMORY_BYTES, PKCS11_COMMAND
from hsm_agent.collect.child_process import WorkerMemory
from hsm_agent.collect.identity import SeenFile
from hsm_agent.collect.pkcs11 import luna_ha
from hsm_agent.collect.pkcs11.fetch import Fetcher, ModuleLaunch, PollRequest
from hsm_agent.collect.pkcs11.luna import STORAGE_METRICS
from hsm_agent.collect.pkcs11.parse import parse, tokens_watched
from hsm_agent.collect.pkcs11.poll_state import ParseOptions, PollMemory
from hsm_agent.collect.pkcs11.recording import RawPoll, mask
from hsm_agent.collect.pkcs11.steps import STEPS, Group, due_steps, is_incomplete, is_needed, nowhere
from hsm_agent.collect.pkcs11.token import TokenIdentity
from hsm_agent.collect.series import without_forgotten
from hsm_agent.metrics.tables import HSM, TOKENS
from hsm_agent.settings.types import Environment, Glob, Interval, LocalPath, Size, Strict
from hsm_agent.threads import Lane

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.collect.pkcs11.parse import ParsedPoll

log = logging.getLogger(__name__)

_DAY = 86400.0
IF_LUNA = "if the module is a Luna's"
_MANY_RESULTS = 30
_PARSE_SECONDS = 60.0
_SLOT_NUMBER = re.compile(r"(?i)(?:slot\s*[:=#]?\s*)?(?:\d{1,2}|0x[\da-f]{1,4})")
_HURRY_SECONDS = 5.0
"""Schedule of the audit readings while the store is not empty: it can fill within minutes."""


def _time_of_day(value: object) -> dt.time:
    try:
        return dt.datetime.strptime(str(value), "%H:%M").time()  # noqa: DTZ007 - a time of day has no zone
    except ValueError:
        raise ValueError(f"not a time of day: {value!r} (write 00:00)") from None


TimeOfDay = Annotated[dt.time, BeforeValidator(_time_of_day)]
Ids = Literal["all"] | tuple[int, ...]


class ObjectStore(Strict):
    """The directory of a file-backed token, and what it may hold."""

    directory: LocalPath
    capacity: Annotated[Size, Field(gt=0)]


class Pkcs11Settings(SourceSettings):
    """A PKCS#11 module and the tokens behind it."""

    kind: Literal["pkcs11"]
    module: LocalPath
    environment: Environment = Field(default_factory=dict)
    reserved: str | None = None
    worker_memory: WorkerMemory = MEMORY_BYTES
    tokens: tuple[Glob, ...] = ("*",)
    rediscover_every: Interval = 600.0
    memory_total: dict[Glob, Annotated[Size, Field(gt=0)]] = Field(default_factory=dict)
    sessions_max: dict[Glob, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    sessions_scope: Literal["auto", "token", "application"] = "auto"
    object_store: ObjectStore | None = None
    objects_every: Interval | None = None
    liveness_every: Interval | None = None
    luna: Literal["auto", "off"] = "auto"
    storage_every: Interval = 300.0
    inventory_at: TimeOfDay = dt.time(0, 0)
    audit_every: Interval = 15.0
    audit_capacity: Annotated[int, Field(gt=0)] = 198120
    capabilities: Ids = (1, 7, 12, 37)
    policies: Ids = ()

    def build(self, context: CollectorContext) -> Collector:
        return Pkcs11Collector(self, context)

    def about(self) -> Iterator[str]:
        missing = "" if self.module.exists() else " (the file does not exist: the source would be down)"
        yield f"{self.module}{missing}"
        yield f"tokens {', '.join(self.tokens)}"
        for name in (*self.tokens, *self.memory_total, *self.sessions_max):
            if _SLOT_NUMBER.fullmatch(name):
                yield f"warning: {name!r}: tokens are named by label or serial; if a slot is meant, it names none"
        if self.luna == "auto":
            yield from luna_ha.warnings(self.module, self.environment, self.tokens)

    def metrics_produced(self) -> Mapping[str, str]:
        """What every module tells, what is asked for, and what only a Luna has."""
        asked = {
            "token_alive": self.liveness_every is not None,
            "token_objects": self.objects_every is not None,
            **dict.fromkeys(STORAGE_METRICS, self.object_store is not None),
        }
        names = [metric.name for metric in TOKENS if not metric.name.startswith("source_")]
        found = dict.fromkeys([*(name for name in names if asked.get(name, True)), "hsm_firmware_info"], "")
        if self.luna == "off":
            return found
        chosen = {"hsm_capability": self.capabilities, "hsm_policy": self.policies}
        chosen["token_policy"] = self.policies
        luna = [*(metric.name for metric in HSM if chosen.get(metric.name, True)), *STORAGE_METRICS, "token_objects"]
        return {**dict.fromkeys(luna, IF_LUNA), **found}

    def trusted_files(self) -> Mapping[str, Path]:
        return {"module": self.module}

    @staticmethod
    def mask(raw: object) -> object:
        return mask(raw.to_json()) if isinstance(raw, RawPoll) else None

    @property
    def store_directory(self) -> str:
        """For parsing."""
        return str(self.object_store.directory) if self.object_store else ""

    @property
    def store_capacity(self) -> int:
        """For parsing."""
        return self.object_store.capacity if self.object_store else 0

    def parse_options(self) -> ParseOptions:
        """The settings that parsing needs: it is not to import pydantic, for the sake of the Nagios plugin."""
        return ParseOptions(**{each.name: getattr(self, each.name) for each in fields(ParseOptions)})


class SeenTokensFile(SeenFile["Mapping[str, TokenIdentity]"]):
    """The tokens a source has seen, by resource: missing ones are still detected after a restart."""

    member = "tokens"

    def _decode(self, entries: dict[str, Any]) -> tuple[Mapping[str, TokenIdentity], int]:
        known = {}
        for name, token in entries.items():
            match token:
                case {"label": str() as label, "serial": str() as serial}:
                    known[name] = TokenIdentity(label, serial)
                case _:
                    continue  # counted below
        return known, len(entries) - len(known)

    def _encode(self, seen: Mapping[str, TokenIdentity]) -> dict[str, Any]:
        return {name: {"label": token.label, "serial": token.serial} for name, token in seen.items()}


class Pkcs11Collector(Collector):
    """Reads one module. Polls are serial; between them it holds nothing but a quiet worker."""

    kind = "pkcs11"

    def __init__(
        self, settings: Pkcs11Settings, context: CollectorContext, *, command: Sequence[str] = PKCS11_COMMAND
    ) -> None:
        """`command` starts the worker in another way (in a private namespace, say)."""
        super().__init__(settings)
        self._settings = settings
        self._options = settings.parse_options()
        self._seen_tokens = SeenTokensFile(context.state_directory, "pkcs11", settings.name)
        self._poll_memory = PollMemory()
        self._is_new = True
        self._forgotten: set[str] = set()
        """Resources that were forgotten since the present poll began."""
        self._parsing = Lane(f"source {settings.name}: parsing a poll")
        launch = ModuleLaunch(
            source=settings.name,
            command=command,
            environment=settings.environment,
            memory_bytes=settings.worker_memory,
            module=str(settings.module),
            reserved=settings.reserved,
            luna=settings.luna == "auto",
        )
        self._fetcher = self.children = Fetcher(launch)
        interval_seconds = {
            Group.SWEEP: settings.every,
            Group.AUDIT: settings.audit_every if settings.luna == "auto" else None,
            Group.STORAGE: settings.storage_every if settings.luna == "auto" else None,
            Group.LIVENESS: settings.liveness_every,
            Group.OBJECTS: settings.objects_every,
        }
        self._schedule = Schedule(interval_seconds, settings.inventory_at)

    async def poll(self) -> Poll:
        """Read what is due now. Raises SourceFailure within the source's own time-out."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._forgotten.clear()
        await self._remember()
        if self._fetcher.age_seconds(started) >= self._settings.rediscover_every:
            await self._fetcher.retire()
            self._poll_memory = self._poll_memory.for_fresh_worker()
        due = self._schedule.due(started)
        request = self._request(due, self._poll_memory)
        raw = await self._fetch(request, started + self._settings.timeout)
        parsed = await self._parse(raw, self._poll_memory)
        # Parsing has worked with what was known when it began: it still misses what was forgotten meanwhile.
        there = {token.resource for token in parsed.memory.tokens.values()}
        self._poll_memory = parsed.memory.without(self._forgotten, there=there)
        for remark in parsed.remarks:
            log.warning("source %s: %s", self.name, remark)
        await self._seen_tokens.keep(self._poll_memory.seen)
        self._plan(due, started)
        if is_incomplete(Group.INVENTORY, raw, parsed.memory):
            self._schedule.again(Group.INVENTORY, started + self._settings.storage_every)
        return Poll(
            readings=tuple(without_forgotten(parsed.readings, self._forgotten)),
            next_in_seconds=self._schedule.next_in_seconds(loop.time()),
            errors=parsed.errors,
            standing=parsed.standing,
            remarks=parsed.remarks,
            slowest_call_seconds=raw.slowest_microseconds / 1e6 if raw.calls else None,
            calls=raw.calls,
            raw=raw,
            complete=request.sweep and not parsed.errors,
            gone=parsed.gone,
        )

    async def _remember(self) -> None:
        """Once: what was seen before the agent was started."""
        if self._is_new:
            seen = await self._seen_tokens.load()
            # A poll and an operator's `forget` may both have waited: only the first to come back starts the memory.
            if self._is_new:
                self._is_new, self._poll_memory = False, PollMemory(seen=seen)

    async def _parse(self, raw: RawPoll, memory: PollMemory) -> ParsedPoll:
        """The readings. Raises SourceFailure if there are none of any watched token."""
        work = partial(parse, raw, self._options, memory)
        # Parsing takes some 0.1 ms a token; many tokens would hold up the loop.
        many = len(raw.results) > _MANY_RESULTS
        parsed = await self._parsing.call(work, seconds=_PARSE_SECONDS) if many else work()
        if not parsed.well:
            others = f" (and {len(parsed.errors) - 1} more)" if len(parsed.errors) > 1 else ""
            raise SourceFailure(f"no token could be read: {parsed.errors[0]}{others}")
        return parsed

    async def _fetch(self, request: PollRequest, deadline: float) -> RawPoll:
        return await self._fetcher.read(request, deadline)

    def _request(self, due: frozenset[Group], memory: PollMemory) -> PollRequest:
        """What this poll is to read: slots and tokens in a sweep, and what else is due of the tokens."""
        store = self._settings.object_store
        return PollRequest(
            sweep=Group.SWEEP in due,
            find=lambda results: tokens_watched(results, self._options.tokens),
            steps=lambda tokens: due_steps(due, tokens, self._fetcher.functions, memory),
            known=memory.slots(),
            store=str(store.directory) if store is not None and Group.SWEEP in due else "",
        )

    def _plan(self, due: frozenset[Group], started: float) -> None:
        """Set the rhythms that depend on what was found, then the times of what was done."""
        has = self._fetcher.functions
        self._schedule.set_interval(Group.AUDIT, self._audit_period() if is_needed(Group.AUDIT, has) else None)
        self._schedule.set_interval(
            Group.STORAGE, self._settings.storage_every if is_needed(Group.STORAGE, has) else None
        )
        self._schedule.done(due, started, dt.datetime.now().astimezone())

    def _audit_period(self) -> float:
        """Faster while records wait; no faster than the sweep while the call itself is what fails."""
        if self._fetcher.has_hung("audit"):
            return self._settings.every
        points = self._poll_memory.audit.values()
        waiting = any(series[-1][1] > 0 for series in points if series)
        return min(_HURRY_SECONDS, self._settings.audit_every) if waiting else self._settings.audit_every

    async def close(self) -> None:
        await self._fetcher.close()

    async def forget(self, resource: str) -> bool:
        await self._remember()
        if resource not in self._poll_memory.seen:
            return False
        self._poll_memory = self._poll_memory.without({resource})
        self._forgotten.add(resource)
        await self._seen_tokens.keep(self._poll_memory.seen)
        return True

    def calls_a_day(self) -> Mapping[str, float]:
        """How often each C call is made in a day for one token, at the configured rhythms and an empty audit store."""
        memory = self._poll_memory
        unknown = nowhere(memory.slots(), memory.unsupported)
        return calls_a_day(self._settings, self._fetcher.functions, unknown)


def calls_a_day(
    settings: Pkcs11Settings, functions: Collection[str], unknown: Collection[str] = ()
) -> dict[str, float]:
    """The number of C calls a day for one token.

    `functions` are the vendor functions the module has, `unknown` the steps its slots turned out not to know: each
    worker asks for those once.
    """
    sweeps = _DAY / settings.every
    loads = _DAY / settings.rediscover_every
    calls = dict.fromkeys(("C_GetFunctionList", "C_Initialize", "C_GetInfo", "C_Finalize"), loads)
    calls |= {"C_GetSlotList": 2 * sweeps, "C_GetSlotInfo": sweeps, "C_GetTokenInfo": sweeps}
    rhythms = {
        Group.SWEEP: sweeps,
        Group.AUDIT: _DAY / settings.audit_every,
        Group.STORAGE: _DAY / settings.storage_every,
        Group.INVENTORY: 1.0,
    }
    for name, step in STEPS.items():
        if step.function in functions:
            times = rhythms[step.group]
            made = min(times, loads) if name in unknown else step.calls * times
            calls[step.function] = calls.get(step.function, 0.0) + made
    in_session = [
        (settings.liveness_every, ("C_GenerateRandom",)),
        (settings.objects_every, ("C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal")),
    ]
    for every, names in in_session:
        for name in ("C_OpenSession", *names, "C_CloseSession") if every is not None else ():
            calls[name] = calls.get(name, 0.0) + _DAY / (every or _DAY)
    return calls


_TOGETHER_SECONDS = 0.2
"""Groups that are due within this time are read at once, so that multiples of one interval share a poll."""


class Schedule:
    """When each group is due next, in seconds of the monotonic clock. Everything is due at the start."""

    def __init__(self, interval_seconds: Mapping[Group, float | None], inventory_at: dt.time) -> None:
        self._interval_seconds = dict(interval_seconds)
        self._inventory_at = inventory_at
        self._next: dict[Group, float] = {}

    def due(self, now: float) -> frozenset[Group]:
        """What is to be read now; a group whose interval is None never is."""
        groups = [*self._active(), Group.INVENTORY]
        return frozenset(group for group in groups if self._next.get(group, now) <= now + _TOGETHER_SECONDS)

    def _active(self) -> Iterable[Group]:
        return (group for group, seconds in self._interval_seconds.items() if seconds is not None)

    def set_interval(self, group: Group, seconds: float | None) -> None:
        """Change the interval of a group, from its next time on; None stops it."""
        self._interval_seconds[group] = seconds

    def done(self, groups: Iterable[Group], started: float, wall: dt.datetime) -> None:
        """Plan the next time of what was read in the poll that started then. `wall` is local time."""
        for group in groups:
            if group is Group.INVENTORY:
                self._next[group] = started + seconds_until(self._inventory_at, wall)
                continue
            seconds = self._interval_seconds.get(group) or 0.0
            planned = self._next.get(group, started) + seconds
            # Keep the phase; after a missed interval begin a new one, rather than poll several times to catch up.
            self._next[group] = planned if planned > started else started + seconds

    def again(self, group: Group, at: float) -> None:
        """Plan a group for an earlier time than its own interval does."""
        self._next[group] = min(at, self._next.get(group, at))

    def next_in_seconds(self, now: float) -> float:
        """Seconds until something is due."""
        return max(0.0, min((self._next.get(group, now) for group in self._active()), default=now) - now)


def seconds_until(at: dt.time, wall: dt.datetime) -> float:
    """Seconds from a local time to the next time the clock shows `at`."""
    then = dt.datetime.combine(wall.date(), at, tzinfo=wall.tzinfo)
    if then <= wall:
        then += dt.timedelta(days=1)
    return (then - wall).total_seconds()
