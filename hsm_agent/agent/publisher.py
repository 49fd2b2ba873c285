"""Publishes the agent's status for its fleet. Nothing waits for it: what fails is tried again, and is a reading."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import zlib
from heapq import nlargest
from typing import TYPE_CHECKING, Protocol

from hsm_agent.model import AGENT_SOURCE, Reading, SourceState
from hsm_agent.net.etcd import EtcdClient
from hsm_agent.net.etcd_messages import Compare, EtcdTrouble, Put
from hsm_agent.version import VERSION
from hsm_agent.wire.agent_report import (
    MOST_DOWN,
    MOST_WORST,
    SEVERITIES,
    AgentReport,
    NoReportError,
    WorstAlarm,
    decode,
    encode,
    key_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hsm_agent.config.publish import PublishSettings
    from hsm_agent.model import ActiveAlarm
    from hsm_agent.net.etcd_messages import Found, Transacted
    from hsm_agent.store import Store

log = logging.getLogger(__name__)

METRIC = "publish_age_seconds"
RETRY_SECONDS = 15.0
WITHDRAW_SECONDS = 5.0
_SPREAD_SECONDS = 2.0
_LONGEST_NOTE = 200
"""Characters; of a cluster each endpoint has its own reason."""
_INTERVALS = 3
_LEAST_PATIENCE_SECONDS = 120.0


class KeyHolder(Protocol):
    """What holds the agent's key: a client of etcd. Raises EtcdTrouble."""

    async def range(self, key: bytes, *, limit: int = 1000) -> Found:
        """What stands at the key."""

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        """Do it if the compares hold."""

    async def close(self) -> None:
        """Close its connections."""


class _NameTakenError(Exception):
    """Another agent publishes under this agent's name."""


def report_of(store: Store, settings: PublishSettings, *, run: str, now: float, problem: str) -> AgentReport:
    """The status of the agent, as it publishes it. `problem`: why it is not ready, empty while it is."""
    alarms = [alarm for alarm in store.alarms.values() if not alarm.silenced]
    sources = [source for source in store.sources.values() if source.name != AGENT_SOURCE]
    down = [source.name for source in sources if source.state is SourceState.DOWN]
    worst = nlargest(MOST_WORST, alarms, key=lambda alarm: (alarm.severity.rank, -alarm.since))
    return AgentReport(
        site=settings.site,
        version=VERSION,
        run=run,
        time=now,
        started=store.started,
        every_seconds=settings.every,
        alarms={severity: sum(alarm.severity is severity for alarm in alarms) for severity in SEVERITIES},
        worst=tuple(map(_worst, worst)),
        sources=len(sources),
        sources_down=len(down),
        down=tuple(sorted(down)[:MOST_DOWN]),
        problem=problem,
    )


def _worst(alarm: ActiveAlarm) -> WorstAlarm:
    source, resource, _, _ = alarm.series
    return WorstAlarm(
        severity=alarm.severity,
        rule=alarm.rule,
        place=f"{source}/{resource}" if resource else source,
        text=alarm.event.text,
        since=alarm.since,
    )


