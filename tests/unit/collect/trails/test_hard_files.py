"""Trails in files as they are in bad moments: half rotated, half compressed, half written, or written by an enemy."""

from __future__ import annotations

import gzip
import json
import os
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent import codec
from hsm_agent.collect.rotated_set import ChangedSetError, blocks, members, rotation
from hsm_agent.collect.trails.chain import TrailVerdict
from hsm_agent.collect.trails.checkpoint import TrailCheckpoint, trail_readings
from hsm_agent.collect.trails.formats import known_format
from hsm_agent.collect.trails.reader import TrailReader
from tests.peers.trails import CratonWriter, DocumentedWriter, cloudhsm_event

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NOW = 1_795_300_000.0


def _append(path: Path, lines: Iterable[bytes]) -> None:
    with path.open("ab") as file:
        file.writelines(lines)


def _reader(path: Path, checkpoint: TrailCheckpoint | None = None, name: str = "craton") -> TrailReader:
    ticks = count(step=2.0)
    clocks: dict[str, Any] = {"wall": lambda: NOW, "monotonic": lambda: next(ticks)}
    return TrailReader(path, known_format(name), checkpoint, **clocks)


def _read(reader: TrailReader) -> TrailReader:
    for _ in range(2):  # what is at the end of a file that was rotated is complete when it is seen twice
        while reader.step(1.0):
            pass
    return reader


def _restarted(reader: TrailReader, path: Path) -> TrailReader:
    return _reader(path, codec.from_bytes(TrailCheckpoint, codec.to_bytes(reader.checkpoint)))


def _found(reader: TrailReader) -> tuple[int, int, str]:
    point = reader.checkpoint
    return sum(point.counts.events.values()), point.bad_lines, point.verdict.value


def _verified_again(reader: TrailReader) -> TrailReader:
    while not reader.verify_again():
        pass
    return reader


