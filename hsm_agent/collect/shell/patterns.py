"""An operator's own patterns on what a command prints. Pure.

Each pattern is tried on each line; its named groups are metrics, and a group called `resource` says whose they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hsm_agent.collect.custom_metrics import check_metric
from hsm_agent.collect.patterns import compile_pattern
from hsm_agent.collect.shell.text import Fact, Malformed, Parsed, as_number, check_result, lines_of, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

RESOURCE = "resource"
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,9})?")
_LONGEST_LINE = 1000


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern that can be read by. Raises ValueError with what is wrong with it."""
    made = compile_pattern(pattern)
    metrics = [name for name in made.groupindex if name != RESOURCE]
    if not metrics:
        raise ValueError("a pattern needs a named group for each metric: (?P<custom_queue>[0-9]+)")
    for name in metrics:
        check_metric(name)
    return made


def parse(text: str, patterns: Sequence[re.Pattern[str]]) -> Parsed:
    """Readings by pattern. A metric of a pattern that no line fits has no value."""
    lines = lines_of(text)
    check_result(lines)
    found: dict[tuple[str, str], Fact] = {}
    for pattern in patterns:
        fitting = [match for line in lines if (match := pattern.search(line[:_LONGEST_LINE]))]
        metrics = [name for name in pattern.groupindex if name != RESOURCE]
        for match in fitting:
            resource = one_line(match.groupdict().get(RESOURCE) or "", 64)
            for name in metrics:
                _note(found, _fact(match, name, resource))
        for name in metrics if not fitting and RESOURCE not in pattern.groupindex else ():
            reason = f"no line of the output fits {one_line(pattern.pattern)}"
            found.setdefault((name, ""), Fact(metric=name, value=None, reason=reason))
    if all(fact.value is None for fact in found.values()):
        first = next((line for line in lines if line.strip()), "")
        raise Malformed(f"no pattern fits the output; it begins: {one_line(first)}")
    return Parsed(facts=tuple(found.values()))


def _fact(match: re.Match[str], name: str, resource: str) -> Fact:
    said = match[name]
    if said is None or not _NUMBER.fullmatch(said):
        reason = f"no number in the group {name}: {one_line(match.string)}"
        return Fact(metric=name, value=None, resource=resource, reason=reason)
    return Fact(metric=name, value=as_number(said), resource=resource)


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
