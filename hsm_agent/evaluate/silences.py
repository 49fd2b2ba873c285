"""Silences: an operator's word that raises and changes are to be held back for a while. Clears never are."""

from __future__ import annotations

from dataclasses import dataclass

from hsm_agent.globs import glob_matches


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
