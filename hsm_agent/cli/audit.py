"""`hsm-agent audit`: verify trail files, and show what is in them. Needs no configuration and no running agent."""

from __future__ import annotations

import json
import sys
import zlib
from collections import deque
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from hsm_agent import codec
from hsm_agent.cli.options import fail, unused_config_option
from hsm_agent.collect.rotated_set import UnreadableFileError, open_to_read, rotation
from hsm_agent.collect.trails.chain import Break, ChainState, Entry, TrailVerdict
from hsm_agent.collect.trails.formats import FORMATS, Format, known_format, records_of
from hsm_agent.collect.trails.verify import (
    BLOCK_BYTES,
    FileVerdict,
    Position,
    format_of,
    holds,
    linked,
    verify_file,
)
from hsm_agent.state import files
from hsm_agent.text import glob_matches, one_line
from hsm_agent.wire.event_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

BROKEN, UNVERIFIED = 1, 3
_COLUMNS = (("time", 27), ("operation", 22), ("result", 26), ("session", 12), ("mechanism", 26), ("detail", 1))

format_argument = click.Choice(list(FORMATS))
_paths = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
_as = click.option("--as", "wanted", type=format_argument, help="Take the files for this format, whatever their lines.")
_form = click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)


@click.group()
def audit() -> None:
    """Verify audit trails (Craton HSM, AWS CloudHSM), and show their entries."""


@audit.command()
@unused_config_option
@_paths
@_as
@_form
@click.option("--checkpoint", type=click.Path(path_type=Path, dir_okay=False), help="Verify what is new since FILE.")
def verify(paths: tuple[Path, ...], wanted: Format | None, form: str, checkpoint: Path | None) -> None:
    """Verify trail files and whole rotated sets, in any order.

    Exit status: 1 if a file is broken, else 3 if one cannot be verified, else 0.
    """
    unique = tuple(dict.fromkeys(paths))
    if checkpoint is not None and len({rotation(path)[0] for path in unique}) > 1:
        raise click.UsageError("--checkpoint: the files are of more than one trail; each needs a checkpoint of its own")
    position = None if checkpoint is None else _read_checkpoint(checkpoint, wanted)
    with _progress(unique) as read:
        verdicts, is_known = _verified(unique, wanted, position, read)
    if checkpoint is not None:
        if is_known and _exit_status(verdicts) != BROKEN:
            _keep_checkpoint(checkpoint, verdicts)
        else:
            # Otherwise the next run would go on from what is wrong now, and find nothing.
            kept = f"{checkpoint} stays as it was; once that is dealt with, remove it"
            click.echo(one_line(f"hsm-agent: {kept}"), err=True)
    if form == "json":
        click.echo(_json([_as_json(each) for each in verdicts], indent=1))
    else:
        for each in verdicts:
            click.echo(_line(each))
    sys.exit(_exit_status(verdicts))


def _verified(
    paths: Sequence[Path], wanted: Format | None, position: Position | None, read: Callable[[int], None]
) -> tuple[list[FileVerdict], bool]:
    """The files' verdicts, in the order they were given, and whether they go on from the checkpoint, if any."""
    holder = None if position is None else next((path for path in paths if holds(path, position)), None)
    verdicts = [verify_file(path, wanted, after=position if path == holder else None, read=read) for path in paths]
    if position is None or holder is not None or not position.state.newest:
        return linked(verdicts, position), True
    follows = any(each.state.anchor == position.state.newest for each in verdicts)
    verdicts = [_without_holder(each, position, wanted) for each in verdicts]
    return linked(verdicts, position), follows


def _without_holder(each: FileVerdict, position: Position, wanted: Format | None) -> FileVerdict:
    """A verdict where the entry of the checkpoint is in none of the files as it was."""
    state = each.state
    if state.anchor == position.state.newest or not position.state.newest:
        return each
    if not state.entries:
        reason = (
            each.reason
            if each.verdict is TrailVerdict.UNVERIFIABLE
            else "the checkpoint's entry is in none of the files"
        )
        return replace(each, verdict=TrailVerdict.ANCHOR_UNKNOWN, reason=reason)
    if state.anchor == position.state.anchor:
        # It begins like the file that was verified: its newest entry was changed or cut off.
        return verify_file(each.path, wanted, after=position)
    if each.verdict is TrailVerdict.INTACT:
        # A trail that begins anew, where one was known already.
        broken = Break(1, position.state.newest, state.anchor)
        reason = f"{broken}: it does not follow the checkpoint"
        return replace(each, verdict=TrailVerdict.BROKEN, reason=reason, state=replace(state, broken=broken, breaks=1))
    return each


def _exit_status(verdicts: Iterable[FileVerdict]) -> int:
    found = {each.verdict for each in verdicts}
    if TrailVerdict.BROKEN in found:
        return BROKEN
    return 0 if found <= {TrailVerdict.INTACT} else UNVERIFIED


def _line(each: FileVerdict) -> str:
    state, words = each.state, [each.verdict.value]
    if each.verdict is TrailVerdict.BROKEN:
        words = [f"BROKEN at {each.reason}"]
        if state.breaks > 1:
            words.append(f"{state.breaks} breaks in all")
    elif each.reason:
        words = [f"{each.verdict}: {each.reason}"]
    words.append(f"{state.entries} entries")
    if each.format:
        words.append(each.format)
    if state.bad_lines:
        words.append(f"{state.bad_lines} lines are no entry, the first {state.bad_line}")
    if each.unfinished:
        words.append("the last line has no end")
    return one_line(f"{each.path}: {', '.join(words)}")


