"""Verification of trail files: each from its first line to its last, then how the files of a rotated set follow.

One pass a file, in any order: a file's first entry carries the hash of the last entry of the file before it, so files
find their predecessors by that. Memory does not depend on a file's size.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING

from hsm_agent.collect.rotated_set import DATES_FROM, UnreadableFileError, open_to_read, rotation
from hsm_agent.collect.trails.chain import LONGEST_LINE_BYTES, Break, Chain, ChainState, TrailVerdict
from hsm_agent.collect.trails.formats import FORMATS, Format, known_format, recognised, records_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

BLOCK_BYTES = 1 << 18
_LINES_LOOKED_AT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a verification ended: `state` is that behind the line that ends at `offset` of the file."""

    format: str
    offset: int
    state: ChainState


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict:
    """What verification found in one file. `reason` says why the verdict is not `intact`, or what it rests on."""

    path: Path
    format: str = ""
    verdict: TrailVerdict = TrailVerdict.INTACT
    reason: str = ""
    state: ChainState = field(default_factory=ChainState)
    unfinished: bool = False
    """Whether the last line has no end: it is being written, or its writer was stopped."""
    position: Position | None = None
    """Where the verification ended; a later one can go on from there."""


def verify_file(
    path: Path,
    wanted: Format | None = None,
    *,
    after: Position | None = None,
    read: Callable[[int], None] | None = None,
) -> FileVerdict:
    """The verdict on one file by itself. `read` is told of the octets as they are read.

    `after`: lines up to there were verified before, and are only looked at where the newest of them has changed.
    """
    try:
        with open_to_read(path) as file:
            return _verify_open(path, file, wanted, after, read or (lambda _: None))
    except (OSError, EOFError, zlib.error) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        return FileVerdict(path=path, verdict=TrailVerdict.UNVERIFIABLE, reason=reason)
    except UnreadableFileError as error:
        return FileVerdict(path=path, verdict=TrailVerdict.UNVERIFIABLE, reason=str(error))


def _verify_open(
    path: Path, file: IO[bytes], wanted: Format | None, after: Position | None, read: Callable[[int], None]
) -> FileVerdict:
    name = wanted or (known_format(after.format) if after is not None else format_of(file))
    if name is None:
        if not file.read(1):
            return FileVerdict(path=path, reason="empty")
        raise UnreadableFileError("not recognised: none of its first lines is an entry of a known trail")
    if after is not None and _still_there(file, after):
        file.seek(after.offset)
        verdict = _feed(path, FORMATS[name](replace(after.state)), file, read, offset=after.offset)
        if verdict.verdict is TrailVerdict.ANCHOR_UNKNOWN:
            return replace(verdict, verdict=TrailVerdict.INTACT, reason="follows the checkpoint")
        return verdict
    file.seek(0)
    watched = None if after is None else (after.state.lines, after.state.newest)
    return _feed(path, FORMATS[name](), file, read, watched=watched)


def _judged(path: Path, chain: Chain) -> FileVerdict:
    state, verdict = chain.state, chain.verdict
    reason = ""
    if verdict is TrailVerdict.INTACT and state.bad_lines and not state.entries:
        verdict, reason = TrailVerdict.UNVERIFIABLE, "none of its lines is an entry"
    elif verdict is TrailVerdict.BROKEN and state.broken is not None:
        reason = str(state.broken)
    elif verdict is TrailVerdict.UNVERIFIABLE:
        reason = f"line {state.unverifiable_line}: format_version 1, its hashes need a key"
    elif verdict is TrailVerdict.ANCHOR_UNKNOWN:
        reason = f"it begins behind {state.anchor}, which is in none of the files"
    return FileVerdict(path=path, format=chain.format, verdict=verdict, reason=reason, state=state)


def format_of(file: IO[bytes]) -> Format | None:
    """The format that the first lines of a file have; it is read from its beginning again afterwards."""
    name = recognised(file.read(BLOCK_BYTES).split(b"\n")[:_LINES_LOOKED_AT])
    file.seek(0)
    return name