def test_a_file_that_is_just_being_compressed_is_read_once(tmp_path: Path) -> None:
    path, rotated, writer = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1", CratonWriter()
    _append(path, writer.lines(200))
    reader = _read(_reader(path))
    path.rename(rotated)
    _append(path, writer.lines(3))
    packed = gzip.compress(rotated.read_bytes())
    for part in (packed[: len(packed) // 2], packed):
        rotated.with_name("audit.jsonl.1.gz").write_bytes(part)
        assert _found(_read(reader)) == (203, 0, "intact")
    rotated.unlink()
    _append(path, writer.lines(2))
    assert _found(_read(reader)) == (205, 0, "intact")


def test_an_archive_that_cannot_be_unpacked_holds_nothing_up(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    packed = gzip.compress(b"".join(writer.lines(2000)))
    path.with_name("audit.jsonl.1.gz").write_bytes(packed[:-3000])
    _append(path, writer.lines(3))
    reader = _reader(path)
    reader.step(1.0)

    assert "audit.jsonl.1.gz: cannot be unpacked" in reader.trouble
    entries, _, verdict = _found(_read(reader))
    assert (entries >= 3, verdict) == (True, "broken")


def test_a_file_that_was_rotated_without_a_line_is_passed_over(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path, writer.lines(10))
    reader = _read(_reader(path))
    path.rename(tmp_path / "audit.jsonl.2")
    (tmp_path / "audit.jsonl.1").touch()
    _append(path, writer.lines(5))
    assert _found(_read(reader)) == (10, 0, "intact")  # it may be a copy that is still to be written
    os.utime(tmp_path / "audit.jsonl.1", (NOW - 1e6, NOW - 1e6))

    assert _found(_read(reader)) == (15, 0, "intact")


def test_a_line_may_be_completed_after_its_file_was_renamed(tmp_path: Path) -> None:
    path, rotated, writer = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1", CratonWriter()
    _append(path, writer.lines(10))
    line = writer.line()
    _append(path, [line[:50]])
    reader = _read(_reader(path))
    path.rename(rotated)
    path.touch()
    _read(reader)
    _append(rotated, [line[50:]])
    _append(path, writer.lines(2))

    assert _found(_read(reader)) == (13, 0, "intact")


def test_the_last_line_of_a_rotated_file_needs_no_end(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path, [*writer.lines(10), writer.line()[:-1]])
    reader = _read(_reader(path))
    path.rename(tmp_path / "audit.jsonl.1")
    _append(path, writer.lines(2))

    assert _found(_read(reader)) == (13, 0, "intact")


@pytest.mark.parametrize("spaced", [False, True])
def test_a_documented_trail_may_come_line_by_line(tmp_path: Path, *, spaced: bool) -> None:
    path, writer = tmp_path / "audit.jsonl", DocumentedWriter(spaced=spaced)
    reader = _reader(path, name="craton-documented")
    for _ in range(4):
        _append(path, [writer.line()])
        _read(reader)

    assert _found(_verified_again(reader)) == (4, 0, "intact")


@pytest.mark.parametrize("every", [1, 2])
def test_lines_may_end_as_on_windows(tmp_path: Path, every: int) -> None:
    path = tmp_path / "audit.jsonl"
    lines = enumerate(CratonWriter().lines(10))
    _append(path, [line if index % every else line.replace(b"\n", b"\r\n") for index, line in lines])

    assert _found(_verified_again(_read(_reader(path)))) == (10, 0, "intact")


@pytest.mark.parametrize("written", ["1" + "0" * 400, "NaN", "-Infinity", "1e400", "true", "-5", '"x"'])
def test_no_time_that_a_trail_has_can_spoil_the_checkpoint(tmp_path: Path, written: str) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    payload = (
        '{"format_version":0,"timestamp":%s,"session_handle":1,"operation":"Logout","key_id":null,"result":"Success"}'
    )
    _append(path, [writer.link((payload % written).encode())])
    reader = _read(_reader(path))

    assert _found(reader) == (1, 0, "intact")
    assert reader.checkpoint.counts.last_entry is None
    assert "NaN" not in codec.dump(codec.encode(reader.checkpoint))


def test_a_break_that_was_forgotten_is_not_told_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = list(CratonWriter().lines(20))
    _append(path, [*lines[:3], *lines[4:10], *lines[11:]])
    reader = _read(_reader(path))
    assert reader.checkpoint.forget_break()

    assert _found(_verified_again(reader))[2] == "intact"
    path.write_bytes(path.read_bytes().replace(b'"session_handle":1', b'"session_handle":7', 1))
    assert _found(_verified_again(_restarted(_read(reader), path)))[2] == "broken"


def test_rotations_while_nobody_read_may_remove_what_was_read(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path, writer.lines(10))
    reader = _read(_reader(path))
    path.unlink()
    for name in ("audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"):
        _append(tmp_path / name, writer.lines(5))

    assert _found(_read(_restarted(reader, path))) == (25, 0, "intact")


def test_a_line_without_an_end_holds_nothing_up(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    _append(path, [*writer.lines(3), b"x" * (3 << 20)])
    reader = _read(_reader(path))
    assert _found(reader) == (3, 1, "intact")
    reader = _restarted(reader, path)
    _append(path, [b"y" * (1 << 20), b"\n", *writer.lines(3)])

    assert _found(_verified_again(_read(reader))) == (6, 1, "intact")


def test_a_newest_line_that_is_edited_is_found_without_waiting(tmp_path: Path) -> None:
    path, lines = tmp_path / "audit.jsonl", list(CratonWriter().lines(10))
    _append(path, lines)
    reader = _verified_again(_read(_reader(path)))
    changed = b"".join(lines[:-1]) + lines[-1].replace(b'"session_handle":1', b'"session_handle":9')
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:  # the clock of a file system ticks 250 times a second
        path.write_bytes(changed)

    assert _found(_read(reader))[2] == "broken"


def test_the_anchor_is_part_of_what_was_read(tmp_path: Path) -> None:
    path, lines = tmp_path / "audit.jsonl", list(DocumentedWriter().lines(6))
    _append(path, lines)
    reader = _read(_reader(path, name="craton-documented"))
    path.write_bytes(b"".join([lines[0].replace(b"0" * 64, b"1" * 64), *lines[1:]]))

    assert _found(_read(reader)) == (6, 0, "broken")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cloudhsm", cloudhsm_event(0, response="0: a" + " " * 50_000 + "b") + cloudhsm_event(1)),
        ("craton-documented", b"{" + b" " * 50_000 + b"}\n"),
        ("craton", CratonWriter().link(b'{"format_version":0,"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}")),
    ],
)
def test_no_line_takes_for_ever(tmp_path: Path, name: str, line: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    _append(path, [line])
    began = time.process_time()
    _read(_reader(path, name=name))

    assert time.process_time() - began < 1.0


def test_a_file_that_is_not_there_yet_has_no_namesakes(tmp_path: Path) -> None:
    _append(tmp_path / "hsm-2", CratonWriter().lines(5))
    reader = _read(_reader(tmp_path / "hsm-1"))

    assert (reader.is_there, _found(reader)) == (False, (0, 0, "intact"))


def test_what_took_a_file_s_name_meanwhile_is_not_read_for_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"a" * 100)
    (known,) = members(path)
    path.rename(tmp_path / "audit.jsonl.1")
    path.write_bytes(b"b" * 200)

    with pytest.raises(ChangedSetError):
        list(blocks(known, 50, 100, 1000))


def test_a_date_may_be_followed_by_seconds(tmp_path: Path) -> None:
    names = ["a.log-20261128-1795843000", "a.log-20261128-1795843600.gz", "a.log-20261129", "a.log"]
    found = [rotation(tmp_path / name) for name in names]

    assert {stem for stem, _ in found} == {tmp_path / "a.log"}
    assert sorted(found, key=lambda each: -each[1]) == found


def test_a_clock_that_is_set_back_hides_no_silence() -> None:
    point = TrailCheckpoint(format="craton")
    point.counts.last_entry = NOW + 86400
    point.counts.failed_logins = {"1": [NOW + 86400] * 4}
    point.counts.end_at(NOW)

    assert point.counts.last_entry == NOW
    assert point.counts.most_failed_logins(NOW + 700) == (0, "")
    assert json.loads(codec.to_bytes(point))["counts"]["last_entry"] == NOW
    assert point.verdict is TrailVerdict.INTACT


def test_a_reboot_counter_that_is_none_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "hsm.log"
    _append(path, [cloudhsm_event(number, reboots=2**64 - 1) for number in range(2)])
    point = _read(_reader(path, name="cloudhsm")).checkpoint
    shown = {each.metric for each in trail_readings("s", "r", point, now=NOW, silent_after=None)}

    assert "trail_bad_lines_total" in shown
    assert "trail_reboots" not in shown


def test_a_file_that_was_emptied_does_not_make_its_rotated_ones_be_read_again(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    for name in ("audit.jsonl.1", "audit.jsonl"):
        _append(tmp_path / name, writer.lines(5))
    reader = _read(_reader(path))
    path.write_bytes(b"")
    _read(reader)
    reader = _restarted(reader, path)
    _append(path, writer.lines(2))

    assert _found(_read(reader)) == (12, 0, "broken")
