"""Whatever happened to the files of the state directory while the agent was down: it starts, watches and says so."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.peers.agent import AgentProcess, source
from tests.peers.ports import free_port
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = 12
DEEP = b"[" * 100_000


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 40))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _zeroed(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    return data[:start] + bytes(min(512, len(data) - start)) + data[start + 512 :]


def _deep(data: bytes, _: random.Random) -> bytes:
    return DEEP + b"\n" + data


def _noise(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(max(100, len(data)))


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (_flipped, _cut, _zeroed, _deep, _noise)


def _damage(state: Path, chance: random.Random) -> list[str]:
    done = []
    for path in sorted(each for each in state.rglob("*") if each.is_file() and each.name != "spool.ballast"):
        kind = chance.choice((*DAMAGES, None, "folder"))
        if kind == "folder":
            path.unlink()
            path.mkdir()
        elif callable(kind):
            path.write_bytes(kind(path.read_bytes(), chance))
        done.append(f"{path.name}: {kind}")
    return done


@pytest.mark.timeout(300)
async def test_no_damage_ends_a_start(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments")
    hsm.set_memory(total=1_000_000, free=50_000)
    community = tmp_path / "traps"
    community.write_text("trapped")
    community.chmod(0o600)
    traps = {
        "name": "traps", "kind": "snmp_trap_listener", "listen": ["udp:127.0.0.1:0"],
        "communities": [{"name": {"file": str(community)}}],
    }  # fmt: skip
    dead = {"name": "dead", "kind": "syslog", "to": f"relp:127.0.0.1:{free_port()}"}
    agent = AgentProcess(tmp_path, sources=[source("fake", hsm.module, hsm.environment), traps], deliver=[dead])
    async with agent:
        await agent.until(lambda status: bool(status["alarms"]) and status["spool"]["entries"] > 0)
        await agent.until(lambda status: all(each["status"] == "up" for each in status["sources"]))
        await agent.stop()
    sound = tmp_path / "sound"
    shutil.copytree(agent.state, sound)

    for seed in range(ROUNDS):
        shutil.rmtree(agent.state)
        shutil.copytree(sound, agent.state)
        done = _damage(agent.state, random.Random(seed))
        agent.log_file.unlink()
        try:
            await agent.start()
            await agent.until(
                lambda status: any(each["name"] == "fake" and each["status"] == "up" for each in status["sources"])
            )
            await agent.until(lambda status: any(each["rule"] == "token-memory" for each in status["alarms"]))
            assert await agent.stop() == 0
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {done}") from error
        assert "Traceback" not in agent.log, (seed, done, agent.log)
