"""What is a group's, on real files: it stays the group's over restarts, and an agent without a group stores nothing new."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from hsm_agent.spool import Spool
from hsm_agent.spool.shared import Addressed, Left, SharedChange, SharedContent
from hsm_agent.spool.tables import VERSION
from tests.fakes.events import cleared, plain, raised

if TYPE_CHECKING:
    from pathlib import Path


async def _open(directory: Path, *, may_tell: bool = False) -> Spool:
    spool = await Spool.open(directory, entries=1000, size_bytes=10**7, clock=lambda: 1000.0, retry_seconds=0.01)
    await spool.register({"noc": None, "siem": None}, ())
    spool.may_tell = lambda: may_tell
    return spool


async def _ids(spool: Spool, sink: str = "noc") -> list[str]:
    return [entry.event.event_id for entry in await spool.pending(sink, 100)]


def _tables(directory: Path) -> set[str]:
    with closing(sqlite3.connect(directory / "spool.db")) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _set_version(directory: Path, version: int) -> None:
    """A version of a newer agent's: the file can't be read until it is the one that is known."""
    with closing(sqlite3.connect(directory / "spool.db")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


async def test_without_a_group_the_file_is_what_it_was(tmp_path: Path) -> None:
    spool = await _open(tmp_path, may_tell=True)
    await spool.commit([raised("r", "a"), plain("t")], {})
    await spool.accepted("noc", [1, 2])
    await spool.close()

    assert "shared" not in _tables(tmp_path)


async def test_what_is_the_groups_stays_so_over_a_restart(tmp_path: Path) -> None:
    spool = await _open(tmp_path)
    await spool.commit([plain("own")], {"[1]": "own"})
    await spool.commit_addressed(spool.address([raised("r", "a"), raised("s", "b")]), {"[2]": "x"}, shared=True)
    await spool.accepted("siem", [2])
    before = await spool.shared_content()
    await spool.close()
    assert "shared" in _tables(tmp_path)

    spool = await _open(tmp_path)
    shut, after = await _ids(spool), await spool.shared_content()
    spool.may_tell = lambda: True

    assert after == before
    assert [(each.event.event_id, each.sinks) for each in after.events] == [("r", ("noc",)), ("s", ("noc", "siem"))]
    assert after.sequences == {(sink, alarm) for sink in ("noc", "siem") for alarm in ("a", "b")}
    assert (shut, await _ids(spool)) == (["own"], ["own", "r", "s"])
    assert spool.untold() == 2
    assert await spool.states("[") == {"[1]": "own", "[2]": "x"}
    await spool.close()


async def test_a_follower_is_as_far_as_its_progress_says(tmp_path: Path) -> None:
    spool = await _open(tmp_path)
    left: list[Left] = []
    spool.on_left = left.append
    addressed = tuple(spool.address([raised("r", "a"), cleared("c", "a")]))
    await spool.take_in(SharedChange(states={"[1]": "on"}, events=addressed), {"group/progress": "7"})
    await spool.take_in(SharedChange(left=(("noc", "r"),)), {"group/progress": "8"})
    await spool.close()

    spool = await _open(tmp_path)

    assert await spool.states() == {"[1]": "on", "group/progress": "8"}
    assert [(each.event.event_id, each.sinks) for each in (await spool.shared_content()).events] == [
        ("r", ("siem",)),
        ("c", ("noc", "siem")),
    ]
    assert left == []
    await spool.take_in(SharedChange(states={"[1]": None}), {"group/progress": None})
    assert await spool.states() == {}
    await spool.close()


async def test_all_that_is_the_groups_can_be_replaced_and_given_up_to_it(tmp_path: Path) -> None:
    spool = await _open(tmp_path)
    await spool.commit([raised("mine", "m")], {})
    content = SharedContent(events=(Addressed(event=raised("r", "a"), sinks=("noc", "gone")),))

    await spool.replace_shared(content, {"[1]": "x"})
    replaced = (await _ids(spool), spool.untold(), await spool.states())
    await spool.share_all((), {"[2]": "y"})

    assert replaced == (["mine"], 1, {"[1]": "x"})
    assert (await _ids(spool), spool.untold()) == ([], 2)
    assert await spool.states("[2") == {"[2]": "y"}
    may_repeat = spool.may_repeat("noc", "m")
    await spool.unshare_all({"[2]": None})

    assert (await _ids(spool), spool.untold(), may_repeat) == (["mine", "r"], 0, False)
    assert await spool.states("[2") == {}
    assert spool.may_repeat("noc", "never heard of")
    await spool.close()


async def test_what_left_is_told_before_the_disk_answers_and_by_whom_it_was_taken(tmp_path: Path) -> None:
    spool = await _open(tmp_path, may_tell=True)
    left: list[Left] = []
    spool.on_left = left.append
    await spool.commit_addressed(spool.address([raised("r", "a")]), {}, shared=True)
    await _ids(spool)

    await spool.accepted("noc", [1])
    await spool.dead_letter("siem", 1, "refused")

    assert left == [Left(sink="noc", event_id="r", told=True), Left(sink="siem", event_id="r", told=False)]
    await spool.close()


async def test_a_disk_that_is_read_late_brings_back_nothing_that_the_group_ended(tmp_path: Path) -> None:
    spool = await _open(tmp_path)
    await spool.commit_addressed(spool.address([raised("old", "o"), raised("r", "a")]), {}, shared=True)
    await spool.commit([plain("own")], {})
    await spool.close()
    _set_version(tmp_path, VERSION + 1)

    spool = await _open(tmp_path)
    await spool.replace_shared(SharedContent(events=(Addressed(event=raised("r", "a"), sinks=("noc",)),)), {})
    before = spool.untold()
    _set_version(tmp_path, VERSION)
    async with asyncio.timeout(10):
        while spool.stats().failed:
            await asyncio.sleep(0)

    assert before == 1
    assert [(each.event.event_id, each.sinks) for each in (await spool.shared_content()).events] == [("r", ("noc",))]
    assert await _ids(spool) == ["own"]
    await spool.close()
