"""A judge to talk to in tests: it keeps the alarm state, numbers the events, and can be restarted before each step."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from hsm_agent.evaluate.alarms import Context
from hsm_agent.evaluate.rules import Rule, Ruleset
from hsm_agent.evaluate.state import AlarmState
from hsm_agent.evaluate.step import step
from hsm_agent.model import Event, Labels, Reading

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hsm_agent.evaluate.transaction import StepResult

START = 236111 * 7200.0
"""A time of day at which windows of 30 minutes and of two hours begin."""
MEMORY = "token_memory_private_used_percent"


class Judge:
    """Times are seconds since START."""

    def __init__(
        self,
        *rules: Rule,
        labels: Mapping[str, Labels] | None = None,
        restarting: bool = False,
        up: Collection[str] = ("luna",),
    ) -> None:
        self.rules = Ruleset(rules, labels)
        self.alarm_state = AlarmState()
        self.rows: dict[str, str] = {}
        self.up = up
        self._restarting = restarting
        self._ids = count(1)

    def context(self, at: float) -> Context:
        return Context(rules=self.rules, now=START + at, new_id=self.new_id, agent="monitor", up=self.up)

    def new_id(self) -> str:
        return f"id-{next(self._ids)}"

    def restart(self) -> None:
        self.alarm_state, unreadable = AlarmState.load(self.rows)
        assert unreadable == ()

    def keep(self, result: StepResult) -> list[Event]:
        """Take a result in, as the pipeline does: rows first, then the state."""
        for key, text in result.rows.items():
            if text is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = text
        result.apply_to(self.alarm_state)
        return list(result.events)

    def step(self, at: float, *readings: Reading) -> list[Event]:
        if self._restarting:
            self.restart()
        return self.keep(step(self.alarm_state, readings, self.context(at)))

    def read(
        self,
        at: float,
        value: float | None,
        metric: str = MEMORY,
        *,
        source: str = "luna",
        resource: str = "keys",
        labels: Labels = (),
        limit: float | None = None,
        reason: str = "",
    ) -> list[Event]:
        return self.step(
            at, reading(at, value, metric, source=source, resource=resource, labels=labels, limit=limit, reason=reason)
        )


def reading(
    at: float,
    value: float | None,
    metric: str = MEMORY,
    *,
    source: str = "luna",
    resource: str = "keys",
    labels: Labels = (),
    limit: float | None = None,
    reason: str = "",
) -> Reading:
    return Reading(
        source=source,
        resource=resource,
        metric=metric,
        value=value,
        time=START + at,
        labels=labels,
        limit=limit,
        reason=reason,
    )


def told(events: list[Event]) -> list[tuple[str, str]]:
    """Kind and severity of events, as a short word each."""
    return [(event.kind.name, event.severity.value) for event in events]
