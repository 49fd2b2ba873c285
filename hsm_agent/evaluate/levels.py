"""Levels: which severity a value has reached, and whether it has held long enough to count.

Pure functions of numbers; the time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsm_agent.model import Severity


def judge(
    value: float, *, warning: float | None, critical: float | None, hysteresis: float, current: Severity
) -> Severity:
    """Severity of a value against rising levels.

    A level is reached at value >= level. One that `current` has reached already is left at value < level - hysteresis.

    >>> judge(75, warning=75, critical=90, hysteresis=5, current=Severity.CLEARED)
    <Severity.WARNING: 'warning'>
    >>> judge(70, warning=75, critical=90, hysteresis=5, current=Severity.WARNING)
    <Severity.WARNING: 'warning'>
    """
    for severity, level in ((Severity.CRITICAL, critical), (Severity.WARNING, warning)):
        if level is None:
            continue
        margin = hysteresis if current.rank >= severity.rank else 0.0
        if value >= level - margin:
            return severity
    return Severity.CLEARED


def judge_below(
    value: float, *, warning: float | None, critical: float | None, hysteresis: float, current: Severity
) -> Severity:
    """Severity of a value against falling levels: reached at value <= level, left at value > level + hysteresis."""
    return judge(
        -value,
        warning=None if warning is None else -warning,
        critical=None if critical is None else -critical,
        hysteresis=hysteresis,
        current=current,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Since when each level has been reached without a break, while it still has to prove itself.

    `warning` is the clock of whatever is below critical.
    """

    warning: float | None = None
    critical: float | None = None


AT_REST = Waiting()


def settle(
    current: Severity, judged: Severity, waiting: Waiting, *, hold: float, time: float
) -> tuple[Severity, Waiting]:
    """The severity that counts, and what goes on waiting.

    A rise counts once it has lasted `hold` seconds, each level by its own clock; a fall counts at once.
    """
    if judged.rank <= current.rank:
        return judged, AT_REST
    if hold <= 0:
        return judged, AT_REST
    settled = current
    clocks: dict[Severity, float | None] = {}
    below_critical = Severity.WARNING if judged is Severity.CRITICAL else judged
    for severity, since in ((below_critical, waiting.warning), (Severity.CRITICAL, waiting.critical)):
        clocks[severity] = None
        if not current.rank < severity.rank <= judged.rank:
            continue
        # A clock in the future comes from a wall clock that was set back: it starts again.
        began = time if since is None or since > time else since
        if time - began >= hold:
            settled = severity
        else:
            clocks[severity] = began
    return settled, Waiting(warning=clocks[below_critical], critical=clocks[Severity.CRITICAL])
