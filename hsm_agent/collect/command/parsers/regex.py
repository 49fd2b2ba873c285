"""An operator's own patterns on what a command prints. Pure.

Each pattern is tried on each line; its named groups are metrics, and a group called `resource` says whose they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers.text import (
    Malformed,
    ParsedOutput,
    as_number,
    check_number,
    check_result,
    instead,
    lines_of,
    name_in,
    one_line,
)
from hsm_agent.collect.series import Fact
from hsm_agent.metrics import reportable_metric
from hsm_agent.settings.regex import Pattern, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESOURCE = "resource"
MOST_PATTERNS = 64
"""Of one command."""
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,9})?")


def compiled(pattern: str) -> Pattern:
    """A pattern that can be read by. Raises ValueError with what is wrong with it."""
    made = compile_pattern(pattern)
    if not _metrics(made):
        raise ValueError("a pattern needs a named group for each metric: (?P<custom_queue>[0-9]+)")
    for name in _metrics(made):
        reportable_metric(name)
    return made


def parse(text: str, patterns: Sequence[Pattern], is_late: Callable[[], bool] = lambda: False) -> ParsedOutput:
    """Readings by pattern. A metric of a pattern that no line fits has no value.

    Raises Malformed where no pattern fits at all, the command failed, or `is_late` says that time is up.
    """
    lines = lines_of(text)
    check_result(lines)
    found: dict[tuple[str, str], Fact] = {}
    for pattern in patterns:
        fits = False
        for number, line in enumerate(lines):
            if is_late():
                raise Malformed(f"no time is left at line {number + 1} of {len(lines)} for {one_line(pattern.text)}")
            groups = pattern.groups(line)
            if groups is not None:
                fits = True
                check_number(len(found))
                _take(found, pattern, groups, line)
        for name in _metrics(pattern) if not fits and RESOURCE not in pattern.names else ():
            reason = f"no line of the output fits {one_line(pattern.text)}"
            found.setdefault((name, ""), Fact(metric=name, value=None, reason=reason))
    if all(fact.value is None for fact in found.values()):
        raise Malformed(f"no pattern fits the output; {instead(lines)}")
    return ParsedOutput(facts=tuple(found.values()))


def _metrics(pattern: Pattern) -> list[str]:
    return [name for name in pattern.names if name != RESOURCE]


def _take(found: dict[tuple[str, str], Fact], pattern: Pattern, groups: Mapping[str, str | None], line: str) -> None:
    resource = name_in(groups.get(RESOURCE) or "")
    for name in _metrics(pattern):
        _note(found, _fact(groups[name], name, resource, line))


def _fact(text: str | None, name: str, resource: str, line: str) -> Fact:
    if text is None or not _NUMBER.fullmatch(text):
        reason = f"no number in the group {name}: {one_line(line)}"
        return Fact(metric=name, value=None, resource=resource, reason=reason)
    return Fact(metric=name, value=as_number(text), resource=resource)


def _note(found: dict[tuple[str, str], Fact], fact: Fact) -> None:
    """One value a metric: two lines that differ leave none."""
    place = (fact.metric, fact.resource)
    before = found.get(place)
    if before is not None and before.value is not None and before.value != fact.value:
        fact = Fact(
            metric=fact.metric, value=None, resource=fact.resource, reason="several lines fit and do not say the same"
        )
    elif before is not None and before.value is None and before.reason and fact.value is not None:
        # A line that fits without a number is no answer; one with a number is, unless lines already differ.
        fact = before if before.reason.startswith("several") else fact
    found[place] = fact