def _feed(
    path: Path,
    chain: Chain,
    file: IO[bytes],
    read: Callable[[int], None],
    *,
    offset: int = 0,
    watched: tuple[int, str] | None = None,
) -> FileVerdict:
    """Verify what is left of a file, from this offset on.

    `watched`: the number of a line, and the hash that was its entry's; another one now is a break.
    """
    records = records_of(chain.format)
    while block := file.read(BLOCK_BYTES):
        offset += len(block)
        read(len(block))
        fresh = records.push(block)
        if b"\r" in block:
            fresh = [each.rstrip(b"\r") for each in fresh]
        if watched is not None and chain.state.lines + len(fresh) >= watched[0]:
            ahead = watched[0] - chain.state.lines
            chain.feed_all(fresh[:ahead])
            _compare(chain.state, watched)
            watched, fresh = None, fresh[ahead:]
        chain.feed_all(fresh)
    rest = records.rest
    position = Position(format=chain.format, offset=offset - len(rest), state=replace(chain.state))
    unfinished = bool(rest.strip()) and not chain.is_whole(rest)
    if rest.strip() and not unfinished:
        chain.feed(rest.rstrip(b"\r\n"))
    if watched is not None:
        _compare(chain.state, watched)
        position.state.broken = chain.state.broken
    return replace(_judged(path, chain), unfinished=unfinished, position=position)


def _compare(state: ChainState, watched: tuple[int, str]) -> None:
    """Break the chain where the entry that was the newest is another one now, or there is none any more."""
    line, newest = watched
    if state.lines >= line and state.newest == newest:
        return
    found = state.newest if state.lines >= line else "no such line any more"
    state.breaks += 1
    if state.broken is None:
        state.broken = Break(line, newest, found)


def holds(path: Path, position: Position) -> bool:
    """Whether the newest entry that was verified stands in this file where it stood, with its hash."""
    try:
        with open_to_read(path) as file:
            return _still_there(file, position)
    except (OSError, EOFError, zlib.error, UnreadableFileError):
        return False


def _still_there(file: IO[bytes], after: Position) -> bool:
    begin = max(0, after.offset - LONGEST_LINE_BYTES)
    file.seek(begin)
    data = file.read(after.offset - begin)
    if len(data) != after.offset - begin:
        return False
    records = records_of(after.format)
    for record in reversed([*records.push(data), records.rest]):
        chain = FORMATS[known_format(after.format)](ChainState(form=after.state.form))
        if record.strip() and chain.feed(record.rstrip(b"\r\n")):
            return chain.state.newest == after.state.newest
    return not after.state.newest


def linked(verdicts: Sequence[FileVerdict], after: Position | None = None) -> list[FileVerdict]:
    """The verdicts with what the files say of each other: a rotated set is one chain.

    `after`: where an earlier verification ended; a file that follows its newest entry has a known anchor, too.
    """
    by_newest: dict[tuple[str, str], Path | str] = {
        (each.format, newest): each.path
        for each in verdicts
        for newest in (each.state.respelt, each.state.newest)
        if newest
    }
    if after is not None and after.state.newest:
        by_newest.setdefault((after.format, after.state.newest), "the checkpoint")
    predecessors = _predecessors(verdicts)
    return [_linked(each, by_newest, predecessors.get(each.path)) for each in verdicts]


def _linked(each: FileVerdict, by_newest: dict[tuple[str, str], Path | str], before: FileVerdict | None) -> FileVerdict:
    if each.verdict not in {TrailVerdict.ANCHOR_UNKNOWN, TrailVerdict.INTACT} or not each.state.anchor:
        return each
    if each.format != "cloudhsm":
        found = by_newest.get((each.format, each.state.anchor))
        if found is not None and found != each.path:
            return replace(each, verdict=TrailVerdict.INTACT, reason=f"follows {found}")
    if before is None or not before.state.newest or before.format != each.format:
        return each
    expected = FORMATS[known_format(each.format)].following(before.state.newest)
    if expected == each.state.anchor:
        return replace(each, verdict=TrailVerdict.INTACT, reason=f"follows {before.path}")
    broken = Break(1, expected, each.state.anchor)
    state = replace(each.state, broken=broken, breaks=each.state.breaks + 1)
    return replace(each, verdict=TrailVerdict.BROKEN, reason=f"{broken}, the last of {before.path}", state=state)


def _predecessors(verdicts: Iterable[FileVerdict]) -> dict[Path, FileVerdict]:
    """The file before each in its rotated set, by their names; none where its number is not among the given ones.

    Behind a file with a date stands the newest one that has a date.
    """
    sets: dict[Path, list[tuple[int, FileVerdict]]] = {}
    for each in verdicts:
        stem, age = rotation(each.path)
        sets.setdefault(stem, []).append((age, each))
    found = {}
    for members in sets.values():
        members.sort(key=lambda member: -member[0])
        for index, (age, after) in enumerate(members):
            # Of a file that is being compressed both are given.
            older = [member for member in members[:index] if member[0] > age]
            # The newest rotated file has the number 0 or 1.
            if older and (older[-1][0] >= DATES_FROM or older[-1][0] - age <= (1 if age else 2)):
                found[after.path] = older[-1][1]
    return found
