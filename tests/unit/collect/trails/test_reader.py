"""A trail that is followed: every line once, and every change of what was read."""

from __future__ import annotations

import gzip
import shutil
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent import codec
from hsm_agent.collect.trails.chain import TrailVerdict
from hsm_agent.collect.trails.checkpoint import TrailCheckpoint
from hsm_agent.collect.trails.formats import LineRecords, known_format
from hsm_agent.collect.trails.reader import TrailReader
from tests.peers.trails import CratonWriter, cloudhsm_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_795_300_000.0


def _append(path: Path, lines: list[bytes]) -> None:
    with path.open("ab") as file:
        file.writelines(lines)


def _read(reader: TrailReader) -> TrailReader:
    while reader.step(1.0):
        pass
    return reader


def _reader(path: Path, checkpoint: TrailCheckpoint | None = None, name: str = "craton") -> TrailReader:
    ticks = count(step=2.0)
    clocks: dict[str, Any] = {"wall": lambda: NOW, "monotonic": lambda: next(ticks)}
    return _read(TrailReader(path, known_format(name), checkpoint, **clocks))


def _restarted(reader: TrailReader, path: Path) -> TrailReader:
    """As another process finds it: by its checkpoint on disk."""
    stored = codec.to_bytes(reader.checkpoint)
    return _reader(path, codec.from_bytes(TrailCheckpoint, stored))


def _counted(reader: TrailReader) -> int:
    return sum(reader.checkpoint.counts.events.values())


def test_a_trail_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    reader = _reader(path)
    before = reader.is_there
    _append(path, list(CratonWriter().lines(3)))
    _read(reader)

    assert (before, reader.is_there) == (False, True)
    assert (_counted(reader), reader.checkpoint.verdict) == (3, TrailVerdict.INTACT)


def test_lines_are_counted_once_as_they_are_written(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    reader = _reader(path)
    for number in range(1, 30):
        _append(path, [writer.line("Logout")])
        _read(reader)
        reader = _restarted(reader, path) if number % 3 == 0 else reader
        assert reader.checkpoint.counts.events == {"Logout\tSUCCESS": number}
    assert reader.checkpoint.verdict is TrailVerdict.INTACT


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    whole, half = writer.line("Logout"), writer.line("Login")
    _append(path, [whole, half[:40]])
    reader = _reader(path)
    assert (_counted(reader), reader.checkpoint.bad_lines) == (1, 0)
    reader = _restarted(reader, path)
    _append(path, [half[40:-1]])
    _read(reader)
    assert (_counted(reader), reader.checkpoint.bad_lines) == (1, 0)
    _append(path, [b"\n"])
    _read(reader)

    assert (_counted(reader), reader.checkpoint.bad_lines, reader.checkpoint.verdict) == (2, 0, TrailVerdict.INTACT)


def test_a_line_that_is_no_entry_is_counted_and_quoted(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path, [writer.line(), b"\x00\x1b[31m nonsense\n", writer.line()])
    reader = _reader(path)

    assert (_counted(reader), reader.checkpoint.bad_lines, reader.checkpoint.verdict) == (2, 1, TrailVerdict.INTACT)
    assert "nonsense" in reader.checkpoint.chain.bad_line
    assert reader.checkpoint.chain.bad_line.isprintable()


def _renamed(path: Path) -> None:
    if path.with_name("audit.jsonl.1").exists():
        path.with_name("audit.jsonl.1").rename(path.with_name("audit.jsonl.2"))
    path.rename(path.with_name("audit.jsonl.1"))
    path.touch()


def _copied(path: Path) -> None:
    if path.with_name("audit.jsonl.1").exists():
        path.with_name("audit.jsonl.1").rename(path.with_name("audit.jsonl.2"))
    shutil.copyfile(path, path.with_name("audit.jsonl.1"))
    path.write_bytes(b"")


def _compressed(path: Path) -> None:
    path.with_name("audit.jsonl-20261128.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    path.touch()


@pytest.mark.parametrize("rotate", [_renamed, _copied, _compressed])
@pytest.mark.parametrize("unread", [0, 5])
@pytest.mark.parametrize("restart", [False, True])
def test_a_rotation_loses_no_line_and_counts_none_twice(
    tmp_path: Path, rotate: Callable[[Path], None], unread: int, *, restart: bool
) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path, list(writer.lines(10)))
    reader = _reader(path)
    _append(path, list(writer.lines(unread)))
    rotate(path)
    if restart:
        reader = _restarted(reader, path)
    _append(path, list(writer.lines(4)))
    _read(reader)

    assert (_counted(reader), reader.checkpoint.bad_lines, reader.checkpoint.verdict) == (
        14 + unread,
        0,
        TrailVerdict.INTACT,
    )


@pytest.mark.parametrize("rotate", [_renamed, _copied])
def test_two_rotations_while_nobody_read_lose_no_line(tmp_path: Path, rotate: Callable[[Path], None]) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path, list(writer.lines(10)))
    reader = _reader(path)
    for _ in range(2):
        _append(path, list(writer.lines(7)))
        rotate(path)
    _append(path, list(writer.lines(1)))
    reader = _restarted(reader, path)

    assert (_counted(reader), reader.checkpoint.verdict) == (25, TrailVerdict.INTACT)


class _Overtaken(TrailReader):
    """A reader that finds something done to the files each time after it listed them, before it opens one."""

    def __init__(self, path: Path, deeds: list[Callable[[], object]]) -> None:
        super().__init__(path, "craton", None)
        self._deeds = deeds

    def _records(self) -> LineRecords:
        if self._deeds:
            self._deeds.pop(0)()
        return super()._records()


