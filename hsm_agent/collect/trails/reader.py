"""One trail that is followed: its rotated set is read on, verified and counted, with a checkpoint. Blocks on the disk.

The checkpoint holds the position, the chain and the counts together and is written whole, so that a line is counted
once, whenever the process ends. It also holds the hash of the newest entry, which no later line vouches for yet: where
the file does not hold that entry any more, its end was cut off or its history was written anew.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.collect.followed_file import BLOCK_BYTES, STEP_SECONDS, FollowedSet
from hsm_agent.collect.rotated_set import (
    ChangedSetError,
    DamagedArchiveError,
    FilePosition,
    Member,
    UnreadableFileError,
    blocks,
    find,
    has_same_head,
    members,
    open_member,
    position_in,
)
from hsm_agent.collect.trails.chain import Break, Chain, ChainState
from hsm_agent.collect.trails.checkpoint import TrailCheckpoint
from hsm_agent.collect.trails.formats import FORMATS, Format, LineRecords, records_of
from hsm_agent.collect.trails.verify import Position, verify_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hsm_agent.collect.trails.chain import Entry

_MOST_SEEN = 100
"""Breaks that are remembered as seen; those beyond are told again each time."""


class TrailReader(FollowedSet):
    """Follows one trail. The methods block, and are called by one thread at a time."""

    checkpoint: TrailCheckpoint

    def __init__(
        self,
        path: Path,
        name: Format,
        checkpoint: TrailCheckpoint | None,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(path, monotonic=monotonic)
        self.checkpoint = TrailCheckpoint(format=name) if checkpoint is None else checkpoint
        self.checkpoint.folder = str(path.parent)
        self._wall = wall
        self._format = name
        self._recheck: _Recheck | None = None
        self._looked_at: Member | None = None
        self._is_touched = False

    def _records(self) -> LineRecords:
        return records_of(self._format)

    def step(self, seconds: float) -> bool:
        """Read on; and verify again at once what was changed without growing, which no appended entry does."""
        more = super().step(seconds)
        before, now = self._looked_at, self.newest
        self._looked_at = now
        if before is not None and now is not None and (before.inode, before.size) == (now.inode, now.size):
            self._is_touched |= before.changed_ns != now.changed_ns
        if self._is_touched and not more:
            self._is_touched = not self.verify_again(seconds)
            return self._is_touched
        return more

    def _first(self, files: Sequence[Member]) -> FilePosition:
        """The beginning of the oldest file; of one that was emptied after it was read, its own."""
        known = self.position
        if known is None or not self.checkpoint.counts.events:
            return super()._first(files)
        same = (each for each in files if (each.device, each.inode) == (known.device, known.inode))
        return position_in(next(same, files[-1]), 0)

    def _leave(self, file: Member, end: float) -> bool:
        """Verify all of the file that was read to its end once more, before it is out of sight."""
        del file
        return self.verify_again(end - time.monotonic())

    def _next_file(self, position: FilePosition) -> None:
        """Go on in the file that follows: its first entry must carry the hash of the last one of this."""
        point, known = self.checkpoint, self.checkpoint.chain
        point.bad_lines_before += known.bad_lines
        point.chain = replace(known, lines=0, bad_lines=0, bad_line="", anchor=known.newest, broken=None, breaks=0)
        point.position, point.seen = position, []
        self._recheck = None

    def _lost(self, files: Sequence[Member]) -> bool:
        """What was read to is in none of the files: cut, written anew, or rotated away while nobody read.

        False while the newest file is new and empty: nothing can be said of it yet.
        """
        point, known = self.checkpoint, self.checkpoint.chain
        assert point.position is not None
        # A file that begins as the one that was read is that one, with its end cut off.
        same = next((each for each in files if has_same_head(point.position, each)), None)
        current = same or files[-1]
        if not current.size and current.inode != point.position.inode:
            return False
        if same is None and (following := self._following(files)) is not None:
            # The set was rotated more than once, and the file that was read to its end is gone.
            self._next_file(position_in(following, 0))
            return True
        nowhere = Position(format=self._format, offset=current.size + 1, state=known)
        found = verify_file(current.path, self._format, after=nowhere)
        with open_member(current):
            pass  # it was that file that was verified
        if found.position is None:
            raise UnreadableFileError(found.reason)
        if known.newest and found.state.broken is None and found.state.anchor == known.anchor:
            # All that was read stands there as it was: it is the file that was read, under another identity.
            point.position = position_in(current, _end_of_line(current, known.lines))
        else:
            self._begin_again(files, current, found.state, found.position)
        return True

    def _begin_again(self, files: Sequence[Member], current: Member, found: ChainState, end: Position) -> None:
        """Note that what was read has changed, and go on behind it, or with what was not read yet."""
        point, known, broken = self.checkpoint, self.checkpoint.chain, found.broken
        is_same = bool(known.newest) and (found.anchor == known.anchor or broken is None)
        if broken is None and found.anchor != known.anchor:
            broken = Break(1, known.anchor, found.anchor or "no entry")
        first = current
        if point.position is not None and current.inode != point.position.inode:
            # What was written to since entries were taken last was not read yet.
            first = next((each for each in files if each.modified > point.modified and each.size), current)
        position = position_in(current, end.offset) if is_same else position_in(first, 0)
        if known.newest and broken is not None:
            self._note_breaks(current, [broken])
        point.bad_lines_before += known.bad_lines
        # The lines of the same file, changed, were counted before.
        point.chain = replace(end.state, bad_lines=0, broken=None, breaks=0) if is_same else ChainState()
        point.position, point.seen = position, point.seen if is_same else []

    def _following(self, files: Sequence[Member]) -> Member | None:
        """The file whose first entry follows the newest one that is known."""
        known = self.checkpoint.chain
        if not known.newest:
            return None
        expected = {FORMATS[self._format].following(known.newest), known.respelt} - {""}
        return next((each for each in files if self._anchor_of(each) in expected), None)

    def _anchor_of(self, file: Member) -> str:
        """What the first entry of a file carries; empty where it has none."""
        records, chain = self._records(), FORMATS[self._format]()
        try:
            for block in blocks(file, 0, BLOCK_BYTES, BLOCK_BYTES):
                for record in [*records.push(block), records.rest]:
                    if record and chain.feed(record):
                        break
        except UnreadableFileError:
            return ""
        return chain.state.anchor

    def _note_breaks(self, file: Member, breaks: Sequence[Break]) -> None:
        """Keep the first of the breaks that were not seen before."""
        point = self.checkpoint
        for each in breaks:
            if str(each) in point.seen:
                continue
            if len(point.seen) < _MOST_SEEN:
                point.seen.append(str(each))
            if point.broken is None:
                point.broken, point.broken_file = each, str(file.path)

    def _is_whole(self, rest: bytes) -> bool:
        """An event of several lines that ends with a line; a line without an end waits for it."""
        return self._format == "cloudhsm" and rest.endswith(b"\n")

    def _take(self, file: Member, records: list[bytes]) -> None:
        """Verify records and count their entries."""
        point, state = self.checkpoint, self.checkpoint.chain
        point.modified = file.modified
        chain = FORMATS[self._format](state)
        bad, breaks = state.bad_lines, state.breaks
        if any(record.endswith(b"\r") for record in records[:1]):
            records = [record.rstrip(b"\r") for record in records]
        chain.feed_all(records)
        if state.bad_lines != bad:
            records = [record for record in records if FORMATS[self._format](ChainState()).feed(record)]
        if state.breaks != breaks:
            if self._format == "cloudhsm":
                point.gaps += state.breaks - breaks
            else:
                self._note_breaks(file, chain.breaks)
            state.broken = None
        point.counts.add(self._entries(chain, records), self._wall())

    @staticmethod
    def _entries(chain: Chain, records: list[bytes]) -> list[Entry]:
        entries, decode = [], chain.decode
        for record in records:
            if record:
                try:
                    entries.append(decode(record))
                except (ValueError, RecursionError):
                    chain.state.bad_lines += 1
        return entries

    def verify_again(self, seconds: float = STEP_SECONDS) -> bool:
        """Verify what was read of the current file once more, for about so long: whether all of it is verified.

        What is changed in the middle of a file after it was read shows in no later link.
        """
        try:
            return self._verify_again(seconds)
        except ChangedSetError:
            return False

    def _verify_again(self, seconds: float) -> bool:
        point = self.checkpoint
        if point.position is None or self._format == "cloudhsm":
            return True
        found = find(point.position, members(self.path))
        if found is None:
            return True  # the next step finds out what became of it
        recheck = self._recheck
        if recheck is None:
            recheck = self._recheck = _Recheck(self._format, point.position.offset, replace(point.chain))
        if not recheck.step(found, seconds):
            return False
        self._recheck = None
        self._note_breaks(found, recheck.breaks)
        return True


def _end_of_line(file: Member, number: int) -> int:
    """The offset behind a line, by its number."""
    read, lines = 0, 0
    for block in blocks(file, 0, BLOCK_BYTES, file.size):
        at = -1
        while lines < number and (at := block.find(b"\n", at + 1)) >= 0:
            lines += 1
        if lines >= number:
            return read + at + 1
        read += len(block)
    return read


class _Recheck:
    """A second verification of what was read before, up to the newest entry then."""

    def __init__(self, name: Format, until: int, known: ChainState) -> None:
        self._known = known
        self._until = until
        self._offset = 0
        self._chain = FORMATS[name](ChainState(form=known.form))
        self._records = records_of(name)

    def step(self, file: Member, seconds: float) -> bool:
        """Whether it is over."""
        end = time.monotonic() + seconds
        with suppress(DamagedArchiveError):  # it was read up to there only
            for block in blocks(file, self._offset, BLOCK_BYTES, self._until - self._offset):
                self._offset += len(block)
                self._chain.feed_all(self._records.push(block))
                if time.monotonic() > end:
                    return False
        self._chain.feed(self._records.rest)
        return True

    @property
    def breaks(self) -> list[Break]:
        """The links that do not fit, and the first and the newest entry where they are others; empty if all is as it
        was.
        """
        state, known, found = self._chain.state, self._known, list(self._chain.breaks)
        if known.anchor and state.anchor != known.anchor:
            found.insert(0, Break(1, known.anchor, state.anchor or "no entry"))
        if not found and state.newest != known.newest and not known.unverifiable_line:
            found.append(Break(known.lines, known.newest, state.newest or "no entry"))
        return found
