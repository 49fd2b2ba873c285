"""Sites that are joined by a network of their own, each a network namespace behind one router; links can be cut.

    async with Sites("a", "b", "c") as sites:
        process = await create_subprocess_exec(*sites.command("a"), "etcd", …)
        await sites.cut("a", "b")

Needs ip(8), nsenter(1) and unshare(1), and root or user namespaces. Nothing of it reaches the machine's own network: a
namespace lives as long as a process in it does, and those end with this one. Needs no pytest.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Self

from tests.peers.require import nothing_may_be_skipped, require

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_ALLOWED = "need network namespaces, which this machine does not allow"
_START_SECONDS = 10.0
_OVERFLOW_UID = 65534
_RESETS = 42
"""The router's table in which every address is its own: it answers for all, and refuses."""
_UNSHARE_USER = ("--user", "--map-root-user")


class Cut(Enum):
    """How a link is cut."""

    SILENT = "blackhole"
    """Packets vanish."""
    RESET = f"lookup {_RESETS}"
    """TCP connections are reset, datagrams answered with "port unreachable": as if nobody listened there."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process is to run: the address it has there, and what stands before its command line."""

    address: str
    command: tuple[str, ...]


@cache
def allowed() -> bool:
    """Whether this process may make such namespaces."""
    words = ["unshare", *_as_user(), "--net", "ip", "link", "add", "type", "bridge"]
    return subprocess.run(words, capture_output=True, check=False, timeout=20).returncode == 0


def require_namespaces() -> None:
    """End the test where they are not allowed: fail it where nothing may be skipped, else skip it."""
    for program in ("ip", "nsenter", "unshare"):
        require(program)
    if not allowed():
        import pytest

        pytest.fail(NOT_ALLOWED) if nothing_may_be_skipped() else pytest.skip(NOT_ALLOWED)


def _as_user() -> tuple[str, ...]:
    return () if os.geteuid() == 0 else _UNSHARE_USER


def address_of(number: int) -> str:
    """Of the site of that number, from 1."""
    return f"10.77.{number}.1"


class Sites:
    """`async with`: the sites, joined. Site number N (from 1) has the address 10.77.N.1."""

    def __init__(self, *names: str) -> None:
        self._numbers = {name: number for number, name in enumerate(names, start=1)}
        self._router: asyncio.subprocess.Process | None = None
        self._holders: dict[str, asyncio.subprocess.Process] = {}
        self._cuts: set[tuple[str, str, Cut]] = set()

    def address(self, name: str) -> str:
        return address_of(self._numbers[name])

    def command(self, name: str) -> list[str]:
        """What stands before a command line that runs at that site. It is the same process: it can be signalled."""
        return _entering(self._holders[name].pid)

    def place(self, name: str) -> Place:
        return Place(self.address(name), tuple(self.command(name)))

    def surroundings(self) -> dict[str, str]:
        """What else an agent there needs in its environment: in a user namespace root's files are nobody's."""
        from hsm_agent.settings.trust import TRUSTED_UIDS

        trusted = [os.environ.get(TRUSTED_UIDS, ""), "0" if os.geteuid() == 0 else str(_OVERFLOW_UID)]
        return {TRUSTED_UIDS: ",".join(filter(None, trusted))}

    async def cut(self, one: str, *others: str, how: Cut = Cut.SILENT) -> None:
        """Let nothing pass between the one site and each of the others."""
        for other in others:
            await self._rules("add", [(one, other, how), (other, one, how)])

    async def cut_one_way(self, sender: str, receiver: str) -> None:
        """Let nothing pass from the one to the other; what is sent the other way arrives."""
        await self._rules("add", [(sender, receiver, Cut.SILENT)])

    async def join(self) -> None:
        """Undo every cut."""
        await self._rules("del", list(self._cuts))

    async def route(self, verb: str, name: str, address: str) -> None:
        """`add` or `del`: from that site there is no way to the address."""
        await self._ip(self._holders[name].pid, f"route {verb} unreachable {address}")

    async def _rules(self, verb: str, rules: Iterable[tuple[str, str, Cut]]) -> None:
        lines = []
        for sender, receiver, how in rules:
            if (verb == "add") == ((sender, receiver, how) in self._cuts):
                continue
            number, other = self._numbers[sender], self._numbers[receiver]
            # By the interface it comes in: the router's own answers must not meet the rule of the other direction.
            way = f"iif site{number} from 10.77.{number}.0/24 to 10.77.{other}.0/24"
            lines.append(f"rule {verb} pref 100 {way} {how.value}")
            change = self._cuts.add if verb == "add" else self._cuts.discard
            change((sender, receiver, how))
        if lines:
            await self._ip(self._pid, *lines)

    async def __aenter__(self) -> Self:
        require_namespaces()
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._build()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    @property
    def _pid(self) -> int:
        assert self._router is not None
        return self._router.pid

    async def _build(self) -> None:
        self._router = await _holder(["unshare", *_as_user(), "--net"])
        inside = [*_entering(self._pid, net=False), "unshare", "--net"] if os.geteuid() else ["unshare", "--net"]
        for name in self._numbers:
            self._holders[name] = await _holder(inside)
        lines = [
            "link set lo up",
            f"route add local 10.77.0.0/16 dev lo table {_RESETS}",
            "route add local 10.77.0.0/16 dev lo table local",  # it may answer for others, but forwarding comes first
            "rule add pref 200 lookup main",
            "rule add pref 300 lookup local",
            "rule del pref 0",
        ]
        for name, number in self._numbers.items():
            peer = f"peer name eth0 netns {self._holders[name].pid}"
            lines += [
                f"link add site{number} type veth {peer}",
                f"addr add 10.77.{number}.254/24 dev site{number}",
                f"link set site{number} up",
                f"rule add pref 40 to 10.77.{number}.254 lookup local",
            ]
        await self._ip(self._pid, *lines)
        await _run([*_entering(self._pid), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
        for name, number in self._numbers.items():
            await self._ip(
                self._holders[name].pid,
                "link set lo up",
                f"addr add {self.address(name)}/24 dev eth0",
                "link set eth0 up",
                f"route add default via 10.77.{number}.254",
            )

    async def _ip(self, pid: int, *lines: str) -> None:
        await _run([*_entering(pid), "ip", "-batch", "-"], "\n".join(lines) + "\n")

    async def _end(self) -> None:
        holders = [*self._holders.values(), *([] if self._router is None else [self._router])]
        self._holders, self._router = {}, None
        self._cuts.clear()
        for holder in holders:
            if holder.returncode is None:
                holder.kill()
            await holder.wait()


def _entering(pid: int, *, net: bool = True) -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return ["nsenter", f"--target={pid}", *user, *(["--net"] if net else []), "--"]


async def _holder(prefix: list[str]) -> asyncio.subprocess.Process:
    """A process that holds a namespace: it ends when its input does, that is, with this process at the latest."""
    holder = await asyncio.create_subprocess_exec(
        *prefix, "sh", "-c", "echo; exec cat >/dev/null", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    await holder.stdout.readline()
    return holder


async def _run(words: list[str], text: str = "") -> None:
    """Raises RuntimeError with what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate(text.encode())
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {out.decode(errors='replace')}\n{text}")
