"""Rules as an operator writes them, and how they meet the default rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hsm_agent.config.rule_metrics import MetricNames, meant
from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.rules import (
    Above,
    Below,
    Changes,
    Condition,
    Falls,
    Grows,
    Match,
    NotFalling,
    RateChanges,
    Reaches,
    Rule,
    Sooner,
)
from hsm_agent.model import Severity
from hsm_agent.settings.quantities import duration
from hsm_agent.settings.types import Duration, Glob, Interval, Strict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Raised = Literal["warning", "minor", "major", "critical"]
_DEFAULTS = {rule.name: rule for rule in DEFAULT_RULES}


def _level(value: object) -> object:
    """A level of a metric in seconds may be written as a duration."""
    if isinstance(value, str) and value != "own":
        return duration(value)
    return value


Level = Annotated[float | Literal["own"], BeforeValidator(_level)]


class _AtLeastOne(Strict):
    """Either level may be left out, not both."""

    @model_validator(mode="after")
    def _not_both_absent(self) -> Self:
        if getattr(self, "warning", None) is None and getattr(self, "critical", None) is None:
            raise ValueError("give warning, critical or both")
        return self


class MatchSettings(Strict):
    """Globs on what a rule watches."""

    source: Glob = "*"
    resource: Glob = "*"
    labels: dict[str, Glob] = Field(default_factory=dict)

    def build(self) -> Match:
        """The rule's own form."""
        return Match(source=self.source, resource=self.resource, labels=tuple(sorted(self.labels.items())))


class AboveSettings(_AtLeastOne):
    """`above:`, reached at >=."""

    warning: Level | None = None
    critical: Level | None = None
    absolute: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if isinstance(self.warning, float) and isinstance(self.critical, float) and self.warning > self.critical:
            raise ValueError("warning is above critical")
        return self

    def build(self) -> Above:
        """The rule's own form."""
        return Above(warning=self.warning, critical=self.critical, absolute=self.absolute)


class BelowSettings(_AtLeastOne):
    """`below:`, reached at <=."""

    warning: Level | None = None
    critical: Level | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if isinstance(self.warning, float) and isinstance(self.critical, float) and self.warning < self.critical:
            raise ValueError("warning is below critical")
        return self

    def build(self) -> Below:
        """The rule's own form."""
        return Below(warning=self.warning, critical=self.critical)


class SoonerSettings(_AtLeastOne):
    """`grows.sooner:`."""

    warning: Interval | None = None
    critical: Interval | None = None
    against: Annotated[Duration, Field(ge=86400, le=28 * 86400)] = 7 * 86400.0

    def build(self) -> Sooner:
        """The condition's own form."""
        return Sooner(warning=self.warning, critical=self.critical, against=self.against)


class GrowsSettings(_AtLeastOne):
    """`grows:`."""

    warning: Interval | None = None
    critical: Interval | None = None
    at_least: float = Field(default=0.0, ge=0)
    sooner: SoonerSettings | None = None

    def build(self) -> Grows:
        """The rule's own form."""
        sooner = self.sooner.build() if self.sooner is not None else None
        return Grows(warning=self.warning, critical=self.critical, at_least=self.at_least, sooner=sooner)


class RateChangesSettings(Strict):
    """`rate_changes:`."""

    against: Interval = 3600.0
    percent: float = Field(default=50.0, gt=0)
    at_least: float = Field(default=0.0, ge=0)
    severity: Raised = "warning"

    def build(self) -> RateChanges:
        """The rule's own form."""
        severity = Severity(self.severity)
        return RateChanges(against=self.against, percent=self.percent, at_least=self.at_least, severity=severity)


class ReachesSettings(_AtLeastOne):
    """`reaches:`."""

    level: float
    over: Interval = 30 * 86400.0
    warning: Interval | None = None
    critical: Interval | None = None

    def build(self) -> Reaches:
        """The rule's own form."""
        return Reaches(level=self.level, over=self.over, warning=self.warning, critical=self.critical)


class ChangesSettings(Strict):
    """`changes:`."""

    severity: Raised = "warning"

    def build(self) -> Changes:
        """The rule's own form."""
        return Changes(severity=Severity(self.severity))


class NotFallingSettings(_AtLeastOne):
    """`not_falling:`."""

    above: float = 0.0
    warning: Interval | None = None
    critical: Interval | None = None

    def build(self) -> NotFalling:
        """The rule's own form."""
        return NotFalling(above=self.above, warning=self.warning, critical=self.critical)


