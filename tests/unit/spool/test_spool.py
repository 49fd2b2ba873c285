"""The spool as the agent uses it, on real files."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from hsm_agent.model import Severity
from hsm_agent.spool import Registered, Spool, SpoolStats
from hsm_agent.state.files import DirectoryInUseError
from tests.fakes.events import changed, cleared, plain, raised

if TYPE_CHECKING:
    from pathlib import Path


async def _open(directory: Path, *, entries: int = 1000, sinks: tuple[str, ...] = ("noc",)) -> Spool:
    spool = await Spool.open(directory, entries=entries, size_bytes=10**7, clock=lambda: 1000.0, retry_seconds=0.01)
    await spool.register(dict.fromkeys(sinks), ())
    return spool


async def _ids(spool: Spool, sink: str = "noc") -> list[str]:
    return [entry.event.event_id for entry in await spool.pending(sink, 100)]


async def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    spool = await _open(tmp_path)
    await spool.commit([raised("r", "a"), plain("t")], {"alarm/a": "raised", "history/x": "1"})
    await spool.commit([cleared("c", "a")], {"alarm/a": None})
    await spool.accepted("noc", [1])
    await spool.close()

    spool = await _open(tmp_path)

    assert await _ids(spool) == ["t", "c"]
    assert [entry.event for entry in await spool.pending("noc", 9)] == [plain("t"), cleared("c", "a")]
    assert await spool.states() == {"history/x": "1"}
    assert await spool.states("alarm/") == {}
    assert spool.recovered == ""
    await spool.close()


async def test_registering_again_changes_nothing(tmp_path: Path) -> None:
    spool = await _open(tmp_path)
    await spool.commit([raised("r", "a")], {})

    assert await spool.register({"noc": None}, [raised("r", "a")]) == Registered()

    assert await _ids(spool) == ["r"]
    await spool.close()


async def test_resending_tells_one_sink_again_under_the_same_event_id(tmp_path: Path) -> None:
    spool = await _open(tmp_path, sinks=("noc", "siem"))
    await spool.commit([raised("r", "a")], {})
    for sink in ("noc", "siem"):
        await spool.accepted(sink, [1])

    await spool.commit([raised("r", "a")], {}, only_sink="siem")

    assert (await _ids(spool, "noc"), await _ids(spool, "siem")) == ([], ["r"])
    with pytest.raises(KeyError):
        await spool.commit([raised("r", "a")], {}, only_sink="nobody")
    await spool.close()


async def test_what_a_slow_disk_still_takes_while_it_is_closed_is_not_called_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = await _open(tmp_path)
    goes_on = threading.Event()
    slow = asyncio.ensure_future(spool._disk.run(lambda _disk: goes_on.wait(10)))
    commits = [asyncio.ensure_future(spool.commit([raised("on its way", "a")], {}))]
    await asyncio.sleep(0)
    commits.append(asyncio.ensure_future(spool.commit([raised("behind it", "b")], {})))
    await asyncio.sleep(0)

    closing = asyncio.ensure_future(spool.close(flush_seconds=0.0))
    for _ in range(10):
        await asyncio.sleep(0)
    goes_on.set()
    await closing
    await slow
    for commit in commits:
        commit.cancel()

    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    spool = await _open(tmp_path)
    assert await _ids(spool) == ["on its way", "behind it"]
    await spool.close()


async def test_a_second_agent_is_told_who_has_the_directory(tmp_path: Path) -> None:
    spool = await _open(tmp_path)

    with pytest.raises(DirectoryInUseError, match=r"another hsm-agent uses this state directory \(pid \d+\)"):
        await _open(tmp_path)

    await spool.close()
    await (await _open(tmp_path)).close()


async def test_each_drop_is_counted_and_logged_with_its_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = await _open(tmp_path, entries=2)
    with caplog.at_level(logging.ERROR):
        for alarm in ("a", "b"):
            await spool.commit([raised(f"r{alarm}", alarm), cleared(f"c{alarm}", alarm)], {})

    assert caplog.messages == [
        "spool full: dropped for sink noc (alarm raised and cleared without a notification): ra ca"
    ]
    assert (spool.stats().entries, spool.stats().dropped_total, spool.stats().used_percent) == (2, 2, 100)
    await spool.close()
    spool = await _open(tmp_path, entries=2)
    assert spool.stats().dropped_total == 2
    await spool.close()


async def test_new_bounds_hold_from_the_next_commit(tmp_path: Path) -> None:
    spool = await _open(tmp_path)
    await spool.commit([plain(f"t{number}") for number in range(10)], {})

    spool.resize(entries=3, size_bytes=10**6)
    await spool.commit([plain("last")], {})

    assert await _ids(spool) == ["t8", "t9", "last"]
    await spool.close()


async def test_a_dead_letter_is_listed_shown_and_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = await _open(tmp_path)
    await spool.commit([raised("r", "a"), raised("s", "b")], {})

    await spool.dead_letter("noc", 1, "500 not wanted")

    assert caplog.messages == ["spool: event r is a dead letter of sink noc: 500 not wanted"]
    assert await _ids(spool) == ["s"]
    assert [entry.event.event_id for entry in await spool.entries()] == ["r", "s"]
    shown = await spool.show("r")
    assert shown is not None
    assert [(letter.sink, letter.reason, letter.time) for letter in shown.dead] == [("noc", "500 not wanted", 1000.0)]
    assert await spool.drop("r")
    assert not await spool.drop("r")
    assert [entry.event.event_id for entry in await spool.entries()] == ["s"]
    await spool.close()


async def test_a_sink_hears_that_something_arrived(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path, entries=100, size_bytes=10**7)
    await spool.register({"noc": Severity.CRITICAL}, ())
    arrived = spool.arrived("noc")

    await spool.commit([raised("low", "a")], {})
    assert not arrived.is_set()
    waiting = asyncio.ensure_future(arrived.wait())
    await spool.commit([changed("high", "a", Severity.CRITICAL)], {})

    assert await asyncio.wait_for(waiting, 5)
    await spool.close()


async def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "spool.db").write_bytes(b"what is this " * 1000)

    spool = await _open(tmp_path)

    assert spool.recovered.startswith("the spool's file was damaged and is set aside: file is not a database")
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    await spool.commit([raised("r", "a")], {"alarm/a": "raised"})
    await spool.close()
    spool = await _open(tmp_path)
    assert (spool.recovered, await _ids(spool), await spool.states()) == ("", ["r"], {"alarm/a": "raised"})
    await spool.close()


async def test_a_file_removed_while_running_is_made_anew_with_all_that_waits(tmp_path: Path) -> None:
    spool = await _open(tmp_path)
    await spool.commit([raised("r", "a")], {})
    (tmp_path / "spool.db").unlink()

    await spool.commit([raised("s", "b")], {"alarm/b": "raised"})
    assert await _ids(spool) == ["r", "s"]
    await _recovered(spool)

    await spool.close()
    spool = await _open(tmp_path)
    assert (await _ids(spool), await spool.states()) == (["r", "s"], {"alarm/b": "raised"})
    await spool.close()


async def _recovered(spool: Spool) -> None:
    async with asyncio.timeout(10):
        while spool.stats().failed:
            await asyncio.sleep(0)


async def test_commits_at_the_same_time_are_all_there_in_the_order_they_were_asked_for(tmp_path: Path) -> None:
    spool = await _open(tmp_path)

    await asyncio.gather(*(spool.commit([raised(f"r{n}", f"a{n}")], {f"alarm/{n}": "raised"}) for n in range(90)))

    await spool.close()
    spool = await _open(tmp_path)
    assert await _ids(spool) == [f"r{n}" for n in range(90)]
    assert len(await spool.states("alarm/")) == 90
    await spool.close()


def test_a_spool_with_a_reason_has_failed() -> None:
    well = SpoolStats(entries=0, bytes=0, used_percent=0.0, dropped_total=0, reason="")

    assert (well.failed, dataclasses.replace(well, reason="disk full").failed) == (False, True)


async def test_a_row_that_no_file_takes_is_a_refusal_and_the_writer_goes_on(tmp_path: Path) -> None:
    spool = await _open(tmp_path)

    await spool.commit([raised("a", "x")], {"state/a": "M\udcfcnchen"})
    assert "can't encode" in spool.stats().reason
    await spool.commit([raised("b", "y")], {"state/a": "mended"})
    async with asyncio.timeout(10):
        while spool.stats().failed:
            await asyncio.sleep(0)
    await spool.close()

    spool = await _open(tmp_path)
    assert await _ids(spool) == ["a", "b"]
    assert await spool.states() == {"state/a": "mended"}
    await spool.close()
