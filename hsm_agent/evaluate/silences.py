"""Silences: an operator's word that raises and changes are to be held back for a while. Clears never are."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Iterable


def until_text(until: float) -> str:
    """Until when, in words and in UTC."""
    return f"until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%SZ}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Who holds back what until when, and why. `source`, `resource` and `rule` are globs; times are UTC seconds."""

    silence_id: str
    until: float
    reason: str
    by_uid: int
    created: float
    source: str = "*"
    resource: str = "*"
    rule: str = "*"

    def covers(self, rule: str, source: str, resource: str) -> bool:
        """Whether alarms of that rule at that place are held back."""
        return (
            glob_matches(rule, self.rule)
            and glob_matches(source, self.source)
            and glob_matches(resource, self.resource)
        )

    @property
    def scope(self) -> str:
        """What it covers, in words."""
        return f"rule {self.rule} on {self.source}/{self.resource}"


def matching_nothing(silence: Silence, places: Iterable[tuple[str, str]], rules: Iterable[str]) -> list[str]:
    """A sentence for each of its globs that fits nothing known; `places` are sources and resources that are read."""
    known = list(places)
    sources = sorted({source for source, _ in known})
    resources = sorted({resource for source, resource in known if glob_matches(source, silence.source)})
    return [
        f"no {what} matches '{glob}'{_meant(glob, names) or ','} what comes under that name later is silenced"
        for what, glob, names in (
            ("source", silence.source, sources),
            ("resource", silence.resource, resources or sorted({resource for _, resource in known})),
            ("rule in force", silence.rule, sorted(rules)),
        )
        if not any(glob_matches(name, glob) for name in names) and glob != "*"
    ]


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean '{close[0]}'?" if close else ""
