"""What is said of a run of a pair: whether every crossing was told, each event often enough, and no alarm wrongly. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.model import EventKind
from tests.peers.receivers import INFORM, RELP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.peers.receivers import Arrival

CHANNELS = (INFORM, RELP)
_LIFE = (EventKind.RAISED, EventKind.CLEARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`problems`: one line each, empty where all is well."""

    problems: tuple[str, ...]
    told: int
    """Crossings."""
    doubled: Mapping[str, int] = field(default_factory=dict)
    """By channel: how often an event was told again in another exchange."""
    again: Mapping[str, int] = field(default_factory=dict)
    """By channel: how often it was sent again within the same exchange."""

    def __str__(self) -> str:
        doubled = ", ".join(f"{count} at {channel}" for channel, count in sorted(self.doubled.items()))
        return f"{self.told} crossings told, doubled: {doubled or 'none'}"


def judge(
    arrivals: Sequence[Arrival],
    *,
    rule: str,
    raised: Mapping[str, int],
    still_open: int = 0,
    judged_twice: Mapping[str, int] | None = None,
) -> Verdict:
    """The verdict on the events of a rule. `raised`: by resource how often it crossed the level upwards.

    `still_open`: of how many resources the last alarm is to be open at the end. `judged_twice`: by resource how often it
    crossed upwards while two agents judged, each for itself: those may be two alarms, and clears may come twice.
    """
    problems: list[str] = []
    doubled, again = Counter[str](), Counter[str]()
    ids: dict[str, set[str]] = {}
    for channel in CHANNELS:
        heard = [each for each in arrivals if each.channel == channel and each.rule == rule]
        firsts = first_of_each(heard)
        ids[channel] = {each.event_id for each in firsts}
        exchanges = len({(each.event_id, each.exchange) for each in heard})
        doubled[channel] = exchanges - len(firsts)
        again[channel] = len(heard) - exchanges
        problems += (f"{channel}: {text}" for text in _lives(firsts, raised, still_open, judged_twice))
    for one, other in ((one, other) for one in CHANNELS for other in CHANNELS if one != other):
        if lacking := ids[one] - ids[other]:
            problems.append(f"{len(lacking)} events told at {one} and not at {other}: {', '.join(sorted(lacking)[:3])}")
    told = sum(2 * count for count in raised.values()) - still_open
    return Verdict(problems=tuple(problems), told=told, doubled=+doubled, again=+again)


def first_of_each(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Without the repetitions that at-least-once allows."""
    found: dict[str, Arrival] = {}
    for each in arrivals:
        found.setdefault(each.event_id, each)
    return list(found.values())


def _lives(
    firsts: Iterable[Arrival], raised: Mapping[str, int], still_open: int, judged_twice: Mapping[str, int] | None
) -> Iterable[str]:
    """What is wrong with the alarms of one channel."""
    by_resource: dict[str, dict[str, list[EventKind]]] = {}
    for each in firsts:
        by_resource.setdefault(each.resource, {}).setdefault(each.alarm_id, []).append(each.kind)
    opened = 0
    for resource in sorted({*raised, *by_resource}):
        alarms = by_resource.get(resource, {})
        wanted = raised.get(resource, 0)
        if not wanted <= len(alarms) <= wanted + (judged_twice or {}).get(resource, 0):
            yield f"{resource} crossed {wanted} times, and {len(alarms)} alarms were told of it"
        for alarm_id, kinds in alarms.items():
            if kinds == [EventKind.RAISED]:
                opened += 1
            elif tuple(kinds if judged_twice is None else dict.fromkeys(kinds)) != _LIFE:
                yield f"alarm {alarm_id} of {resource} was {', '.join(kind.value for kind in kinds)}"
    if opened != still_open:
        yield f"{opened} alarms are open instead of {still_open}"


def repeats(arrivals: Iterable[Arrival], rule: str) -> list[str]:
    """What was told again in another exchange, a line for each second and way."""
    first: dict[tuple[str, str], Arrival] = {}
    exchanges: set[tuple[str, str]] = set()
    found: dict[tuple[str, str, str, str, int], list[float]] = {}
    for each in arrivals:
        if each.rule != rule or (each.event_id, each.exchange) in exchanges:
            continue
        exchanges.add((each.event_id, each.exchange))
        before = first.setdefault((each.channel, each.event_id), each)
        if before is not each:
            held = "" if before.accepted else " held"
            way = (each.channel, before.peer, held, each.peer, int(each.time))
            found.setdefault(way, []).append(each.time - before.time)
    return [
        f"{len(gaps)} at {channel}, told{held} by {one}, again by {other} {min(gaps):.2f} to {max(gaps):.2f} s later,"
        f" at {second % 1000}"
        for (channel, one, held, other, second), gaps in found.items()
    ]


def delays(crossings: Iterable[tuple[float, str, bool]], arrivals: Iterable[Arrival]) -> list[float]:
    """Seconds from each crossing (UTC seconds, resource, whether upwards) to when it was first told anywhere."""
    told: dict[tuple[str, bool], list[float]] = {}
    for each in first_of_each(arrivals):
        if each.kind in _LIFE:
            told.setdefault((each.resource, each.kind is EventKind.RAISED), []).append(each.time)
    found = []
    for time, resource, upwards in crossings:
        later = [each - time for each in told.get((resource, upwards), []) if each >= time]
        found += [min(later)] if later else []
    return found


def longest_and_median(seconds: Sequence[float]) -> str:
    """`p50 1.23 s, longest 2.34 s of 12`."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    return f"p50 {ordered[len(ordered) // 2]:.2f} s, longest {ordered[-1]:.2f} s of {len(ordered)}"
