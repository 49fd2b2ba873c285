"""The present as an operator reads it: the worst on top, what to do first beside each alarm, and no more than fits.

Made of the status document, for the status page and for `hsm-agent status --watch` alike. Nothing is judged here: a
bar has the colour of the alarm that is raised on it, not of a threshold of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.evaluate.defaults.first_steps import advice
from hsm_agent.evaluate.hsms import is_of_hsm
from hsm_agent.evaluate.messages import ago_text, amount, counted, duration_text
from hsm_agent.model import AGENT_SOURCE, Severity, number_text
from hsm_agent.serve.group import MemberEntry, group_line, group_troubles, member_entry
from hsm_agent.text import natural_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hsm_agent.text import NaturalOrder

_RANKS = {severity.value: severity.rank for severity in Severity}
_WELL = Severity.CLEARED.value
_UNKNOWN = Severity.INDETERMINATE.value
_STATES = {"down": 3, "degraded": 2, "refused": 3, "retrying": 2, "unknown": 1}
_TOKEN_STATES = {"failed": 4, "absent": 3, "unknown": 2}
_BARS = (
    ("memory", "memory_used_percent", "token_memory_private_"),
    ("storage", "storage_used_percent", "token_storage_"),
    ("sessions", "sessions_used_percent", "token_sessions"),
    ("audit store", "audit_used_percent", "audit_"),
)
"""Of each bar its name, the token's member, and how the metrics of its alarms begin."""
_FULL = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmEntry:
    """One raised alarm.

    `measured` is as it was told, not as it is now; `last_error` is that of a source that is down, in its alarm;
    `runbook` is what the rule names, a page or a word.
    """

    severity: str
    rule: str
    place: str
    what: str
    first: str
    measured: str
    last_error: str
    since: float
    lasts: str
    runbook: str
    alarm_id: str
    silenced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One bar. `percent` is None where the share is not known; `text` is what to say instead of it or beside it."""

    name: str
    percent: float | None
    text: str
    severity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEntry:
    """One token, or an audit store of none, and the worst alarm on it."""

    source: str
    resource: str
    name: str
    about: str
    state: str
    pins: str
    severity: str
    fills: tuple[Fill, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """One source."""

    name: str
    kind: str
    state: str
    read: str
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkEntry:
    """One sink and what waits for it."""

    name: str
    kind: str
    state: str
    waits: str
    told: str
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceEntry:
    """One silence."""

    scope: str
    until: float
    left: str
    reason: str
    silence_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of it, each list worst first. `severity` is the worst of the alarms that no silence holds back."""

    agent: str
    version: str
    now: float
    up_for: str
    polls: int
    severity: str
    verdict: str
    remarks: tuple[str, ...]
    alarms: tuple[AlarmEntry, ...]
    sources: tuple[SourceEntry, ...]
    tokens: tuple[TokenEntry, ...]
    sinks: tuple[SinkEntry, ...]
    silences: tuple[SilenceEntry, ...]
    spool: str
    group: str
    """Empty where the agent is in none."""
    members: tuple[MemberEntry, ...]


def overview(document: Mapping[str, Any], waiting: Sequence[str] = ()) -> Overview:
    """The status document for people; `waiting` are the lines of `/readyz`, of what start-up or work lacks."""
    agent, now = document["agent"], document["agent"]["now"]
    errors = {each["name"]: each["last_error"] for each in document["sources"] if each["status"] == "down"}
    alarms = tuple(_alarm(each, now, errors) for each in _worst_first(document["alarms"]))
    severity = _worst(each.severity for each in alarms if not each.silenced)
    remarks = (*waiting, *_remarks(document))
    if severity == _WELL and remarks:
        severity = _UNKNOWN
    return Overview(
        agent=agent["name"],
        version=agent["version"],
        now=now,
        up_for=duration_text(agent["uptime_seconds"]),
        polls=agent["polls"],
        severity=severity,
        verdict=_verdict(alarms, "All is well" if severity == _WELL else _not_well(document)),
        remarks=remarks,
        alarms=alarms,
        sources=tuple(_source(each) for each in _by_state(document["sources"])),
        tokens=_tokens(document),
        sinks=tuple(_sink(each) for each in _by_state(document["sinks"])),
        silences=tuple(_silence(each, now) for each in sorted(document["silences"], key=lambda one: one["until"])),
        spool=_spool(document["spool"]),
        group=group_line(document["group"]) if "group" in document else "",
        members=tuple(map(member_entry, document.get("group", {}).get("members", ()))),
    )


