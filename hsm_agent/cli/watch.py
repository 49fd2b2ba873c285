"""`hsm-agent status --watch`: the status page in a terminal, as large as the terminal is, until Ctrl-C.

Only standard output that is a terminal will do: whoever wants a text takes `status`. The screen before is back at the
end. While the agent does not answer, the last picture stays, with how old it is.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hsm_agent.agent.control_client import ControlError
from hsm_agent.evaluate.messages import duration_text
from hsm_agent.serve.overview import overview
from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    from hsm_agent.serve.overview import AlarmEntry, Fill, Overview, TokenEntry

_STYLES = {
    **dict.fromkeys(("critical", "major", "down", "failed", "absent", "refused", "alone", "isolated"), "bold red"),
    **dict.fromkeys(("warning", "minor", "degraded", "retrying"), "yellow"),
    **dict.fromkeys(("indeterminate", "unknown", "uninitialized", "idle"), "cyan"),
    **dict.fromkeys(("cleared", "present", "up", "leader", "standby"), "green"),
}
_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR_CELLS = 8
_FULL = 100.0
_NAME_CELLS, _SOURCE_CELLS, _STATE_CELLS, _TEXT_CELLS = 24, 14, 13, 13
_WIDE, _WITH_BARS, _WITH_DAYS = 110, 150, 200
"""So wide a terminal must be for long names, for bars beside the figures, and for the last day beside the bars."""
_LEAST_LINES = 3
_ALARM_SHARE = 2 / 3
"""How much of the screen alarms may take; tokens have the rest at least."""

Days = dict[tuple[str, str, str], "Sequence[float | None]"]
"""The spans of the last day by source, resource and bar."""


def watch(ask: Callable[[], Mapping[str, Any]], every_seconds: float) -> None:
    """Show what `ask` answers until SIGINT or SIGTERM. Raises ControlError where it fails the first time."""
    document, asked = ask(), time.monotonic()
    problem = ""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job has SIGINT ignored
        signal.signal(number, _interrupt)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # of a terminal that has no letters but its own
    console = Console(highlight=False, no_color="NO_COLOR" in os.environ or None)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                age = time.monotonic() - asked
                told = f"No answer for {duration_text(age)}: {problem}" if problem else ""
                live.update(picture(document, *console.size, problem=told), refresh=True)
                time.sleep(every_seconds)
                try:
                    document, asked, problem = ask(), time.monotonic(), ""
                except ControlError as error:
                    problem = str(error)
    except KeyboardInterrupt:
        return


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def is_terminal() -> bool:
    """Whether there is a screen to be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in {None, "", "dumb"}


