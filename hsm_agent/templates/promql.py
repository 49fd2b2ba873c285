"""The conditions of the agent's rules as PromQL: what each says of series that Prometheus has scraped.

An expression is true for the values that its condition is true for; its value is the one that a message shows.
Hysteresis looks at the alert's own series, ALERTS. `Grows`, `RateChanges` and `Reaches` come near, no more: Prometheus
looks back from any moment, the agent along fixed windows, and `sooner` has no counterpart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.evaluate.messages import duration_text
from hsm_agent.evaluate.rules import (
    HOUR,
    WINDOWS,
    Above,
    Below,
    Changes,
    Falls,
    Grows,
    NotFalling,
    RateChanges,
    Reaches,
    rate_spacing,
)
from hsm_agent.evaluate.step import AGREEMENT_PERCENT
from hsm_agent.evaluate.trends import MINIMUM_SHARE
from hsm_agent.model import Severity, number_text
from hsm_agent.serve.http.exposition import exposed_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hsm_agent.evaluate.rules import LevelOrOwn, Rule

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
OBJECT = "job, instance, source, resource"
"""The labels that all series of one token, HSM or sink have in common."""
LINE_SPACING = 4 * HOUR
"""Seconds between the points of a forecast's line. An hour, as in the agent, takes Prometheus four times as long."""
CHANGING = {"hsm_firmware_info": "version", "hsm_policies_info": "digest", "token_policies_info": "digest"}
"""The label of an info metric that says what a rule of `changes` waits for."""


