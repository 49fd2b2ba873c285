"""One trail that is followed: its rotated set is read on, verified and counted, with a checkpoint. Blocks on the disk.

The checkpoint holds the position, the chain and the counts together and is written whole, so that a line is counted
once, whenever the process ends. It also holds the hash of the newest entry, which no later line vouches for yet: where
the file does not hold that entry any more, its end was cut off or its history was written anew.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.collect.followed_file import (
    BLOCK_BYTES,
    STEP_SECONDS,
    ChangedSetError,
    FilePosition,
    FollowedSet,
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

QUIET_SECONDS = 1.0
"""After so long an event of several lines is taken for complete."""


class TrailReader(FollowedSet):
    """Follows one trail. The methods block, and are called by one thread at a time."""

    def __init__(
        self,
        path: Path,
        name: Format,
        checkpoint: TrailCheckpoint | None,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(path)
        self.checkpoint = TrailCheckpoint(format=name) if checkpoint is None else checkpoint
        self._wall = wall
        self._monotonic = monotonic
        self._format = name
        self._end = (0, 0)
        self._end_since = 0.0
        self._recheck: _Recheck | None = None

    @property
    def position(self) -> FilePosition | None:
        """How far the trail was read."""
        return self.checkpoint.position

    @position.setter
    def position(self, position: FilePosition) -> None:
        self.checkpoint.position = position

    def _records(self) -> LineRecords:
        return records_of(self._format)

    def _leave(self, file: Member, end: float) -> bool:
        """Verify all of the file that was read to its end once more, before it is out of sight."""
        del file
        return self.verify_again(end - time.monotonic())

    def _next_file(self, file: Member) -> None:
        """Go on in the file that follows: its first entry must carry the hash of the last one of this."""
        point, known, position = self.checkpoint, self.checkpoint.chain, position_in(file, 0)
        point.bad_lines_before += known.bad_lines
        point.chain = replace(known, lines=0, bad_lines=0, bad_line="", anchor=known.newest, broken=None, breaks=0)
        point.position = position
        self._recheck = None

    def _lost(self, files: Sequence[Member]) -> bool:
        """What was read to is in none of the files: cut, written anew, or rotated away while nobody read.

        False while the newest file is new and empty: nothing can be said of it yet.
        """
        point, known = self.checkpoint, self.checkpoint.chain
        assert point.position is not None
        # A file that begins as the one that was read is that one, with its end cut off.
        current = next((each for each in files if has_same_head(point.position, each)), files[-1])
        if not current.size and current.inode != point.position.inode:
            return False
        nowhere = Position(format=self._format, offset=current.size + 1, state=known)
        found = verify_file(current.path, self._format, after=nowhere)
        with open_member(current):
            pass  # it was that file that was verified
        if found.position is None:
            raise UnreadableFileError(found.reason)
        if known.newest and found.state.anchor == FORMATS[self._format].following(known.newest):
            # The set was rotated more than once, and the file that was read to its end is gone.
            self._next_file(current)
            return True
        is_same = bool(known.newest) and found.state.anchor == known.anchor
        position = position_in(current, found.position.offset if is_same else 0)
        if known.newest and found.state.broken is not None:
            self._note_break(current, found.state.broken)
        point.bad_lines_before += known.bad_lines
        # The lines of the same file, changed, were counted before.
        point.chain = replace(found.position.state, bad_lines=0, broken=None, breaks=0) if is_same else ChainState()
        point.position = position
        return True

    def _note_break(self, file: Member, broken: Break) -> None:
        if self.checkpoint.broken is None:
            self.checkpoint.broken, self.checkpoint.broken_file = broken, str(file.path)

    def _is_finished(self, file: Member, read: int, *, is_last: bool, rest: bytes) -> bool:
        """Whether what stands at a file's end is all there will be of it.

        In a file that is still written, a line without an end waits; an event that ends with a line waits until
        nothing came for a while.
        """
        if (file.inode, read) != self._end:
            self._end, self._end_since = (file.inode, read), self._monotonic()
        if not is_last:
            return True
        is_quiet = self._monotonic() - self._end_since >= QUIET_SECONDS
        return self._format == "cloudhsm" and rest.endswith(b"\n") and is_quiet

    def _take(self, file: Member, records: list[bytes]) -> None:
        """Verify records and count their entries."""
        point, state = self.checkpoint, self.checkpoint.chain
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
            elif state.broken is not None:
                self._note_break(file, state.broken)
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
        if recheck.broken is not None:
            self._note_break(found, recheck.broken)
        return True


class _Recheck:
    """A second verification of what was read before, up to the newest entry then."""

    def __init__(self, name: Format, until: int, known: ChainState) -> None:
        self._known = known
        self._until = until
        self._offset = 0
        self._chain = FORMATS[name](ChainState(form=known.form))
        self._name: Format = name

    def step(self, file: Member, seconds: float) -> bool:
        """Whether it is over."""
        end = time.monotonic() + seconds
        records, read = records_of(self._name), self._offset
        for block in blocks(file, self._offset, BLOCK_BYTES, self._until - self._offset):
            read += len(block)
            self._chain.feed_all(records.push(block))
            self._offset = read - len(records.rest)
            if time.monotonic() > end:
                return False
        return True

    @property
    def broken(self) -> Break | None:
        """The first link that does not fit, or the newest entry where it is another one; None if all is as it was."""
        state, known = self._chain.state, self._known
        if state.broken is not None or state.newest == known.newest or known.unverifiable_line:
            return state.broken
        return Break(known.lines, known.newest, state.newest or "no entry")
