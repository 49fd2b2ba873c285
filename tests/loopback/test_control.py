"""The control socket: who may ask, who may act, and what hostile clients get."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.agent.control_client import ControlError, ask
from hsm_agent.agent.control_socket import MOST_CLIENTS, ControlServer, Verb
from tests.peers.rights import needs_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


async def _echo(request: Mapping[str, Any], uid: int) -> dict[str, Any]:
    return {"said": request.get("word"), "uid": uid}


async def _impossible(request: Mapping[str, Any], uid: int) -> dict[str, Any]:
    raise ControlError("there is no such thing")


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    place = tmp_path / "run" / "control"
    server = ControlServer(
        place,
        {
            "echo": Verb(_echo, changes_state=False),
            "act": Verb(_echo, changes_state=True),
            "no": Verb(_impossible, changes_state=True),
        },
    )
    await server.start()
    yield place
    await server.close()
    assert not place.exists()


async def test_a_verb_is_answered_with_the_callers_uid(path: Path) -> None:
    answer = await asyncio.to_thread(ask, path, "echo", word="hello")

    assert answer == {"ok": True, "said": "hello", "uid": os.getuid()}


async def test_the_group_may_open_the_socket_and_others_may_not(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_a_refusal_names_its_reason(path: Path) -> None:
    with pytest.raises(ControlError, match="there is no such thing"):
        await asyncio.to_thread(ask, path, "no")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(b'{"ok": true, "x": "' + b"x" * 100 + b'"}\n', "longer than 64 bytes", id="too long"),
        pytest.param(b"x" * 100, "longer than 64 bytes", id="without an end"),
        pytest.param(b"[" * 60 + b"\n", "without an answer", id="broken"),
        pytest.param(b"[1]\n", "no hsm-agent", id="no object"),
    ],
)
async def test_whatever_listens_there_is_an_answer_or_an_error(said: bytes, told: str, tmp_path: Path) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        writer.close()

    async with await asyncio.start_unix_server(say, tmp_path / "control"):
        with pytest.raises(ControlError, match=told):
            await asyncio.to_thread(ask, tmp_path / "control", "status", most_bytes=64)


async def test_an_unknown_verb_is_refused(path: Path) -> None:
    with pytest.raises(ControlError, match="unknown verb"):
        await asyncio.to_thread(ask, path, "dance")


@needs_root
async def test_another_user_may_read_but_not_act(path: Path) -> None:
    for folder in (path.parent, *path.parent.parents[:-1]):
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o055)
    path.chmod(0o666)

    script = (
        "import os, sys, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(sys.argv[2].encode() + b'\\n'); print(s.makefile().readline())"
    )
    answers = []
    for verb in ("echo", "act"):
        process = await asyncio.create_subprocess_exec(
            "/usr/bin/python3", "-c", script, str(path), json.dumps({"verb": verb}), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        answers.append(json.loads(out))

    assert answers[0] == {"ok": True, "said": None, "uid": 65534}
    assert answers[1]["ok"] is False
    assert "refused" in answers[1]["error"]


@pytest.mark.parametrize("noise", [b"\n", b"[]\n", b"{]\n", b"\xff\xfe\n", b"x" * 100_000, b'{"verb": 7}\n'])
async def test_what_is_no_request_is_refused_and_the_next_one_served(path: Path, noise: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(noise)
    writer.write_eof()
    answer = json.loads(await reader.readline())
    writer.close()

    assert answer["ok"] is False
    assert (await asyncio.to_thread(ask, path, "echo"))["ok"] is True


async def test_no_agent_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="the agent is not running"):
        await asyncio.to_thread(ask, tmp_path / "nobody", "status")


async def test_a_socket_path_that_is_too_long_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"agent\.control_socket"):
        await ControlServer(tmp_path / ("x" * 120), {}).start()


async def test_nesting_without_end_is_no_request(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"[" * 50_000 + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()

    assert answer["error"].startswith("not a request")


async def test_idle_clients_do_not_use_up_the_agents_descriptors(path: Path) -> None:
    idle = [await asyncio.open_unix_connection(str(path)) for _ in range(MOST_CLIENTS)]
    await asyncio.sleep(0)
    reader, writer = await asyncio.open_unix_connection(str(path))
    answer = json.loads(await reader.readline())
    writer.close()
    assert answer == {"ok": False, "error": "too many requests at a time; try again"}

    for _, one in idle:
        one.close()
    await asyncio.sleep(0.05)
    assert (await asyncio.to_thread(ask, path, "echo", word="again"))["said"] == "again"


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async def much(_request: Mapping[str, Any], _uid: int) -> dict[str, Any]:
        return {"much": "x" * 5_000_000}

    server = ControlServer(tmp_path / "control", {"much": Verb(much, changes_state=False)}, request_seconds=0.2)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control"), limit=1024)
    writer.write(b'{"verb": "much"}\n')
    await asyncio.sleep(0.5)
    got = await reader.read()  # ends: with what the kernel had taken, and not with the whole
    writer.close()
    await server.close()

    assert 0 < len(got) < 5_000_000


async def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    precious = tmp_path / "agent.yaml"
    precious.write_text("agent: {}", encoding="ascii")

    with pytest.raises(OSError, match="there is something else of that name"):
        await ControlServer(precious, {}).start()
    assert precious.read_text(encoding="ascii") == "agent: {}"
