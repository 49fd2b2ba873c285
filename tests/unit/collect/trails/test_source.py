"""What the source of audit trails publishes, and when."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.base import CollectorContext, Poll, SourceFailure
from hsm_agent.collect.trails.source import (
    GONE_AFTER_SECONDS,
    MOST_TRAILS,
    RETIRED_AFTER_SECONDS,
    AuditTrailCollector,
    AuditTrailSettings,
    trails_of,
    writable_warning,
)
from tests.peers.trails import CratonWriter, cloudhsm_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hsm_agent.model import Reading

NOW = 1_795_224_900.0


class _Clocks:
    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.wall = NOW


def _collector(tmp_path: Path, clocks: _Clocks, **keys: Any) -> AuditTrailCollector:
    wanted = {
        "name": "craton",
        "kind": "audit_trail",
        "format": "craton",
        "path": str(tmp_path / "audit.jsonl"),
        **keys,
    }
    settings = AuditTrailSettings.model_validate(wanted)
    (tmp_path / "state").mkdir(exist_ok=True)
    context = CollectorContext(state_directory=tmp_path / "state")
    assert settings.path is not None
    return AuditTrailCollector(
        settings, settings.path, context, monotonic=lambda: clocks.monotonic, wall=lambda: clocks.wall
    )


def _values(poll: Poll) -> dict[str, Reading]:
    return {
        f"{each.metric}{{{','.join(value for _, value in each.labels)}}}" if each.labels else each.metric: each
        for each in poll.readings
    }


async def test_a_trail_is_intact_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clocks, path = _Clocks(), tmp_path / "audit.jsonl"
    collector = _collector(tmp_path, clocks)
    await collector.poll()
    clocks.monotonic += 60
    clocks.wall += 7
    first = _values(await collector.poll())
    assert first["trail_age_seconds"].value == 7
    clocks.wall -= 7
    assert [record.getMessage() for record in caplog.records] == [
        f"source craton: {path} is not there yet: waiting for it"
    ]
    assert first["trail_chain_intact"].reason == "the file is not there yet"
    writer = CratonWriter()
    path.write_bytes(
        writer.line({"Login": {"user_type": 1}}) + writer.line({"Login": {"user_type": 1}}, {"Failure": 160})
    )
    second = await collector.poll()

    values = {name: each.value for name, each in _values(second).items()}
    assert values == {
        "trail_chain_intact": 1,
        "trail_events_total{Login,SUCCESS}": 1,
        "trail_events_total{Login,CKR_PIN_INCORRECT}": 1,
        "trail_failed_logins_total": 1,
        "trail_session_failed_logins": 1,
    }
    assert second.next_in_seconds == 1.0
    assert (await collector.poll()).readings == ()
    clocks.monotonic += 60
    everything = await collector.poll()
    assert everything.complete
    assert len(everything.readings) == 8
    assert _values(everything)["trail_age_seconds"].value == pytest.approx(NOW - 1_795_224_849.258, abs=0.01)


async def test_a_break_is_shown_until_an_operator_has_seen_it(tmp_path: Path) -> None:
    clocks, path = _Clocks(), tmp_path / "audit.jsonl"
    lines = list(CratonWriter().lines(5))
    path.write_bytes(b"".join((*lines[:2], *lines[3:])))
    collector = _collector(tmp_path, clocks)
    broken = _values(await collector.poll())["trail_chain_intact"]
    assert broken.value == 0
    assert "line 3" in broken.note
    assert not await collector.forget("other")
    assert await collector.forget("audit.jsonl")
    assert _values(await collector.poll())["trail_chain_intact"].value == 1


async def test_counts_go_on_after_a_restart(tmp_path: Path) -> None:
    path, writer = tmp_path / "audit.jsonl", CratonWriter()
    path.write_bytes(writer.line("Logout"))
    await _collector(tmp_path, _Clocks()).poll()
    path.write_bytes(path.read_bytes() + writer.line("Logout"))
    after = _values(await _collector(tmp_path, _Clocks()).poll())

    assert after["trail_events_total{Logout,SUCCESS}"].value == 2


async def test_a_folder_that_may_not_be_read_is_an_error_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.mkdir()
    (path / "x").touch()
    collector = _collector(tmp_path, _Clocks(), path=str(path / "x" / "audit.jsonl"))
    with pytest.raises(SourceFailure, match="Not a directory"):
        await collector.poll()


async def test_each_file_of_a_glob_is_a_trail_and_is_retired_a_day_after_it_went(tmp_path: Path) -> None:
    clocks = _Clocks()
    for name in ("hsm-a.log", "hsm-b.log"):
        (tmp_path / name).write_bytes(cloudhsm_event(0) + cloudhsm_event(2, "CN_BACKUP_END (0x0)", seconds=NOW - 50))
    collector = _collector(tmp_path, clocks, path=str(tmp_path / "hsm-*.log"), format="cloudhsm")
    assert "trail_sequence_gaps_total" in _values(await collector.poll())
    clocks.monotonic += 1
    poll = await collector.poll()
    found = {(each.resource, each.metric): each.value for each in poll.readings}
    assert found["hsm-a.log", "trail_sequence_gaps_total"] == found["hsm-b.log", "trail_sequence_gaps_total"] == 1
    assert found["hsm-a.log", "trail_backup_age_seconds"] == 50
    (tmp_path / "hsm-a.log").unlink()
    clocks.monotonic += 10
    assert (await collector.poll()).gone == ()
    clocks.monotonic += RETIRED_AFTER_SECONDS
    assert (await collector.poll()).gone == ("hsm-a.log",)


def test_a_path_names_one_trail_and_a_glob_one_for_each_set(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.jsonl.1", "a.jsonl.2.gz", "b.jsonl.1", "c-20261128.jsonl", "c-20261127.jsonl", "other"):
        (tmp_path / name).touch()

    assert trails_of(tmp_path / "x.jsonl") == [tmp_path / "x.jsonl"]
    assert [path.name for path in trails_of(tmp_path / "*.jsonl*")] == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert trails_of(tmp_path / "nothing" / "*.jsonl") == []


def test_a_glob_in_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="path: only the file's name"):
        _collector(tmp_path, _Clocks(), path="/var/log/*/audit.jsonl")


def test_a_file_that_the_agent_could_write_is_warned_of_unless_it_is_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    path.touch(0o644)
    uid = path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert writable_warning(path) == ""
    monkeypatch.setattr("os.geteuid", lambda: uid or 4711)
    path.chmod(0o666)
    assert "can be written" in writable_warning(path)
    path.chmod(0o444)
    assert writable_warning(path) == ""


async def test_a_trail_that_is_gone_is_an_error_of_the_source(tmp_path: Path) -> None:
    clocks, path = _Clocks(), tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(CratonWriter().lines(3)))
    collector = _collector(tmp_path, clocks)
    await collector.poll()
    path.unlink()
    await collector.poll()
    clocks.monotonic += GONE_AFTER_SECONDS + 1

    with pytest.raises(SourceFailure, match="it is gone"):
        await collector.poll()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path)])
async def test_what_is_no_file_is_an_error_of_the_source(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "audit.jsonl")

    with pytest.raises(SourceFailure, match=r"not a regular file|symbolic links"):
        await _collector(tmp_path, _Clocks()).poll()


async def test_another_path_begins_anew(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audit.jsonl").write_bytes(b"".join(CratonWriter(name.encode() * 32).lines(3)))
    await _collector(tmp_path, _Clocks(), path=str(tmp_path / "a" / "audit.jsonl")).poll()
    moved = _values(await _collector(tmp_path, _Clocks(), path=str(tmp_path / "b" / "audit.jsonl")).poll())
    named = await _collector(tmp_path, _Clocks(), path=str(tmp_path / "b" / "other.jsonl")).poll()

    assert moved["trail_chain_intact"].value == 1
    assert {each.resource for each in named.readings} == {"other.jsonl"}


async def test_names_that_cannot_be_shown_are_not_followed(tmp_path: Path) -> None:
    writer = CratonWriter()
    for name in ("a.jsonl", "a\x1b[2J.jsonl", "a\udcff.jsonl"):
        (tmp_path / name).write_bytes(writer.line())
    poll = await _collector(tmp_path, _Clocks(), path=str(tmp_path / "*.jsonl")).poll()

    assert {each.resource for each in poll.readings} == {"a.jsonl"}


async def test_trails_beyond_the_most_are_told(tmp_path: Path) -> None:
    for number in range(MOST_TRAILS + 1):
        (tmp_path / f"hsm-{number:03}.log").write_bytes(cloudhsm_event(0))
    collector = _collector(tmp_path, _Clocks(), path=str(tmp_path / "*.log"), format="cloudhsm")
    poll = await collector.poll()

    assert poll.errors == (f"65 trails match {tmp_path / '*.log'}, and only the first 64 are followed",)


async def test_readings_go_on_where_no_checkpoint_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_bytes(CratonWriter().line())
    collector = _collector(tmp_path, _Clocks())
    (tmp_path / "state").rmdir()
    poll = await collector.poll()

    assert _values(poll)["trail_chain_intact"].value == 1
    assert poll.errors == ("the checkpoint cannot be kept: No such file or directory",)


def test_a_folder_that_is_none_is_said_before_the_agent_starts(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    settings = AuditTrailSettings.model_validate(
        {"name": "a", "kind": "audit_trail", "format": "craton", "path": str(tmp_path / "x" / "*.jsonl")}
    )

    assert list(settings.about())[1] == f"WARNING: {tmp_path / 'x'} cannot be read: Not a directory"