class Publisher:
    """Publishes one agent's status until it is cancelled.

    Each report replaces the one before it, by a comparison of revisions: so two agents of one name find each other out,
    and the one that was first says so.
    """

    def __init__(
        self,
        settings: PublishSettings,
        store: Store,
        *,
        problem: Callable[[], str],
        etcd: KeyHolder | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`problem` says why the agent is not ready, nothing while it is."""
        self.settings = settings
        self._store = store
        self._problem = problem
        self._etcd: KeyHolder = etcd or EtcdClient(settings.servers)
        self._wall = wall
        self._monotonic = monotonic
        self._run = secrets.token_hex(8)
        self._key = key_of(store.agent_name).encode()
        self._revision: int | None = None
        """At which the key was ours, or another's, last; 0 where there was none."""
        self._published_at = monotonic()
        self._trouble = "not yet"

    async def run(self) -> None:
        """Publish, at every interval; what failed is tried again sooner."""
        every = self.settings.every
        fraction = zlib.crc32(self._store.agent_name.encode()) / 2**32
        pause = fraction * min(_SPREAD_SECONDS, every / 10)
        try:
            while True:
                await asyncio.sleep(pause)
                pause = every if await self.once() else min(every, RETRY_SECONDS)
        finally:
            await self._etcd.close()

    async def once(self) -> bool:
        """Publish now; whether that was done."""
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._publish()
        except TimeoutError:
            trouble = f"etcd has not taken it within {self.settings.timeout:g} s"
        except (EtcdTrouble, _NameTakenError) as error:
            trouble = str(error)
        except Exception as error:
            # It would end the agent, which has more to do than to publish.
            log.exception("publishing the agent's status has a bug")
            trouble = f"bug in publishing: {type(error).__name__}: {error}"
        else:
            trouble = ""
            self._published_at = self._monotonic()
        if trouble != self._trouble:
            if trouble:
                log.warning("the agent's status is not published: %s", trouble)
            else:
                log.info("the agent's status is published")
        self._trouble = trouble
        return not trouble

    async def withdraw(self) -> None:
        """Take the agent out of the fleet, so that nobody misses it."""
        try:
            async with asyncio.timeout(WITHDRAW_SECONDS):
                await self._withdraw()
        except (EtcdTrouble, TimeoutError) as error:
            log.warning(
                "the agent's status is still published, and will be taken for silence: %s", str(error) or "no answer"
            )
        finally:
            await self._etcd.close()

    async def _withdraw(self) -> None:
        """Delete the key if what stands there is this agent's."""
        for entry in (await self._etcd.range(self._key, limit=1)).entries:
            if self._is_ours(entry.value):
                still = Compare(key=self._key, mod_revision=entry.mod_revision)
                await self._etcd.transaction(compares=[still], deletes=[self._key])

    def reading(self) -> Reading:
        """For how long nothing was published; of the time before the first time, since the start."""
        return Reading(
            source=AGENT_SOURCE,
            resource="",
            metric=METRIC,
            value=max(0.0, self._monotonic() - self._published_at),
            time=self._wall(),
            limit=max(_LEAST_PATIENCE_SECONDS, _INTERVALS * self.settings.every),
            note=self._trouble[:_LONGEST_NOTE],
        )

    async def _publish(self) -> None:
        report = report_of(self._store, self.settings, run=self._run, now=self._wall(), problem=self._problem())
        put = Put(key=self._key, value=encode(report))
        if self._revision is None:  # whatever is there is of our own life before this one
            self._revision = (await self._etcd.transaction(puts=[put])).revision
        else:
            self._revision = await self._replace(put, self._revision)

    async def _replace(self, put: Put, revision: int) -> int:
        """Put it in the place of what was there at the revision; the new revision. Raises _NameTakenError."""
        done = await self._etcd.transaction(compares=[Compare(key=self._key, mod_revision=revision)], puts=[put])
        if done.succeeded:
            return done.revision
        found = await self._etcd.range(self._key, limit=1)
        entry = next(iter(found.entries), None)
        current = 0 if entry is None else entry.mod_revision
        if entry is None or self._is_ours(entry.value):
            # Deleted by an operator, or put by a request of ours that had no answer.
            again = await self._etcd.transaction(compares=[Compare(key=self._key, mod_revision=current)], puts=[put])
            if again.succeeded:
                return again.revision
        # Taken over at the next time unless the other one goes on: it may have been of an agent that was moved.
        self._revision = current
        name = self._store.agent_name
        raise _NameTakenError(f"another agent publishes as {name} too: give each an agent.name of its own")

    def _is_ours(self, value: bytes) -> bool:
        try:
            return decode(value).run == self._run
        except NoReportError:
            return False
