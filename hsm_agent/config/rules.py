"""Rules as they are written in the configuration, and how they change the default rules.

The conditions are the dataclasses of `evaluate.rules`: their fields are the keys, their defaults the defaults. This
module adds how a key is written (a duration, a glob, a level) and what must hold between keys.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, create_model, model_validator
from pydantic_core import core_schema

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.rules import (
    DAY,
    Above,
    Below,
    Changes,
    Falls,
    Grows,
    Match,
    NotFalling,
    RateChanges,
    Reaches,
    Rule,
    Sooner,
)
from hsm_agent.metrics import METRICS, is_custom
from hsm_agent.model import Severity
from hsm_agent.settings.types import Duration, Glob, Interval, Strict, one_or_more
from hsm_agent.text import duration, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pydantic import GetCoreSchemaHandler

    from hsm_agent.model import Labels

_DEFAULTS = {rule.name: rule for rule in DEFAULT_RULES}


@dataclass(frozen=True, slots=True, eq=False)  # by identity: typing hashes the annotations of a union
class KeysOf:
    """An annotation: a mapping is validated by the fields of a dataclass, and becomes an instance of it.

    `types` are the types of keys that are written otherwise than the field's type says; `checks` raise ValueError.
    """

    kind: type[Any]
    types: Mapping[str, Any]
    checks: tuple[Callable[[Any], None], ...] = ()

    def classes(self) -> tuple[type[BaseModel], ...]:
        """The settings class with these keys."""
        hints = get_type_hints(self.kind)
        keys: dict[str, Any] = {
            field.name: (
                self.types.get(field.name, hints[field.name]),
                ... if field.default is MISSING else field.default,
            )
            for field in fields(self.kind)
        }
        return (create_model(self.kind.__name__, __base__=Strict, **keys),)

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        (model,) = self.classes()
        return core_schema.no_info_after_validator_function(self._build, handler.generate_schema(model))

    def _build(self, settings: BaseModel) -> object:
        built = self.kind(**dict(settings))
        for check in self.checks:
            check(built)
        return built


def _has_level(condition: Any) -> None:
    if condition.warning is None and condition.critical is None:
        raise ValueError("give warning, critical or both")


def _levels_rise(condition: Any) -> None:
    if _are_numbers(condition) and condition.warning > condition.critical:
        raise ValueError("warning is above critical")


def _levels_fall(condition: Any) -> None:
    if _are_numbers(condition) and condition.warning < condition.critical:
        raise ValueError("warning is below critical")


def _are_numbers(condition: Any) -> bool:
    """Whether both levels are given, and none of them as `own`, which only a reading turns into a number."""
    return isinstance(condition.warning, float) and isinstance(condition.critical, float)


def _level(value: object) -> object:
    """A level of a metric in seconds may be written as a duration."""
    if isinstance(value, str) and value != "own":
        return duration(value)
    return value


def _severity(word: str) -> Severity:
    """The enumeration itself is no validator: from Python 3.12 on its signature is one that pydantic refuses."""
    return Severity(word)


def _sorted_labels(labels: dict[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


_AsLevel = Annotated[float | Literal["own"], BeforeValidator(_level)]
_AsSeverity = Annotated[Literal["warning", "minor", "major", "critical"], AfterValidator(_severity)]
_AtLeastZero = Annotated[float, Field(ge=0)]
_LEVELS = {"warning": _AsLevel | None, "critical": _AsLevel | None}
_SECONDS = {"warning": Interval | None, "critical": Interval | None}

_MATCH = KeysOf(
    Match,
    {"source": Glob, "resource": Glob, "labels": Annotated[dict[str, Glob], AfterValidator(_sorted_labels)]},
)
_ABOVE = KeysOf(Above, _LEVELS, (_has_level, _levels_rise))
_BELOW = KeysOf(Below, _LEVELS, (_has_level, _levels_fall))
_SOONER = KeysOf(Sooner, _SECONDS | {"against": Annotated[Duration, Field(ge=DAY, le=28 * DAY)]}, (_has_level,))
_GROWS = KeysOf(
    Grows, _SECONDS | {"at_least": _AtLeastZero, "sooner": Annotated[Sooner, _SOONER] | None}, (_has_level,)
)
_RATE_CHANGES = KeysOf(
    RateChanges,
    {
        "against": Interval,
        "percent": Annotated[float, Field(gt=0)],
        "at_least": _AtLeastZero,
        "severity": _AsSeverity,
    },
)
_REACHES = KeysOf(Reaches, _SECONDS | {"over": Interval}, (_has_level,))
_CHANGES = KeysOf(Changes, {"severity": _AsSeverity})
_NOT_FALLING = KeysOf(NotFalling, _SECONDS, (_has_level,))
_FALLS = KeysOf(Falls, {"severity": _AsSeverity})

_CONDITIONS = ("above", "below", "grows", "rate_changes", "reaches", "changes", "not_falling", "falls")


def _known_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in METRICS and not is_custom(name):  # custom ones are compared with the sources' own, in the tree
            raise ValueError(f"no kind of source produces '{name}'{suggestion(name, METRICS)}")
    return names


MetricNames = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(one_or_more), AfterValidator(_known_metrics)
]


def check_declared(named: Iterable[Iterable[str]], declared: Iterable[str]) -> None:
    """Raises ValueError where a rule names a metric `custom_…` that no source declares; `named` are each rule's."""
    known = sorted(declared)
    for index, names in enumerate(named):
        for name in names:
            if name not in METRICS and name not in known:
                raise ValueError(f"rules.{index}.metric: no source declares '{name}'{suggestion(name, known)}")