def _as_json(each: FileVerdict) -> dict[str, Any]:
    state = each.state
    return {
        "file": str(each.path),
        "format": each.format or None,
        "verdict": each.verdict.value,
        "reason": each.reason,
        "lines": state.lines,
        "entries": state.entries,
        "bad_lines": state.bad_lines,
        "bad_line": state.bad_line,
        "breaks": state.breaks,
        "broken": None if state.broken is None else asdict(state.broken),
        "anchor": state.anchor,
        "newest": state.newest,
        "unfinished": each.unfinished,
    }


@contextmanager
def _progress(paths: Iterable[Path]) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - a gate in a script never needs it
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

    total = sum(map(_size, paths))
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda size: bar.advance(task, size)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read_checkpoint(path: Path, wanted: Format | None) -> Position | None:
    """Where the last run ended; None before the first one."""
    try:
        raw = files.read_json(path)
        if raw is None:
            return None
        position = codec.decode(Position, raw)
        known_format(position.format)
    except OSError as error:
        fail(one_line(f"{path}: {error.strerror}"), UNVERIFIED)
    except ValueError as error:
        fail(one_line(f"{path}: no checkpoint: {error}"), UNVERIFIED)
    if wanted is not None and wanted != position.format:
        raise click.UsageError(f"--as {wanted}: {path} is of a {position.format} trail")
    return position


def _keep_checkpoint(path: Path, verdicts: Sequence[FileVerdict]) -> None:
    """Keep where the newest file of the trail ended."""
    readable = [each for each in verdicts if each.position is not None]
    if not readable:
        return
    newest = min(readable, key=lambda each: rotation(each.path)[1])
    try:
        files.write_json(path, codec.encode(newest.position))
    except OSError as error:
        fail(one_line(f"{path}: {error.strerror}"), UNVERIFIED)


@audit.command()
@unused_config_option
@_paths
@_as
@_form
@click.option("--last", type=click.IntRange(1, 1_000_000), help="Only the newest N entries.")
@click.option("--operation", help="Only operations that match this glob.")
@click.option("--result", help="success, failure, or a result such as CKR_PIN_INCORRECT.")
@click.option("--session", help="Only entries of this session handle.")
def dump(
    paths: tuple[Path, ...],
    wanted: Format | None,
    form: str,
    last: int | None,
    operation: str | None,
    result: str | None,
    session: str | None,
) -> None:
    """Show the entries of trail files, the oldest file first. Exit status 3 if a file cannot be read."""
    trouble: list[str] = []
    entries: Iterable[Entry] = (
        entry
        for entry in _entries(_oldest_first(paths), wanted, trouble)
        if (operation is None or glob_matches(entry.operation, operation))
        and (result is None or _has_result(entry, result))
        and (session is None or entry.session == session)
    )
    if last is not None:
        entries = deque(entries, maxlen=last)
    if form == "json":
        _print_json(entries)
    else:
        _print_table(entries)
    for text in trouble:
        click.echo(one_line(f"hsm-agent: {text}"), err=True)
    sys.exit(UNVERIFIED if trouble else 0)


def _oldest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(dict.fromkeys(paths), key=lambda path: (str(rotation(path)[0]), -rotation(path)[1]))


def _has_result(entry: Entry, wanted: str) -> bool:
    wanted = wanted.upper()
    if wanted in {"SUCCESS", "FAILURE"}:
        return entry.is_success == (wanted == "SUCCESS")
    return entry.result.upper() in {wanted, f"CKR_{wanted}"}


def _entries(paths: Iterable[Path], wanted: Format | None, trouble: list[str]) -> Iterator[Entry]:
    for path in paths:
        try:
            with open_to_read(path) as file:
                name = wanted or format_of(file)
                if name is not None:
                    yield from _entries_of(file, name, path)
                elif file.read(1):
                    trouble.append(f"{path}: none of its first lines is an entry of a known trail")
        except (OSError, EOFError, zlib.error, UnreadableFileError) as error:
            trouble.append(f"{path}: {getattr(error, 'strerror', None) or error}")


def _entries_of(file: IO[bytes], name: Format, path: Path) -> Iterator[Entry]:
    chain, records, bad = FORMATS[name](ChainState()), records_of(name), 0
    for record in _records(file, records):
        if not record.strip():
            continue
        try:
            yield chain.decode(record)
        except (ValueError, RecursionError):
            bad += 1
    if bad:
        click.echo(one_line(f"hsm-agent: {path}: {bad} lines are no entry"), err=True)


def _records(file: IO[bytes], records: Any) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield from records.push(block)
    yield records.rest


def _print_json(entries: Iterable[Entry]) -> None:
    """One array, written as the entries are read."""
    begin = "["
    for entry in entries:
        click.echo(begin + "\n " + _json(_shown(entry)), nl=False)
        begin = ","
    click.echo("\n]" if begin == "," else "[]")


def _json(value: object, indent: int | None = None) -> str:
    """JSON that controls no terminal, and that can be written: in ASCII where it has a character that is not shown."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if text.replace("\n", "").isprintable() else json.dumps(value, indent=indent)


def _print_table(entries: Iterable[Entry]) -> None:
    click.echo("  ".join(name.ljust(width) for name, width in _COLUMNS).rstrip())
    for entry in entries:
        row = _shown(entry)
        click.echo("  ".join(one_line(str(row[name] or "")).ljust(width) for name, width in _COLUMNS).rstrip())


def _shown(entry: Entry) -> dict[str, object]:
    return {
        "time": None if entry.time is None else rfc3339(entry.time) or f"{entry.time:g}",
        "operation": entry.operation,
        "result": entry.result,
        "session": entry.session,
        "mechanism": entry.mechanism,
        "detail": entry.detail,
    }
