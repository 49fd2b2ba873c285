"""Tables for people: what the command line prints where `--format table` is asked for."""

from __future__ import annotations

import errno
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hsm_agent.evaluate.messages import ago_text, amount, counted
from hsm_agent.log import one_line
from hsm_agent.metrics import unit
from hsm_agent.model import number_text
from hsm_agent.serve.group import group_line, member_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hsm_agent.cli.poll import Polled

_COLOURS = {
    "critical": "bold red",
    "warning": "yellow",
    "indeterminate": "cyan",
    "down": "bold red",
    "silent": "bold red",
    "missing": "bold red",
    "alone": "bold red",
    "isolated": "bold red",
}
_COLOURS |= {"degraded": "yellow", "retrying": "yellow", "refused": "red", "up": "green"}
_FLEET_SEVERITIES = ("critical", "major", "minor", "warning", "indeterminate")
_LONG, _LEAST = {"labels", "unavailable", "reason", "remark", "what it says"}, 20
"""Columns that may be broken, and the least width of one."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the verb's group what that means."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console() -> Console:
    """Standard output: coloured on a terminal only, never cutting a cell because a pipe has no width."""
    width = None if sys.stdout.isatty() else 200
    return _Console(width=width, highlight=False, no_color="NO_COLOR" in os.environ or None, soft_wrap=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """One table; a line that says `none` without rows."""
    filled = [[_cell(value) for value in row] for row in rows]
    if not filled:
        console().print(f"{escape(title)}: none")
        return
    drawn = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    wanted = 0
    for index, name in enumerate(columns):
        drawn.add_column(name, overflow="fold", no_wrap=name not in _LONG)
        shown = max(Text.from_markup(cell).cell_len for cell in (name, *(row[index] for row in filled)))
        wanted += 3 + (shown if name not in _LONG else min(shown, _LEAST))
    for row in filled:
        drawn.add_row(*row)
    out = console()
    # On a narrow terminal long texts are wrapped; names and numbers are never cut.
    out.width = max(out.width, wanted)
    out.print(drawn)


def blocks(title: str, entries: Sequence[tuple[Sequence[object], Mapping[str, object]]]) -> None:
    """A line for each entry, its details indented below. IDs are never cut, so that they can be copied."""
    out = console()
    out.print(f"{escape(title)}: {len(entries) or 'none'}")
    for head, details in entries:
        out.print(f" {'  '.join(filter(None, map(_cell, head)))}", soft_wrap=True)
        for name, value in details.items():
            if cell := _cell(value):
                out.print(Padding(f"{name}: {cell}", (0, 0, 0, 4), expand=False))


def _cell(value: object) -> str:
    plain = number_text(value) if isinstance(value, float) else "" if value is None else str(value)
    text = escape(one_line(plain))  # text from outside must not control the terminal
    colour = _COLOURS.get(text)
    return f"[{colour}]{text}[/]" if colour else text


def when(seconds: float | None) -> str:
    """A time as people read it, in UTC."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def local(seconds: float) -> str:
    """A time as people here read it, ISO 8601 with the zone; the number itself where there is no such time."""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return number_text(seconds)


def polled(results: Iterable[Polled]) -> None:
    """Readings of a `poll`, and what failed."""
    for result in results:
        rows = [
            (
                reading.resource,
                reading.metric,
                _labels(dict(reading.labels)),
                _value(reading.value),
                unit(reading.metric),
                reading.reason,
            )
            for reading in result.readings
        ]
        table(
            f"{result.source} ({result.kind})", ("resource", "metric", "labels", "value", "unit", "unavailable"), rows
        )
        for failure in result.failures:
            console().print(f"failed: {escape(failure)}", style="red")
        for remark in result.remarks:
            console().print(f"note: {escape(remark)}", style="yellow")


def explained(results: Iterable[Polled]) -> None:
    """The calls of each poll and their number a day."""
    for result in results:
        made: Mapping[str, int] = result.poll.calls if result.poll else {}
        names = dict.fromkeys([*made, *result.calls_a_day])
        rows: list[Sequence[object]] = [
            (name, made.get(name, 0), f"{result.calls_a_day.get(name, 0):,.0f}") for name in names
        ]
        rows.append(("all", sum(made.values()), f"{sum(result.calls_a_day.values()):,.0f}"))
        table(f"{result.source}: calls", ("call", "in this poll", "a day, for one token"), rows)


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _value(value: float | None) -> str:
    if value is None:
        return ""
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".")


def status(answer: Mapping[str, Any]) -> None:
    """The whole status of the running agent."""
    agent, spool = answer["agent"], answer["spool"]
    console().print(
        f"{escape(str(agent['name']))}: version {agent['version']}, up since {when(agent['started'])}, "
        f"{counted(agent['polls'], 'polls')}; spool: {counted(spool['entries'], 'entries')}, "
        f"{spool['used_percent']:.1f} % used"
        f"{', FAILED' if spool['failed'] else ''}"
    )
    sources = [{**each, "last success": _ago(each["age_seconds"])} for each in answer["sources"]]
    rows({"sources": sources}, "sources", ("name", "kind", "status", "last success", "failures"))
    _last_errors(sources)
    if "group" in answer:
        group(answer["group"])
    _tokens(answer["tokens"])
    alarms(answer["alarms"])
    silences(answer["silences"])
    rows(answer, "sinks", ("name", "kind", "guarantee", "status", "queued", "delivered", "failed", "dropped"))
    _last_errors(answer["sinks"])


