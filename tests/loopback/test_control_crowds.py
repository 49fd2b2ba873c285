"""The control socket under clients that say nothing, ask for much, or wait for what does not come."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from hsm_agent.agent.control_client import ControlError, ask
from hsm_agent.agent.control_socket import MOST_CLIENTS, MOST_CLIENTS_OF_A_UID, ControlServer, Verb
from hsm_agent.agent.operator_commands import ENTRIES_A_PAGE, OperatorCommands
from hsm_agent.cli.main import cli
from hsm_agent.spool import Spool
from tests.fakes.events import plain
from tests.peers.rights import needs_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

NOBODY = 65534
CROWD = """
import os, select, socket, sys, time
os.setuid(int(sys.argv[2]))
open_ones, refused = [], 0
for _ in range(int(sys.argv[3])):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    open_ones.append(one)
time.sleep(0.3)
for one in select.select(open_ones, (), (), 0)[0]:
    refused += b"too many" in one.recv(4096)
print(refused, flush=True)
sys.stdin.read()
"""


HURRY = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
print("begun", flush=True)
while True:
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    one.close()
"""


async def _echo(request: Mapping[str, Any], uid: int) -> dict[str, Any]:
    return {"said": request.get("word"), "uid": uid}


@asynccontextmanager
async def _served(place: Path, verbs: Mapping[str, Verb]) -> AsyncIterator[Path]:
    server = ControlServer(place, verbs)
    await server.start()
    place.chmod(0o666)
    for folder in (place.parent, *place.parent.parents[:-1]):
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o055)
    try:
        yield place
    finally:
        await server.close()


@asynccontextmanager
async def _crowd(place: Path, uid: int, count: int) -> AsyncIterator[int]:
    """Silent connections of another user; how many of them were refused."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CROWD, str(place), str(uid), str(count),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def _hurry(place: Path, uid: int) -> AsyncIterator[None]:
    """Another user who connects again and again, without a pause."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HURRY, str(place), str(uid), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        yield
    finally:
        process.kill()
        await process.wait()


@needs_root
async def test_readers_who_never_stop_connecting_do_not_keep_root_from_being_heard(tmp_path: Path) -> None:
    async with (
        _served(tmp_path / "control", {"echo": Verb(_echo, changes_state=False)}) as place,
        AsyncExitStack() as crowds,
    ):
        for each in range(4):
            await crowds.enter_async_context(_hurry(place, NOBODY - each))
        said = [await asyncio.to_thread(ask, place, "echo", word=word) for word in range(5)]

    assert [one["said"] for one in said] == list(range(5))


def test_a_socket_whose_queue_is_full_is_given_up_in_time(tmp_path: Path) -> None:
    place = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as first:
        deaf.bind(str(place))
        deaf.listen(0)
        first.connect(str(place))
        begun = time.monotonic()
        with pytest.raises(ControlError, match="control"):
            ask(place, "status", timeout_seconds=1.0)

    assert time.monotonic() - begun < 5.0


@needs_root
async def test_silent_connections_of_a_reader_lock_neither_root_nor_other_readers_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    verbs = {"echo": Verb(_echo, changes_state=False)}
    async with _served(tmp_path / "control", verbs) as place, _crowd(place, NOBODY, 100) as refused:
        assert refused == 100 - MOST_CLIENTS_OF_A_UID
        assert (await asyncio.to_thread(ask, place, "echo", word="root"))["said"] == "root"
        async with _crowd(place, NOBODY - 1, 3) as others:
            assert others == 0

    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"refused a connection of uid {NOBODY}: it has too many at a time"
    ]


@needs_root
async def test_many_users_together_leave_the_places_of_root(tmp_path: Path) -> None:
    async with (
        _served(tmp_path / "control", {"echo": Verb(_echo, changes_state=False)}) as place,
        AsyncExitStack() as stack,
    ):
        crowds = [_crowd(place, NOBODY - number, MOST_CLIENTS_OF_A_UID) for number in range(5)]
        refused = await asyncio.gather(*(stack.enter_async_context(each) for each in crowds))
        assert sum(refused) == 5 * MOST_CLIENTS_OF_A_UID - MOST_CLIENTS
        assert (await asyncio.to_thread(ask, place, "echo", word="root"))["uid"] == 0


async def test_an_act_that_does_not_end_is_answered_in_time_and_says_that_it_may_still_take_effect(
    tmp_path: Path,
) -> None:
    held = asyncio.Event()

    async def stubborn(_request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        task = asyncio.ensure_future(held.wait())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await task  # as the pipeline does: what was begun is done to its end
            raise
        return {}

    verbs = {"act": Verb(stubborn, changes_state=True, seconds=0.1), "echo": Verb(_echo, changes_state=False)}
    async with _served(tmp_path / "control", verbs) as place:
        began = time.monotonic()
        with pytest.raises(ControlError, match=r"no result within 0\.1 s; it may still take effect"):
            await asyncio.to_thread(ask, place, "act")
        assert time.monotonic() - began < 5.0
        assert (await asyncio.to_thread(ask, place, "echo", word="on"))["said"] == "on"
        held.set()


async def test_thirty_large_answers_that_nobody_reads_are_not_in_memory_at_a_time(tmp_path: Path) -> None:
    made = 0

    async def much(_request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        nonlocal made
        made += 1
        return {"much": "x" * 20_000_000}

    async with _served(tmp_path / "control", {"much": Verb(much, changes_state=False)}) as place:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        clients = [await asyncio.open_unix_connection(str(place), limit=1024) for _ in range(30)]
        for _, writer in clients:
            writer.write(b'{"verb": "much"}\n')
        await asyncio.sleep(1.0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        for _, writer in clients:
            writer.close()

    assert 1 <= made <= 4
    assert grown < 300_000  # KiB; all of them would be 600 MB at least


async def test_a_long_spool_is_listed_in_pages_and_the_command_line_shows_it_whole(tmp_path: Path) -> None:
    spool = await Spool.open(tmp_path / "state", entries=10_000, size_bytes=10**8)
    await spool.register({"siem": None}, ())
    count = 2 * ENTRIES_A_PAGE + 17
    await spool.commit([plain(f"e{number}") for number in range(count)], {})
    file = tmp_path / "agent.yaml"
    place = tmp_path / "control"
    agent = {"name": "a", "state_directory": str(tmp_path / "state"), "control_socket": str(place)}
    file.write_text(yaml.safe_dump({"agent": agent}), encoding="ascii")

    class _Agent:
        """What the verb touches of the agent."""

        def __init__(self) -> None:
            self.spool = spool

    verbs = {"spool-list": OperatorCommands(_Agent()).verbs()["spool-list"]}  # type: ignore[arg-type]  # a fake at the border
    async with _served(place, verbs):
        first = await asyncio.to_thread(ask, place, "spool-list")
        assert len(first["entries"]) == ENTRIES_A_PAGE
        assert first["next"] == ENTRIES_A_PAGE
        with pytest.raises(ControlError, match="`after` is the number"):
            await asyncio.to_thread(ask, place, "spool-list", after="x")
        words = ["spool", "list", "--format", "json", "-c", str(file)]
        shown = await asyncio.to_thread(lambda: CliRunner().invoke(cli, words))

    assert [entry["event_id"] for entry in json.loads(shown.output)] == [f"e{number}" for number in range(count)]
    await spool.close()