class RuleSettings(Strict):
    """A rule of the configuration. One that bears a default rule's name overrides the keys it gives."""

    name: str = Field(min_length=1, max_length=64)
    enabled: bool = True
    metric: MetricNames | None = None
    match: Annotated[Match, _MATCH] = Match()
    above: Annotated[Above, _ABOVE] | None = None
    below: Annotated[Below, _BELOW] | None = None
    grows: Annotated[Grows, _GROWS] | None = None
    rate_changes: Annotated[RateChanges, _RATE_CHANGES] | None = None
    reaches: Annotated[Reaches, _REACHES] | None = None
    changes: Annotated[Changes, _CHANGES] | None = None
    not_falling: Annotated[NotFalling, _NOT_FALLING] | None = None
    falls: Annotated[Falls, _FALLS] | None = None
    hysteresis: float | None = Field(default=None, ge=0)
    for_seconds: Duration = Field(default=0.0, alias="for")
    repeat_seconds: Interval | None = Field(default=None, alias="repeat_every")
    clear_after_seconds: Interval | None = Field(default=None, alias="clear_after")
    inhibited_by: tuple[str, ...] = ("source-down",)
    text: str = ""
    runbook: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = [name for name in _CONDITIONS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"one condition a rule; this one has {' and '.join(given)}")
        if self.name not in _DEFAULTS and not given:
            hint = suggestion(self.name, _DEFAULTS) or f"; a new one needs one of {', '.join(_CONDITIONS)}"
            raise ValueError(f"no default rule is called '{self.name}'{hint}")
        if self.name not in _DEFAULTS and self.metric is None:
            hint = suggestion(self.name, _DEFAULTS) or "; a new one needs a metric"
            raise ValueError(f"no default rule is called '{self.name}'{hint}")
        return self

    def build(self, default: Rule | None) -> Rule:
        """The rule: the keys given here, and those of the default rule for the rest."""
        # A new rule has its own defaults (`inhibited_by`); _is_whole refuses one without metric or condition.
        keys = RuleSettings.model_fields if default is None else self.model_fields_set
        given: dict[str, Any] = {key: getattr(self, key) for key in keys if key not in {"metric", *_CONDITIONS}}
        if self.metric is not None:
            given["metrics"] = self.metric
        for name in _CONDITIONS:
            if getattr(self, name) is not None:
                given["condition"] = getattr(self, name)
        return Rule(**given) if default is None else replace(default, **given)


def _on_its_own(rule: Rule, touched: Collection[str]) -> Rule:
    """The rule without `gives_way` where the configuration changes it, or the rule it gives way to."""
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
    made = {rule.name: rule for rule in built}
    for index, rule in enumerate(configured):
        if rule.clear_after_seconds is not None and not isinstance(made[rule.name].condition, Changes | Falls):
            raise ValueError(
                f"rules.{index}.clear_after: only with `changes` and `falls`; other conditions clear by themselves"
            )
        for other in rule.inhibited_by if "inhibited_by" in rule.model_fields_set else ():
            if other not in made:
                raise ValueError(f"rules.{index}.inhibited_by: there is no rule '{other}'")
    return tuple(_on_its_own(rule, by_name) for rule in built if rule.enabled)
