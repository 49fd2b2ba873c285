"""The source `kind: fleet`: agents that publish their status in etcd, each of them a resource.

What one agent wrote cannot take the others along: of a value that is too long none is fetched, and what is no report
is an error that names its agent.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings
from hsm_agent.collect.fleet.parse import METRICS, missing_readings, readings_of
from hsm_agent.collect.fleet.reports import MOST_AGENTS, listed
from hsm_agent.collect.fleet.sightings import Look, Sightings
from hsm_agent.evaluate.messages import counted
from hsm_agent.net.etcd import EtcdClient
from hsm_agent.net.etcd_messages import EtcdTrouble
from hsm_agent.net.etcd_settings import EtcdSettings
from hsm_agent.settings.types import Duration, Glob
from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hsm_agent.collect.fleet.reports import Reports
    from hsm_agent.model import Reading
    from hsm_agent.net.tls import TlsSettings

_WILDCARD = re.compile(r"[*?\[]")
_SHOWN = 5
_MOST_ERRORS = 20
_DAY = 86400.0


class FleetSettings(SourceSettings):
    """Agents that publish."""

    kind: Literal["fleet"]
    etcd: EtcdSettings
    agents: Annotated[tuple[Glob, ...], Field(min_length=1, max_length=1000)] = ("*",)
    """Names; one without a wildcard is expected, and missed when nothing is published under it."""
    silent_after: Annotated[Duration, Field(ge=1.0)] | None = None

    @property
    def expected(self) -> tuple[str, ...]:
        """The names without a wildcard."""
        return tuple(dict.fromkeys(glob for glob in self.agents if not _WILDCARD.search(glob)))

    def wants(self, agent: str) -> bool:
        """Whether an agent of that name belongs to this fleet."""
        return any(glob_matches(agent, glob) for glob in self.agents)

    def build(self, context: CollectorContext) -> Collector:
        del context
        return FleetCollector(self)

    def about(self) -> Iterator[str]:
        expected = len(self.expected)
        shown = f"{', '.join(self.agents[:_SHOWN])}{' …' * (len(self.agents) > _SHOWN)}"
        yield f"agents {shown} by {', '.join(self.etcd.endpoints)}"
        if expected:
            yield f"{counted(expected, 'agents')} expected: missed also if never seen"
        yield from (f"warning: {line}" for line in self.etcd.warnings("etcd"))

    def own_tls(self) -> TlsSettings | None:
        return self.etcd.tls

    def metrics_produced(self) -> Mapping[str, str]:
        """Of each agent the same."""
        return dict.fromkeys(METRICS, "")


class FleetCollector(Collector):
    """Reads the reports, and remembers when each was published."""

    kind = "fleet"

    def __init__(
        self,
        settings: FleetSettings,
        *,
        etcd: Reports | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(settings)
        self._settings = settings
        self._etcd: Reports = etcd or EtcdClient(settings.etcd)
        self._wall = wall
        self._monotonic = monotonic
        self._sightings = Sightings()
        self._revisions: dict[str, int] = {}
        """Of agents that an operator said are gone: what stands under their names is no sign of life."""

    async def poll(self) -> Poll:
        """All reports. Raises SourceFailure."""
        settings = self._settings
        try:
            async with asyncio.timeout(settings.timeout):
                listing = await listed(self._etcd, settings.wants, settings.expected)
        except (EtcdTrouble, TimeoutError) as error:
            self._sightings = self._sightings.failed()
            why = str(error) or f"etcd did not tell all within {settings.timeout:g} s"
            raise SourceFailure(f"nothing is known of the fleet: {why}") from error
        found = {name: each for name, each in listing.found.items() if self._revisions.get(name) != each.revision}
        before, look = self._sightings.agents, Look(monotonic=self._monotonic(), wall=self._wall())
        kept = () if listing.is_whole else tuple(before)[: max(0, MOST_AGENTS - len(found))]
        expected = [name for name in settings.expected if not self._is_dispensable(name)]
        self._sightings = self._sightings.updated(
            found, look, silent_after=settings.silent_after, kept=kept, expected=expected
        )
        agents = self._sightings.agents
        troubles = [f"agent {name}: {each.trouble}" for name, each in agents.items() if each.trouble]
        return Poll(
            readings=tuple(self._readings(look)),
            next_in_seconds=self.every_seconds,
            errors=(*listing.errors, *troubles)[:_MOST_ERRORS],
            calls={"range": listing.requests},
            complete=listing.is_whole,
            gone=tuple(name for name in before if name not in agents and self._is_dispensable(name)),
        )

    def _is_dispensable(self, agent: str) -> bool:
        return agent in self._revisions or agent not in self._settings.expected

    def _readings(self, look: Look) -> Iterator[Reading]:
        agents = self._sightings.agents
        for name, sighting in agents.items():
            yield from readings_of(self.name, name, sighting, look, self._settings.silent_after)
        for name, absence in self._sightings.absent.items():
            yield from missing_readings(self.name, name, look, is_missing=absence.is_missing(look.monotonic))

    async def forget(self, resource: str) -> bool:
        """Take no notice of an agent until it publishes again, or the source starts anew."""
        known = self._sightings.agents.get(resource)
        if known is None or known.is_silent is False:
            return False
        self._revisions[resource] = known.revision
        return True

    def calls_a_day(self) -> Mapping[str, float]:
        """Requests to etcd; each is of a page."""
        return {"range": _DAY / self.every_seconds}

    async def close(self) -> None:
        await self._etcd.close()
