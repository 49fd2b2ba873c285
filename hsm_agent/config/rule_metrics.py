"""Which metrics a rule may name: those of docs/metrics.md, and those that the configuration's own sources declare."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from hsm_agent.metrics import METRICS
from hsm_agent.metrics.custom import is_custom

if TYPE_CHECKING:
    from collections.abc import Iterable


def meant(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?`, or nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def _known_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in METRICS and not is_custom(name):  # those are held against the sources' own, in the tree
            raise ValueError(f"no kind of source produces '{name}'{meant(name, METRICS)}")
    return names


def check_declared(named: Iterable[Iterable[str]], declared: Iterable[str]) -> None:
    """Raises ValueError where a rule names a metric `custom_…` that no source declares; `named` are each rule's."""
    known = sorted(declared)
    for index, names in enumerate(named):
        for name in names:
            if name not in METRICS and name not in known:
                raise ValueError(f"rules.{index}.metric: no source declares '{name}'{meant(name, known)}")


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


MetricNames = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(_one_or_more), AfterValidator(_known_metrics)
]