def group(entry: Mapping[str, Any]) -> None:
    """The group as the agent sees it, and its members."""
    console().print(escape(one_line(group_line(entry))))
    table(
        "members",
        ("member", "role", "status", "what it says"),
        [(one["name"], one["role"], "up" if one["up"] else "down", member_line(one)) for one in entry["members"]],
    )


def fleet(answer: Mapping[str, Any]) -> None:
    """A line for each agent: a blank is not known, never 0."""

    def shown(entry: Mapping[str, Any]) -> Iterable[object]:
        silent = entry["silent_seconds"]
        ago = "" if silent is None and entry["state"] == "unknown" else _ago(silent)
        yield from (entry["agent"], entry["site"], entry["state"], ago)
        yield from (entry["alarms"].get(severity) for severity in _FLEET_SEVERITIES)
        yield from (entry["sources_down"], entry["version"], entry["remark"] or entry["worst"] or entry["down"])

    columns = ("agent", "site", "state", "published", *_FLEET_SEVERITIES, "sources down", "version", "remark")
    table("agents", columns, [tuple(shown(entry)) for entry in answer["agents"]])
    _last_errors(answer["sources"])


def _tokens(entries: Iterable[Mapping[str, Any]]) -> None:
    """Of each token what fills up: a blank is not known, never 0."""

    def shown(entry: Mapping[str, Any]) -> Iterable[object]:
        yield from (entry.get(name) for name in ("source", "resource", "serial", "status"))
        for name in ("memory", "storage"):
            yield _share(entry.get(f"{name}_used_percent"))
        open_, most = (number_text(entry.get(name)) for name in ("sessions", "sessions_max"))
        yield f"{open_} of {most}" if open_ and most else open_
        yield _share(entry.get("audit_used_percent"))

    columns = ("source", "resource", "serial", "status", "memory used", "storage used", "sessions", "audit store used")
    table("tokens", columns, [tuple(shown(entry)) for entry in entries])


def _share(percent: float | None) -> str | None:
    return None if percent is None else amount(percent, "percent")


def _last_errors(entries: Iterable[Mapping[str, Any]]) -> None:
    for entry in entries:
        if error := entry.get("last_error"):
            console().print(
                Padding(f"last error of {_cell(entry['name'])}: {_cell(error)}", (0, 0, 0, 1), expand=False)
            )


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else ago_text(seconds)


def rows(answer: Mapping[str, Any], key: str, columns: Sequence[str]) -> None:
    """One list of the status as a table."""
    table(key, columns, [[entry.get(column) for column in columns] for entry in answer[key]])


def alarms(entries: Iterable[Mapping[str, Any]]) -> None:
    """Active alarms."""
    blocks(
        "alarms",
        [
            (
                (
                    entry["severity"], entry["rule"], _where(entry), _measured(entry), f"since {when(entry['since'])}",
                    "silenced" if entry.get("silenced") else "",
                ),
                {
                    **entry.get("labels", {}), "text": entry.get("text"), "runbook": entry.get("runbook"),
                    "id": entry.get("alarm_id"),
                },
            )
            for entry in entries
        ],
    )  # fmt: skip


def _told_of(entry: Mapping[str, Any]) -> tuple[object, ...]:
    """What the event is about; of a notice or a test the severity says nothing."""
    severity = entry.get("severity") if entry["kind"].startswith("ALARM_") else None
    return severity, entry.get("rule"), _where(entry)


def _where(entry: Mapping[str, Any]) -> str:
    return "/".join(part for key in ("source", "resource") if (part := entry.get(key)))


def _measured(entry: Mapping[str, Any]) -> str:
    value, limit = (_amount(entry.get(name), entry.get("unit") or "") for name in ("value", "threshold"))
    return f"{value} (limit {limit})" if value and limit else value


def _amount(number: str | None, unit_: str) -> str:
    """A number that the status gives as text, as one says it."""
    try:
        return amount(float(number), unit_) if number else ""
    except (ValueError, OverflowError):
        return f"{number} {unit_}".rstrip()


def spool(entries: Iterable[Mapping[str, Any]]) -> None:
    """What is still to be delivered: to whom, how often it was tried, and where it was given up and why."""
    blocks(
        "spool",
        [
            (
                (local(entry["time"]), entry["kind"], *_told_of(entry)),
                {
                    "waiting for": ", ".join(f"{name} ({_tries(n)})" for name, n in entry["waiting_for"].items()),
                    "given up at": "; ".join(f"{name}: {reason}" for name, reason in entry["dead_at"].items()),
                    "id": entry["event_id"],
                },
            )
            for entry in entries
        ],
    )


def _tries(number: int) -> str:
    return {0: "not tried yet", 1: "1 try"}.get(number, f"{number} tries")


def silences(entries: Iterable[Mapping[str, Any]]) -> None:
    """Silences in force."""
    columns = ("id", "source", "resource", "rule", "until", "reason")
    table(
        "silences",
        columns,
        [[when(entry["until"]) if name == "until" else entry.get(name) for name in columns] for entry in entries],
    )
