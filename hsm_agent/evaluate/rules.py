"""Rules: the readings a rule watches, its condition, and when it notifies.

Data only. Conditions are evaluated in `conditions`, events are made in `alarms`; `config` reads rules from the
configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from zlib import crc32

from hsm_agent.metrics import unit
from hsm_agent.model import Labels, Series, Severity
from hsm_agent.text import glob_matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LevelOrOwn = float | Literal["own"]
"""A level in the metric's unit; `own` is the limit that the reading brings along (`Reading.limit`)."""

PERCENT_HYSTERESIS = 5.0
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
WINDOWS = 6
"""How many equal windows `grows` compares."""
STEADY_WINDOWS = 12
"""How many equal windows growth must be steady over to be found by `sooner`."""
PRESENCE = "token_present"
"""The metric that says whether an object (a token) is there; all other readings of the object depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Globs that a reading must satisfy. A label that is named must be there; labels are the merged ones."""

    source: str = "*"
    resource: str = "*"
    labels: Labels = ()

    def covers(self, source: str, resource: str, labels: Labels | None) -> bool:
        """Whether it covers such a reading; labels of None are unknown and not compared."""
        if not (glob_matches(source, self.source) and glob_matches(resource, self.resource)):
            return False
        found = dict(labels or ())
        return labels is None or all(name in found and glob_matches(found[name], glob) for name, glob in self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Above:
    """A level is reached at value >= level; `absolute` compares the value without its sign."""

    warning: LevelOrOwn | None = None
    critical: LevelOrOwn | None = None
    absolute: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Below:
    """A level is reached at value <= level."""

    warning: LevelOrOwn | None = None
    critical: LevelOrOwn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sooner:
    """Steady growth over the severity's number of seconds that is unusual for its time of day: see `growth`.

    It is compared with the days of the last `against` seconds.
    """

    warning: float | None = None
    critical: float | None = None
    against: float = 7 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Grows:
    """The minima of six equal windows, each as long as the severity's number of seconds, rise strictly.

    Between the first and the last they rise by `at_least`. `sooner` finds unusual growth before six windows are over.
    """

    warning: float | None = None
    critical: float | None = None
    at_least: float = 0.0
    sooner: Sooner | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChanges:
    """The rate differs from the rate `against` seconds ago by `percent` of that, and by `at_least` a second.

    A `_total` metric is a counter, its rate is its increase per second; a gauge is compared as it is.
    """

    against: float = HOUR
    percent: float = 50.0
    at_least: float = 0.0
    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaches:
    """The least-squares line through the last `over` seconds reaches `level` within the severity's seconds."""

    level: float
    over: float = 30 * DAY
    warning: float | None = None
    critical: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Value or labels differ from the last ones. Of a counter only an increase counts, not its reset."""

    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFalling:
    """The value is greater than `above` and has not fallen for the severity's seconds."""

    above: float = 0.0
    warning: float | None = None
    critical: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Falls:
    """The value is lower than it was. It ends when the value is back, or with `clear_after`.

    A further fall is notified again.
    """

    severity: Severity = Severity.WARNING


Condition = Above | Below | Grows | RateChanges | Reaches | Changes | NotFalling | Falls


@dataclass(frozen=True, slots=True, kw_only=True)
class GivesWay:
    """On `metric`, a rule gives way while the rule called `rule` evaluates the metric `to` of the same object."""

    metric: str
    rule: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. Times are seconds.

    `for_seconds` is the configuration's `for`: a level must be reached that long without a break before it is raised;
    escalation waits in the same way, de-escalation does not. `hysteresis` None means 5 for percentages, else 0.
    `clear_after_seconds` clears an alarm of `Changes` or `Falls`. Where `escalate` covers the reading, a
    warning is critical.
    `gives_way` belongs to default rules that the configuration does not change; see `step`.
    """

    name: str
    metrics: tuple[str, ...]
    condition: Condition
    match: Match = Match()
    hysteresis: float | None = None
    for_seconds: float = 0.0
    repeat_seconds: float | None = None
    clear_after_seconds: float | None = None
    inhibited_by: tuple[str, ...] = ()
    text: str = ""
    runbook: str = ""
    enabled: bool = True
    gives_way: GivesWay | None = None
    escalate: Match | None = None

    def margin(self, metric: str) -> float:
        """How far a value must retreat from a level, in the metric's unit, before the level is left."""
        if self.hysteresis is not None:
            return self.hysteresis
        return PERCENT_HYSTERESIS if unit(metric) == "percent" else 0.0


def rate_spacing(against: float) -> float:
    """Seconds between the points of a rate: twelve in the time that is looked back."""
    return against / 12


def line_spacing(over: float) -> float:
    """Seconds between the points of a line: an hour, less where the whole line is short."""
    return min(HOUR, over / 120)


def steady_length(span: float) -> float:
    """Length of the windows that steady growth over `span` seconds is seen in."""
    return span / STEADY_WINDOWS


def floor_spacing(sooner: Sooner) -> float:
    """Seconds between the minima that show what is usual: four in the shorter span."""
    return min(span for span in (sooner.warning, sooner.critical) if span is not None) / 4


def phase_of(series: Series) -> float:
    """Where in its interval a series takes its points, 0 to 1: the same wherever it is evaluated."""
    return crc32(repr(series).encode()) / 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPlan:
    """What one series needs: the rules that watch it, and histories that are long enough for all their conditions."""

    rules: tuple[Rule, ...]
    phase: float
    """0 to 1: where in its interval this series takes its points, so that not all series do it at once."""
    windows: dict[float, int] = field(default_factory=dict)
    """Windows whose minima are kept: how many, by their length in seconds."""
    points: dict[float, float] = field(default_factory=dict)
    """Points that are kept: for how many seconds, by their spacing in seconds."""
    floors: dict[float, tuple[float, float]] = field(default_factory=dict)
    """The same of points that are minima, with the length of the windows they are the minima of."""

    def __post_init__(self) -> None:
        for rule in self.rules:
            match rule.condition:
                case Grows(warning=warning, critical=critical, sooner=sooner):
                    self._add_windows((warning, critical), WINDOWS)
                    self._add_sooner(sooner)
                case RateChanges(against=against):
                    # A third more for a late poll, and a third for the interval before it: TOLERANCE of `trends`.
                    self._add_points(rate_spacing(against), against * 5 / 3)
                case Reaches(over=over):
                    # 35 days of hourly points for the usual 30: a longer `over` after a reload finds points.
                    self._add_points(line_spacing(over), over * 7 / 6)
                case _:
                    pass

    def _add_sooner(self, sooner: Sooner | None) -> None:
        if sooner is None:
            return
        spans = [span for span in (sooner.warning, sooner.critical) if span is not None]
        self._add_windows([steady_length(span) for span in spans], STEADY_WINDOWS)
        # The earliest growth that is compared began `span` and NEAR_SECONDS (`growth`) before the oldest day.
        self.floors[floor_spacing(sooner)] = (sooner.against + max(spans) + 2 * HOUR, steady_length(min(spans)))

    def _add_windows(self, lengths: Iterable[float | None], count: int) -> None:
        for length in lengths:
            if length is not None:
                self.windows[length] = max(count, self.windows.get(length, 0))

    def _add_points(self, spacing: float, keep: float) -> None:
        self.points[spacing] = max(keep, self.points.get(spacing, 0.0))


class Ruleset:
    """The enabled rules of one configuration, indexed so that a reading finds its rules in one look-up."""

    def __init__(self, rules: Iterable[Rule], labels: Mapping[str, Labels] | None = None) -> None:
        """`labels` are the configured labels by source, the agent's own included."""
        self.rules = tuple(rule for rule in rules if rule.enabled)
        self.deferred_to = frozenset(rule.gives_way.to for rule in self.rules if rule.gives_way)
        self._labels = dict(labels or {})
        self._named = {rule.name: rule for rule in self.rules}
        self._by_metric: dict[str, tuple[Rule, ...]] = {}
        for rule in self.rules:
            for metric in rule.metrics:
                self._by_metric[metric] = (*self._by_metric.get(metric, ()), rule)
        self._plans: dict[tuple[Series, Labels | None], SeriesPlan] = {}

    def named(self, name: str) -> Rule | None:
        return self._named.get(name)

    def labels_of(self, source: str, labels: Labels) -> Labels:
        """A reading's labels on top of those configured for its source."""
        configured = self._labels.get(source, ())
        return tuple(sorted({**dict(configured), **dict(labels)}.items())) if configured else labels

    def plan(self, series: Series, labels: Labels | None) -> SeriesPlan:
        """The rules and histories of a series; None for labels that are not known (an info metric's content)."""
        known = self._plans.get((series, labels))
        if known is not None:
            return known
        source, resource, metric, _ = series
        # Only the reading's own labels are part of a series; `match` also covers the configured ones.
        merged = None if labels is None else self.labels_of(source, labels)
        rules = tuple(r for r in self._by_metric.get(metric, ()) if r.match.covers(source, resource, merged))
        return self._plans.setdefault((series, labels), SeriesPlan(rules=rules, phase=phase_of(series)))

    def plan_of(self, series: Series) -> SeriesPlan:
        """The plan of a series when there is no reading."""
        return self.plan(series, None if series[2].endswith("_info") else series[3])
