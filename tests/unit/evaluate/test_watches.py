"""What a watch shows."""

from __future__ import annotations

from hsm_agent.evaluate.watches import RESTING, Watch
from hsm_agent.model import Severity


def test_unknown_lies_over_the_level_and_keeps_it() -> None:
    watch = Watch(level=Severity.CRITICAL, unknown=True)

    assert watch.shown is Severity.INDETERMINATE
    assert watch.level is Severity.CRITICAL
    assert RESTING.shown is Severity.CLEARED