class FallsSettings(Strict):
    """`falls:`."""

    severity: Raised = "warning"

    def build(self) -> Falls:
        """The rule's own form."""
        return Falls(severity=Severity(self.severity))


_CONDITIONS = ("above", "below", "grows", "rate_changes", "reaches", "changes", "not_falling", "falls")


class RuleSettings(Strict):
    """A rule of the configuration. One that bears a default rule's name overrides the keys it gives."""

    name: str = Field(min_length=1, max_length=64)
    enabled: bool = True
    metric: MetricNames | None = None
    match: MatchSettings = MatchSettings()
    above: AboveSettings | None = None
    below: BelowSettings | None = None
    grows: GrowsSettings | None = None
    rate_changes: RateChangesSettings | None = None
    reaches: ReachesSettings | None = None
    changes: ChangesSettings | None = None
    not_falling: NotFallingSettings | None = None
    falls: FallsSettings | None = None
    hysteresis: float | None = Field(default=None, ge=0)
    for_seconds: Duration = Field(default=0.0, alias="for")
    repeat_every: Interval | None = None
    clear_after: Interval | None = None
    inhibited_by: tuple[str, ...] = ("source-down",)
    text: str = ""
    runbook: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = [name for name in _CONDITIONS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"one condition a rule; this one has {' and '.join(given)}")
        if self.name not in _DEFAULTS and not given:
            hint = meant(self.name, _DEFAULTS) or f"; a new one needs one of {', '.join(_CONDITIONS)}"
            raise ValueError(f"no default rule is called '{self.name}'{hint}")
        if self.name not in _DEFAULTS and self.metric is None:
            hint = meant(self.name, _DEFAULTS) or "; a new one needs a metric"
            raise ValueError(f"no default rule is called '{self.name}'{hint}")
        return self

    def _condition(self) -> Condition | None:
        for name in _CONDITIONS:
            settings = getattr(self, name)
            if settings is not None:
                built: Condition = settings.build()
                return built
        return None

    def build(self, default: Rule | None) -> Rule:
        """The rule itself: what is given here, and the default's for the rest."""
        condition = self._condition()
        given: dict[str, Any] = {
            "enabled": self.enabled,
            "match": self.match.build(),
            "hysteresis": self.hysteresis,
            "for_seconds": self.for_seconds,
            "repeat_every": self.repeat_every,
            "clear_after": self.clear_after,
            "inhibited_by": tuple(self.inhibited_by),
            "text": self.text,
            "runbook": self.runbook,
        }
        if default is None:
            assert condition is not None  # _is_whole saw to both
            assert self.metric is not None
            return Rule(name=self.name, metrics=self.metric, condition=condition, **given)
        changed = {key: value for key, value in given.items() if key in self.model_fields_set}
        if self.metric is not None:
            changed["metrics"] = self.metric
        if condition is not None:
            changed["condition"] = condition
        return replace(default, **changed)


def _on_its_own(rule: Rule, touched: Collection[str]) -> Rule:
    """The rule without its precedence where the configuration says anything of it, or of the one it gives way to."""
    way = rule.gives_way
    return replace(rule, gives_way=None) if way and (rule.name in touched or way.rule in touched) else rule


def effective_rules(rules: Iterable[RuleSettings], *, default_rules: bool) -> tuple[Rule, ...]:
    """The default rules with their overrides, then the configured ones; the disabled left out.

    Raises ValueError where a rule is inhibited by one that does not exist.
    """
    configured = list(rules)
    by_name = {rule.name: rule for rule in configured}
    built = []
    for default in DEFAULT_RULES if default_rules else ():
        override = by_name.get(default.name)
        built.append(override.build(default) if override else default)
    taken = {rule.name for rule in built}
    built += [rule.build(_DEFAULTS.get(rule.name)) for rule in configured if rule.name not in taken]
    names = {rule.name for rule in built}
    made = {rule.name: rule for rule in built}
    for index, rule in enumerate(configured):
        if rule.clear_after is not None and not isinstance(made[rule.name].condition, Changes | Falls):
            raise ValueError(
                f"rules.{index}.clear_after: only with `changes` and `falls`; other conditions clear by themselves"
            )
        for other in rule.inhibited_by if "inhibited_by" in rule.model_fields_set else ():
            if other not in names:
                raise ValueError(f"rules.{index}.inhibited_by: there is no rule '{other}'")
    return tuple(_on_its_own(rule, by_name) for rule in built if rule.enabled)