def _spool(spool: Mapping[str, Any]) -> str:
    return f"{counted(spool['entries'], 'entries')}, {amount(spool['used_percent'], 'percent')} full"


def _verdict(alarms: Sequence[AlarmEntry], without: str) -> str:
    counts = {each.severity: 0 for each in sorted(alarms, key=lambda one: -_RANKS[one.severity]) if not each.silenced}
    for each in alarms:
        if not each.silenced:
            counts[each.severity] += 1
    silenced = sum(each.silenced for each in alarms)
    counted_alarms = [f"{count} {severity}" for severity, count in counts.items()]
    counted_alarms += [f"{silenced} silenced"] if silenced else []
    return ", ".join(counted_alarms) or without


def _not_well(document: Mapping[str, Any]) -> str:
    return "No alarm, but not all is well" if _is_watching(document) else "Nothing is watched"


def _is_watching(document: Mapping[str, Any]) -> bool:
    """Whether there is any source but the agent itself: without one there is no alarm, and no reason to be calm."""
    return any(each["name"] != AGENT_SOURCE for each in document["sources"])


def _remarks(document: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong beside the alarms, or before they are raised."""
    spool = document["spool"]
    if spool["failed"]:
        yield f"The spool cannot be written: {spool['reason']}"
    sources = [each for each in document["sources"] if each["name"] != AGENT_SOURCE]
    if not sources:
        yield "No source is configured. First run hsm-agent setup: it finds HSM modules"
    unread = [each["name"] for each in sources if each["status"] == "unknown"]
    if unread:
        yield f"{counted(len(unread), 'sources')} not read yet: {_some(unread)}"
    down = [each["name"] for each in document["sources"] if each["status"] == "down"]
    if down:
        yield f"{counted(len(down), 'sources')} down, with the values that were read last: {_some(down)}"
    failing = [each for each in document["sinks"] if each["status"] in {"retrying", "refused"}]
    if failing:
        waiting = sum(each["queued"] for each in failing)
        told = f"{counted(len(failing), 'sinks')} not reached, {waiting} waiting"
        yield f"{told}: {_some([each['name'] for each in failing])}"
    if "group" in document:
        yield from group_troubles(document["group"])


def _some(names: Sequence[str], most: int = 5) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _worst_first(alarms: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(alarms, key=lambda one: (one["silenced"], -_RANKS[one["severity"]], one["since"], one["rule"]))


def _alarm(entry: Mapping[str, Any], now: float, errors: Mapping[str, str]) -> AlarmEntry:
    advised = advice(entry["rule"], entry["text"], (entry["resource"], *entry["labels"].values()))
    return AlarmEntry(
        severity=entry["severity"],
        rule=entry["rule"],
        place="/".join(part for part in (entry["source"], entry["resource"]) if part),
        what=advised.what,
        first=advised.first[:1].upper() + advised.first[1:],
        measured=_measured(entry),
        last_error=errors.get(entry["source"], "") if entry["metric"] == "source_age_seconds" else "",
        since=entry["since"],
        lasts=duration_text(max(0.0, now - entry["since"])),
        runbook=entry["runbook"],
        alarm_id=entry["alarm_id"],
        silenced=entry["silenced"],
    )


def _measured(entry: Mapping[str, Any]) -> str:
    value, limit = (_amount(entry[name], entry["unit"]) for name in ("value", "threshold"))
    return f"{value}, limit {limit}" if value and limit else value


def _amount(number: str, unit_name: str) -> str:
    """A number that the document gives as text, as one says it; a limit of a trend is a text of its own."""
    try:
        return amount(float(number), unit_name) if number else ""
    except (ValueError, OverflowError):
        return number


def _by_state(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(
        entries,
        key=lambda one: (-_STATES.get(one["status"], 0), one["name"] == AGENT_SOURCE, natural_order(one["name"])),
    )


def _source(entry: Mapping[str, Any]) -> SourceEntry:
    age = entry["age_seconds"]
    return SourceEntry(
        name=entry["name"],
        kind=entry["kind"],
        state=entry["status"],
        read="never read" if age is None else f"read {ago_text(age)}",
        last_error="" if entry["status"] == "up" else entry["last_error"],
    )


def _sink(entry: Mapping[str, Any]) -> SinkEntry:
    failing = entry["failing_seconds"]
    since = "" if failing is None else f", failing for {duration_text(failing)}"
    lost = f", {entry['dropped']} dropped" if entry["dropped"] else ""
    return SinkEntry(
        name=entry["name"],
        kind=f"{entry['kind']}, {entry['guarantee']}",
        state=entry["status"],
        waits="nothing waits" if not entry["queued"] else f"{entry['queued']} waiting{since}",
        told=f"{entry['delivered']} delivered{lost}",
        last_error=entry["last_error"],
    )


def _silence(entry: Mapping[str, Any], now: float) -> SilenceEntry:
    return SilenceEntry(
        scope=f"rule {entry['rule']} on {entry['source']}/{entry['resource']}",
        until=entry["until"],
        left=duration_text(max(0.0, entry["until"] - now)),
        reason=entry["reason"],
        silence_id=entry["id"],
    )


Raised = list[tuple[str, str]]
"""Metrics and severities of alarms."""


def _tokens(document: Mapping[str, Any]) -> tuple[TokenEntry, ...]:
    raised: dict[tuple[str, str], Raised] = {}
    of_hsms: dict[str, Raised] = {}
    for alarm in document["alarms"]:
        entry = alarm["metric"], alarm["severity"]
        raised.setdefault((alarm["source"], alarm["resource"]), []).append(entry)
        if is_of_hsm(alarm["metric"]):
            of_hsms.setdefault(alarm["resource"], []).append(entry)
    made = []
    for each in document["tokens"]:
        # What is told once of a whole HSM is true of each of its tokens, whichever source has told it.
        on_hsm = of_hsms.get(each["hsm"], []) if each["hsm"] != each["resource"] else []
        made.append(_token(each, [*raised.get((each["source"], each["resource"]), ()), *on_hsm]))
    stores = (
        _audit_store(each, raised.get((each["source"], each["resource"]), [])) for each in document["audit_stores"]
    )
    return tuple(sorted((*made, *stores), key=_urgency))


def _urgency(token: TokenEntry) -> tuple[int, int, float, NaturalOrder, NaturalOrder]:
    fullest = max((fill.percent for fill in token.fills if fill.percent is not None), default=0.0)
    names = natural_order(token.source), natural_order(token.name)
    return -_RANKS[token.severity], -_TOKEN_STATES.get(token.state, 0), -fullest, *names


def _token(entry: Mapping[str, Any], raised: Raised) -> TokenEntry:
    names = (("model", ""), ("serial", "serial "), ("firmware", "firmware "))
    label = entry["label"] or entry["resource"]
    pins = ((entry["pin_status"], "PIN"), (entry["so_pin_status"], "SO PIN"))
    return TokenEntry(
        source=entry["source"],
        resource=entry["resource"],
        name=label,
        about=", ".join(f"{word}{entry[name]}" for name, word in names if entry[name] and entry[name] != label),
        state=entry["status"],
        pins=", ".join(f"{who} {state.replace('_', ' ')}" for state, who in pins if state not in {"ok", "unknown"}),
        severity=_worst(severity for _, severity in raised),
        fills=tuple(_fill(entry, bar, raised) for bar in _BARS),
    )


def _audit_store(entry: Mapping[str, Any], raised: Raised) -> TokenEntry:
    """The audit store of an HSM whose tokens are read elsewhere, or not at all."""
    return TokenEntry(
        source=entry["source"],
        resource=entry["resource"],
        name=entry["resource"] or entry["source"],
        about="audit store",
        state="present",
        pins="",
        severity=entry["worst_severity"],
        fills=(_fill(entry, _BARS[-1], raised),),
    )


def _fill(entry: Mapping[str, Any], bar: tuple[str, str, str], raised: Raised) -> Fill:
    name, member, metrics = bar
    percent = _figure(entry, member)
    return Fill(
        name=name,
        percent=None if percent is None else min(_FULL, max(0.0, percent)),
        text=_text(entry, name, percent),
        severity=_worst(severity for metric, severity in raised if metric.startswith(metrics)),
    )


def _figure(entry: Mapping[str, Any], member: str) -> float | None:
    """A number that can be drawn: the document says infinity and NaN as text."""
    value = entry[member]
    return value if isinstance(value, int | float) else None


def _worst(severities: Iterable[str]) -> str:
    return max(severities, key=_RANKS.__getitem__, default=_WELL)


def _text(entry: Mapping[str, Any], name: str, percent: float | None) -> str:
    share = "" if percent is None else amount(percent, "percent")
    if name == "sessions":
        opened, most = (number_text(_figure(entry, key)) for key in ("sessions", "sessions_max"))
        return f"{opened} of {most}" if opened and most else opened or share
    if name == "audit store":
        left = _figure(entry, "audit_seconds_to_full")
        return f"{share}, full in {duration_text(left)}" if share and left is not None else share
    return share
