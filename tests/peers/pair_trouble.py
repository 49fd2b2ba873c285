"""More that happens to a pair: certificates and passwords that are refused, and a full disk. Needs no pytest."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hsm_agent.model import EventKind
from tests.peers import private_mounts
from tests.peers.pair import ALONE_AFTER_SECONDS, LEASE_SECONDS, is_kind

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.peers.pair import Pair
    from tests.peers.pair_access import Access

_WITHOUT_ETCD_SECONDS = LEASE_SECONDS + ALONE_AFTER_SECONDS + 6.0


async def server_certificates_expired(pair: Pair, chance: random.Random) -> None:
    """Every member sees it alike, so nobody can lead: both are alone until the certificates are renewed."""
    access = _access(pair)
    await pair.cross(*_half(pair, chance), up=True)
    access.expire_server()
    for member in pair.etcd.members:
        await member.stop()  # it reads its certificate for each connection, and the agent looks at that of an open one
        await member.start()
    for name in pair.agents:
        await pair.until_role(name, "alone", seconds=_WITHOUT_ETCD_SECONDS)
    pair.levels.set(tuple(pair.levels.of), 90, alone=True)
    await pair.until_both_judged()
    access.mend()
    await pair.until_led()
    await pair.until_followed()


async def own_certificate_refused(pair: Pair, chance: random.Random) -> None:
    """The others may be served: this one is isolated, and the leader leads on. It reads its own at the start."""
    leader = await pair.until_led()
    other = pair.other(leader)
    _access(pair).estrange(other)
    await _is_refused(pair, chance, other)


async def password_refused(pair: Pair, chance: random.Random) -> None:
    """Likewise."""
    leader = await pair.until_led()
    other = pair.other(leader)
    _access(pair).password(other, "wrong")
    await _is_refused(pair, chance, other)


async def _is_refused(pair: Pair, chance: random.Random, name: str) -> None:
    """From its next start, at which certificates and passwords are read, until another one when all is mended."""
    await pair.agents[name].stop()
    await pair.start(name)
    await pair.until_role(name, "isolated", seconds=_WITHOUT_ETCD_SECONDS)
    await pair.cross(*_half(pair, chance), up=True)
    await pair.until_led(not_by=name)
    _access(pair).mend()
    await pair.agents[name].stop()
    await pair.start(name)
    await pair.until_followed()


def on_a_small_disk(folder: Path) -> Sequence[str]:
    """What stands before an agent's command line so that its state directory has 8 MiB."""
    state = folder / "state"
    state.mkdir(parents=True)
    script = 'mount -t tmpfs -o size=8m,mode=700 tmpfs "$1" && shift && exec "$@"'
    return [*private_mounts.command("sh", "-c", script, "sh"), str(state)]


async def standby_disk_full(pair: Pair, chance: random.Random, name: str) -> None:
    """It follows in memory and says what is wrong; it takes over with all, and writes when there is room."""
    leader = await pair.until_led()
    if leader == name:
        await pair.agents[name].run("group", "yield", "--config", str(pair.agents[name].file))
        leader = await pair.until_led(not_by=name)
        await pair.until_followed()
    agent = pair.agents[name]
    filler = Path(f"/proc/{agent.pid}/root{agent.state}/filler")
    await asyncio.to_thread(_fill, filler)
    failed = asyncio.create_task(pair.until_told(is_kind(EventKind.RAISED, "spool-failed"), seconds=30))
    while not failed.done():  # the first rows still find room in files that are there
        await pair.cross(up=not pair.levels.high)
    await failed
    began = await pair.kill(leader)
    await pair.taken_over(began, from_=leader)
    await pair.cross(up=True)
    filler.unlink()
    await pair.until_told(is_kind(EventKind.CLEARED, "spool-failed"))
    await pair.start(leader)
    await pair.until_followed()


def _fill(path: Path) -> None:
    with path.open("wb") as file, suppress(OSError):
        for _ in range(64):
            file.write(bytes(1 << 20))
            file.flush()
    with path.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(512)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


def _access(pair: Pair) -> Access:
    assert pair.access is not None
    return pair.access


def _half(pair: Pair, chance: random.Random) -> list[str]:
    low = sorted(set(pair.levels.of) - pair.levels.high)
    return chance.sample(low, max(1, len(low) // 2))
