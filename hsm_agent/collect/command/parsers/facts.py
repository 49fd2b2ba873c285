"""Fields of an output turned into facts, one by one: what does not fit is a fact without a value. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hsm_agent.collect.command.parsers.text import Fields, Malformed, instead, one_line
from hsm_agent.collect.series import Fact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


_ATTEMPTS = re.compile(r"([0-9]{1,4})(?:\s+before\b.*)?", re.IGNORECASE)
_NONE_LEFT = re.compile(r"none\b.*", re.IGNORECASE)
_ROLES = {"hsm admin": "so", "hsm so": "so", "partition so": "so", "owner": "partition_owner"}


class Sheet:
    """The facts of one output, or of one part of it that has a name."""

    def __init__(self, fields: Fields, resource: str = "") -> None:
        self.fields = fields
        self.facts: list[Fact] = []
        self._resource = resource

    def add(
        self,
        metric: str,
        value: float | None,
        reason: str = "",
        *,
        labels: Iterable[tuple[str, str]] = (),
        resource: str | None = None,
        limit: float | None = None,
    ) -> None:
        """Write down one fact."""
        self.facts.append(
            Fact(
                metric=metric,
                value=value,
                resource=self._resource if resource is None else resource,
                reason=reason,
                labels=tuple(sorted(labels)),
                limit=limit,
            )
        )

    def number(self, names: Sequence[str], convert: Callable[[str, str], float | int]) -> float | int | None:
        """The field of one of these names as a number; None where it is not there. Raises Malformed."""
        for name in names:
            found = self.fields.find(name)
            if found is not None:
                return convert(*found)
        return None

    def take(
        self,
        metric: str,
        names: Sequence[str],
        convert: Callable[[str, str], float | int],
        *,
        optional: bool = False,
        labels: Iterable[tuple[str, str]] = (),
        resource: str | None = None,
    ) -> float | int | None:
        """The fact of a field, and its value. One that is not optional is missed where it is not there."""
        reason = missing(names[0])
        try:
            value = self.number(names, convert)
        except Malformed as error:
            value, reason, optional = None, str(error), False
        if value is not None or not optional:
            self.add(metric, value, "" if value is not None else reason, labels=labels, resource=resource)
        return value

    def identity(self, metric: str, names: dict[str, tuple[str, ...]]) -> None:
        """An `..._info` fact of the fields that say anything."""
        found = {label: self.first(*keys) for label, keys in names.items()}
        labels = [(label, text) for label, text in found.items() if text]
        if labels:
            self.add(metric, 1, labels=labels)

    def first(self, *names: str) -> str:
        """Text of the first of these fields that says anything."""
        return next((text for name in names if (text := self.fields.text(name))), "")

    @property
    def empty(self) -> bool:
        """Whether nothing was read."""
        return all(fact.value is None for fact in self.facts)


def missing(name: str) -> str:
    """The reason where a line is not there."""
    return f"the output has no line '{name}'"


def attempts_left(value: str, line: str) -> int:
    """`10 before … is locked out`, or `None - …`. Raises Malformed."""
    if _NONE_LEFT.fullmatch(value):
        return 0
    found = _ATTEMPTS.fullmatch(value)
    if found is None:
        raise Malformed(f"no number of login attempts: {one_line(line)}")
    return int(found[1])


def role(name: str) -> str:
    """The value of the label `role` for a role as the shell writes it."""
    return _ROLES.get(name, re.sub(r"[^a-z0-9]+", "_", name))


def fill(sheet: Sheet, prefix: str, total: float | None, used: float | None, free: float | None, reason: str) -> None:
    """Storage as `<prefix>_{total,used,free}_bytes` and `<prefix>_used_percent`; figures that contradict are none."""
    if total is not None and used is not None and free is not None and used + free > total:
        reason = f"{used:.0f} bytes used and {free:.0f} free of {total:.0f} cannot be"
        total = used = free = None
    for name, value in (("total", total), ("used", used), ("free", free)):
        sheet.add(f"{prefix}_{name}_bytes", value, "" if value is not None else reason)
    percent = None if total is None or used is None or free is None or not total else 100 * used / total
    sheet.add(f"{prefix}_used_percent", percent, "" if percent is not None else reason or "the size is 0")


def unlike(what: str, lines: Sequence[str]) -> Malformed:
    """The failure of an output that holds nothing of what is looked for."""
    return Malformed(f"this is not what {what} prints: {instead(lines)}")