def duration(seconds: float) -> str:
    """A duration as PromQL writes it: `2h`, `30d`, `1d12h`.

    >>> duration(129600)
    '1d12h'
    """
    return duration_text(seconds).replace(" ", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """What is asked of one metric at one severity, and for how long. `note` is what a message adds to the value."""

    rule: Rule
    metric: str
    severity: Severity
    text: str
    note: str
    for_seconds: float


def expressions(rule: Rule) -> Iterator[Expression]:
    """Those of a rule: for each of its metrics, one for each severity that the rule can reach there."""
    for metric in rule.metrics:
        for severity in (WARNING, CRITICAL):
            found = _Translation(rule, metric, severity).expression()
            if found is not None:
                yield found


class _Translation:
    """One rule on one metric at one severity."""

    def __init__(self, rule: Rule, metric: str, severity: Severity) -> None:
        self._rule = rule
        self._metric = metric
        self._severity = severity
        self._series = exposed_name(metric) + self._selector()

    def _selector(self) -> str:
        match = self._rule.match
        labels = [("source", match.source), ("resource", match.resource), *match.labels]
        if any(glob != "*" and set(glob) & set("*?[") for _, glob in labels):
            raise ValueError(f"rule {self._rule.name}: such a glob has no counterpart in PromQL")
        matchers = [f'{name}="{glob}"' for name, glob in labels if glob != "*"]
        if self._rule.escalate is not None:
            ((name, value),) = self._rule.escalate.labels
            matchers.append(f'{name}{"=" if self._severity is CRITICAL else "!="}"{value}"')
        return f"{{{','.join(matchers)}}}" if matchers else ""

    def _pick(self, warning: LevelOrOwn | None, critical: LevelOrOwn | None) -> LevelOrOwn | None:
        """The level of this severity; a warning's where `escalate` makes it critical."""
        return critical if self._severity is CRITICAL and self._rule.escalate is None else warning

    def _seconds(self, warning: float | None, critical: float | None) -> float | None:
        return critical if self._severity is CRITICAL else warning

    def expression(self) -> Expression | None:
        """None where the rule does not reach this severity."""
        match self._rule.condition:
            case Above(warning=warning, critical=critical) | Below(warning=warning, critical=critical):
                level = self._pick(warning, critical)
                return None if level is None else self._verdict() if level == "own" else self._level(level)
            case Reaches(warning=warning, critical=critical) as condition:
                ahead = self._seconds(warning, critical)
                return None if ahead is None else self._reaches(condition, ahead)
            case Grows(warning=warning, critical=critical) as condition:
                length = self._seconds(warning, critical)
                return None if length is None else self._grows(condition, length)
            case NotFalling(warning=warning, critical=critical) as condition:
                lasting = self._seconds(warning, critical)
                return None if lasting is None else self._not_falling(condition, lasting)
            case RateChanges(severity=own) as condition:
                return self._rate_changes(condition) if own is self._severity else None
            case Changes(severity=own) | Falls(severity=own):  # pragma: no branch - the last kinds there are
                escalated = self._rule.escalate is not None
                return self._event() if own is self._severity or escalated else None

    def _made(self, text: str, note: str = "", *, for_seconds: float | None = None) -> Expression:
        lasting = self._rule.for_seconds if for_seconds is None else for_seconds
        return Expression(
            rule=self._rule, metric=self._metric, severity=self._severity, text=text, note=note, for_seconds=lasting
        )

    def _verdict(self) -> Expression:
        """For a level that the reading brings along, which is no metric: the reading, where the agent says so.

        The agent has waited for the rule's `for` already.
        """
        at_least = Severity.CRITICAL.value if self._severity is CRITICAL else f"{WARNING.value}|{CRITICAL.value}"
        labels = f'metric="{self._metric}",rule="{self._rule.name}",severity=~"{at_least}"'
        text = f"{self._series}\nand ignoring (metric, rule, severity) hsm_alarm_active{{{labels}}}"
        return self._made(text, for_seconds=0.0)

    def _level(self, level: float) -> Expression:
        condition = self._rule.condition
        above = isinstance(condition, Above)
        value = f"abs({self._series})" if isinstance(condition, Above) and condition.absolute else self._series
        comparison = ">=" if above else "<="
        return self._made(self._with_margin(f"{value} {comparison}", level, -1 if above else 1))

    def _with_margin(self, compared: str, level: float, sign: int) -> str:
        """Reached at the level; while it fires also as long as it is not left by the margin."""
        reached = self._unless_another_speaks(f"{compared} {number_text(level)}")
        margin = self._rule.margin(self._metric)
        if not margin:
            return reached
        return f"{reached}\nor {compared} {number_text(level + sign * margin)}\n  and {self._firing()}"

    def _firing(self) -> str:
        labels = f'alertname="{self._rule.name}",alertstate="firing"'
        labels += f',metric="{self._metric}",severity="{self._severity.value}"'
        return f"ignoring (alertname, alertstate, metric, severity) ALERTS{{{labels}}}"

    def _unless_another_speaks(self, reached: str) -> str:
        way = self._rule.gives_way
        if way is None or way.metric != self._metric:
            return reached
        near = f"{exposed_name(way.to)} >= on ({OBJECT}) {self._series} - {number_text(AGREEMENT_PERCENT)}"
        return f"({reached} unless on ({OBJECT}) {near})"

    def _reaches(self, condition: Reaches, ahead: float) -> Expression:
        """The least-squares line through a point each four hours, once a quarter of the time is there."""
        history = f"{self._series}[{duration(condition.over)}:{duration(LINE_SPACING)}]"
        reached = self._with_margin(f"predict_linear({history}, {number_text(ahead)}) >=", condition.level, -1)
        points = number_text(condition.over * MINIMUM_SHARE / LINE_SPACING)
        text = f"{self._series}\nand count_over_time({history}) >= {points}\nand ({reached})"
        return self._made(text, f"within {duration_text(ahead)}")

    def _grows(self, condition: Grows, length: float) -> Expression:
        """The minima of six windows, the newest first: each greater than the one before it."""
        window = f"min_over_time({self._series}[{duration(length)}]"
        minima = [f"{window} offset {duration(ago * length)})" if ago else f"{window})" for ago in range(WINDOWS)]
        rising = " > (".join(minima) + ")" * (WINDOWS - 1)
        enough = f"{minima[0]} - {minima[-1]} >= {number_text(condition.at_least)}"
        text = f"{self._series}\nand ({rising.replace(' > (', chr(10) + '  > (')})\nand {enough}"
        return self._made(text, f"over {duration_text(WINDOWS * length)}")

    def _not_falling(self, condition: NotFalling, lasting: float) -> Expression:
        """`resets` counts falls, of a gauge as well."""
        within, above = f"{self._series}[{duration(lasting)}]", number_text(condition.above)
        text = f"{self._series} > {above}\nand min_over_time({within}) > {above}\nand resets({within}) == 0"
        return self._made(
            f"{text}\nand {self._series} offset {duration(lasting)} > {above}", f"for {duration_text(lasting)}"
        )

    def _rate_changes(self, condition: RateChanges) -> Expression:
        ago = f"offset {duration(condition.against)}"
        within = duration(rate_spacing(condition.against))
        counter = self._metric.endswith("_total")
        now = f"rate({self._series}[{within}])" if counter else self._series
        then = f"rate({self._series}[{within}] {ago})" if counter else f"{self._series} {ago}"
        share = number_text(condition.percent / 100)
        text = f"{now}\nand abs({now} - {then}) >= {share} * abs({then})"
        note = f"{number_text(condition.percent)} % or more off {duration_text(condition.against)} ago"
        return self._made(f"{text}\nand abs({now} - {then}) >= {number_text(condition.at_least)}", note)

    def _event(self) -> Expression:
        """A change or a fall, for as long as the agent keeps it raised."""
        lasting = self._rule.clear_after_seconds
        assert lasting is not None
        within = duration(lasting)
        if isinstance(self._rule.condition, Falls):
            return self._made(f"{self._series} < max_over_time({self._series}[{within}])", "{{ $value }}")
        if self._metric.endswith("_total"):
            note = f'{{{{ printf "%.0f" $value }}}} more within {duration_text(lasting)}'
            return self._made(f"increase({self._series}[{within}]) > 0", note)
        label = CHANGING[self._metric]
        text = f"count without ({label}) (last_over_time({self._series}[{within}])) > 1"
        return self._made(text, f"{{{{ $value }}}} different ones within {duration_text(lasting)}")