def test_a_file_that_grows_while_it_is_read_is_still_that_file(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path, list(writer.lines(3)))
    reader = _read(_Overtaken(path, [lambda: _append(path, list(writer.lines(4)))] * 5))

    assert (_counted(reader), reader.checkpoint.chain.entries) == (23, 23)
    assert reader.checkpoint.verdict is TrailVerdict.INTACT


def test_a_file_that_is_rotated_between_two_looks_is_read_under_its_new_name(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path, list(writer.lines(3)))

    def rotate() -> None:
        for number in range(len(list(tmp_path.iterdir())) - 1, 0, -1):
            path.with_name(f"audit.jsonl.{number}").rename(path.with_name(f"audit.jsonl.{number + 1}"))
        path.rename(path.with_name("audit.jsonl.1"))
        _append(path, list(writer.lines(2)))

    reader = _read(_Overtaken(path, [rotate] * 6))

    assert len(list(tmp_path.iterdir())) == 7
    assert _counted(reader) == 3 + 6 * 2
    assert reader.checkpoint.verdict is TrailVerdict.INTACT


def test_a_file_that_is_just_being_compressed_is_read_once(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path.with_name("audit.jsonl.1"), list(writer.lines(3)))
    _append(path, list(writer.lines(2)))
    whole = gzip.compress(path.with_name("audit.jsonl.1").read_bytes())
    path.with_name("audit.jsonl.1.gz").write_bytes(whole[:50])
    reader = _reader(path)
    path.with_name("audit.jsonl.1.gz").write_bytes(whole)
    path.with_name("audit.jsonl.1").unlink()
    _append(path, list(writer.lines(1)))
    reader = _read(_restarted(reader, path))

    assert (_counted(reader), reader.checkpoint.verdict) == (6, TrailVerdict.INTACT)


def test_a_set_that_was_rotated_before_is_read_from_its_oldest_file(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter(anchor=b"\x07" * 32)
    for _ in range(2):
        _append(path, list(writer.lines(7)))
        _renamed(path)
    _append(path, list(writer.lines(1)))

    assert (_counted(_reader(path)), _reader(path).checkpoint.verdict) == (15, TrailVerdict.INTACT)


LINES = list(CratonWriter().lines(20))


def _forged(lines: list[bytes]) -> list[bytes]:
    """A whole history with every hash made anew, one entry left out."""
    writer = CratonWriter()
    return [writer.link(line[: line.index(b',"previous_hash"')] + b"}") for line in (*lines[:5], *lines[6:])]


def _edited(lines: list[bytes], at: int) -> list[bytes]:
    changed = list(lines)
    changed[at] = lines[at].replace(b'"session_handle":1', b'"session_handle":9')
    assert changed != lines
    return changed


FORGERIES = {
    "the last line edited": _edited(LINES, 19),
    "an early line edited": _edited(LINES, 2),
    "two lines swapped": [*LINES[:7], LINES[8], LINES[7], *LINES[9:]],
    "a line deleted": [*LINES[:7], *LINES[8:]],
    "the tail cut": LINES[:15],
    "a forged history": _forged(LINES),
    "a forged history that is longer": _forged([*LINES, *LINES[:9]]),
}


@pytest.mark.parametrize("lines", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_what_was_read_cannot_be_changed_unseen(
    tmp_path: Path, lines: list[bytes], *, restart: bool, in_place: bool
) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(LINES))
    reader = _reader(path)
    assert reader.checkpoint.verdict is TrailVerdict.INTACT
    if not in_place:
        path.unlink()
        tmp_path.joinpath("fills the inode").touch()
    path.write_bytes(b"".join(lines))
    if restart:
        reader = _restarted(reader, path)
    _read(reader)
    while not reader.verify_again():
        pass

    broken = reader.checkpoint.broken
    assert broken is not None
    assert broken.line >= 1
    assert broken.expected != broken.found
    assert _restarted(reader, path).checkpoint.verdict is TrailVerdict.BROKEN
    assert reader.checkpoint.forget_break()
    assert reader.checkpoint.verdict is TrailVerdict.INTACT


@pytest.mark.parametrize("lines", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("restart", [False, True])
def test_nor_can_what_was_rotated_before_the_next_entry_came(
    tmp_path: Path, lines: list[bytes], *, restart: bool
) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    path.write_bytes(b"".join(writer.lines(20)))
    reader = _reader(path)
    path.write_bytes(b"".join(lines))
    _renamed(path)
    _append(path, [writer.line()])
    if restart:
        reader = _restarted(reader, path)
    _read(reader)
    while not reader.verify_again():
        pass

    if lines == FORGERIES["an early line edited"]:
        # The file that holds it is read to its end and not looked at again: `audit verify` over the set shows it.
        return
    assert reader.checkpoint.verdict is TrailVerdict.BROKEN


def test_events_of_a_cloudhsm_are_whole_once_nothing_follows(tmp_path: Path) -> None:
    path = tmp_path / "hsm-abc.log"
    _append(path, [cloudhsm_event(0), cloudhsm_event(1), cloudhsm_event(3)])
    reader = _reader(path, name="cloudhsm")
    _read(reader)

    assert _counted(reader) == 3
    assert (reader.checkpoint.gaps, reader.checkpoint.verdict) == (1, TrailVerdict.INTACT)
    _append(path, [cloudhsm_event(4, response="163:HSM Error: RET_USER_LOGIN_FAILURE")])
    _read(reader)
    _read(reader)
    assert reader.checkpoint.counts.events == {"CN_LOGIN\tSUCCESS": 3, "CN_LOGIN\tRET_USER_LOGIN_FAILURE": 1}