def picture(document: Mapping[str, Any], width: int, height: int, *, problem: str = "") -> Text:
    """The overview in so many columns and lines: the worst first, and how much more there is."""
    view = overview(document, document.get("waiting", ()))
    days: Days = {(each["source"], each["resource"], each["bar"]): each["spans"] for each in document.get("days", ())}
    top = list(_top(view, problem))
    foot = list(_foot(view))
    room = max(_LEAST_LINES, height - len(top) - min(len(foot), height // 3))
    entries = [_alarm(each, width) for each in view.alarms[:height]]
    alarms = _cut(entries, len(view.alarms), int(room * _ALARM_SHARE), "alarms")
    entries = [[_token(each, days, width)] for each in view.tokens[:height]]
    tokens = _cut(entries, len(view.tokens), room - len(alarms) - 1, "tokens")
    shown = [*top, *alarms, *tokens, *foot][:height]
    for line in shown:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(shown)


def _cut(entries: Sequence[Sequence[Text]], count: int, most: int, what: str) -> list[Text]:
    """As many of `count` entries as there are lines for, and a line that says how many more there are."""
    lines: list[Text] = []
    for number, entry in enumerate(entries):
        is_last = number == count - 1
        if len(lines) + len(entry) + (not is_last) > most:
            lines.append(Text(f"… and {count - number} more {what}", style="dim"))
            break
        lines += entry
    return lines


def _top(view: Overview, problem: str) -> Iterator[Text]:
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(view.now))
    yield Text.assemble(
        (view.verdict, f"bold {_STYLES[view.severity].removeprefix('bold ')}"), f"  {view.agent}  ", (when, "dim"),
        ("  Ctrl-C ends", "dim"),
    )  # fmt: skip
    if problem:
        yield Text(one_line(problem), style="bold red")
    for remark in view.remarks:
        yield Text(one_line(remark), style="bold")
    yield Text("")


def _alarm(alarm: AlarmEntry, width: int) -> list[Text]:
    style = _STYLES[alarm.severity]
    silenced = "  silenced" if alarm.silenced else ""
    measured = f"told at {alarm.measured}; " if alarm.measured else ""
    head = Text.assemble(
        (f"{alarm.severity:<{_STATE_CELLS}}", style), (alarm.place, "bold"), f"  {alarm.rule}  ",
        (f"{measured}for {alarm.lasts}{silenced}", "dim"),
    )  # fmt: skip
    if alarm.silenced:
        return [head]
    details = [f"First: {alarm.first.replace('`', '')}" if alarm.first else alarm.what]
    details += [f"Last error: {alarm.last_error}"] if alarm.last_error else []
    details += [f"Runbook: {alarm.runbook}"] if alarm.runbook else []
    indent = " " * _STATE_CELLS
    console = Console(width=max(20, width - _STATE_CELLS))
    lines = [line for text in details for line in Text(one_line(text)).wrap(console, console.width)]
    return [head, *(Text(indent) + line for line in lines)]


def _token(token: TokenEntry, days: Days, width: int) -> Text:
    severity = token.severity if token.severity != "cleared" else token.state
    name, source = (_NAME_CELLS, _SOURCE_CELLS) if width >= _WIDE else (_NAME_CELLS // 2 + 4, _SOURCE_CELLS - 4)
    line = Text.assemble((_fitted(token.name, name), _STYLES.get(severity, "")), _fitted(token.source, source))
    if token.state != "present":
        line.append(f"{token.state} ", _STYLES.get(token.state, ""))
    for fill in token.fills if token.state == "present" or any(fill.text for fill in token.fills) else ():
        line += _fill(fill, days.get((token.source, token.resource, fill.name)), width)
    return line.append(token.pins, "yellow")


def _fill(fill: Fill, day: Sequence[float | None] | None, width: int) -> Text:
    style = _STYLES[fill.severity] if fill.severity != "cleared" else ""
    text = fill.text.replace(", full in ", " ")
    name = fill.name[:3] if text else ""
    if width < _WITH_BARS:
        return Text(f"{name} {text}  " if text else "", style)
    cells = 0 if fill.percent is None else round(fill.percent / _FULL * _BAR_CELLS)
    bar = "" if fill.percent is None else "█" * cells + "░" * (_BAR_CELLS - cells)
    found = Text(_fitted(f"{name:<3} {bar:<{_BAR_CELLS}} {text}", 5 + _BAR_CELLS + _TEXT_CELLS), style)
    return (
        found + Text(f"{_line(day or (), _FULL if fill.name != 'sessions' else 0.0):<13}", "dim")
        if width >= _WITH_DAYS
        else found
    )


def _line(spans: Sequence[float | None], top: float) -> str:
    top = top or max((each for each in spans if each is not None), default=0.0)
    last = len(_BLOCKS) - 1
    return "".join(
        " " if each is None else _BLOCKS[min(last, max(0, round(each / top * last)))] if top > 0 else _BLOCKS[0]
        for each in spans
    )


def _fitted(text: str, cells: int) -> str:
    """So many columns of a terminal, a blank at the end; what is wide takes two."""
    found = Text(one_line(text))
    found.truncate(cells - 1, overflow="ellipsis", pad=True)
    return f"{found.plain} "


def _foot(view: Overview) -> Iterator[Text]:
    yield Text("")
    for source in view.sources:
        if source.state != "up":
            yield _state("source", source.name, source.state, f"{source.read}  {source.last_error}")
    well = [source.name for source in view.sources if source.state == "up"]
    yield Text(f"sources up: {', '.join(well) or 'none'}", "dim")
    if view.group:
        yield Text(one_line(view.group), style="dim")
    for member in view.members:
        yield _state("member", member.name, member.state, member.told)
    for sink in view.sinks:
        yield _state("sink", sink.name, sink.state, f"{sink.waits}, {sink.told}  {sink.last_error}")
    for silence in view.silences:
        yield Text(one_line(f"silence {silence.silence_id}: {silence.scope}, ends in {silence.left}: {silence.reason}"))


def _state(what: str, name: str, state: str, more: str) -> Text:
    named = (_fitted(name, _SOURCE_CELLS), "bold")
    return Text.assemble(f"{what} ", named, (f"{state:<9}", _STYLES[state]), one_line(more))
