"""A real etcd, of one member or more, as child processes in the foreground on free ports of 127.0.0.1. Needs no pytest.

Its administration is done by etcdctl, as docs/etcd.md does it.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.peers.daemon import Daemon
from tests.peers.ports import free_ports
from tests.peers.require import environment_for, require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.peers.pki import Identity

_READY_SECONDS = 10.0
QUICK = {"heartbeat-interval": "50", "election-timeout": "500"}
"""Elections that a test can wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdTls:
    """The certificate of the members, and of which CA clients must have theirs."""

    ca: Path
    server: Identity
    client: Identity
    """Whose etcdctl is."""


@dataclass(kw_only=True)
class EtcdMember(Daemon):
    """One member. Its ports are the same over restarts; its data too, unless they are deleted."""

    name: str
    folder: Path
    port: int
    peer_port: int
    tls: EtcdTls | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    cluster: str = ""
    configuration: Path | None = None
    """A file that says all of it, instead of the options."""

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def endpoint(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def peer(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.peer_port}"

    async def start(self) -> None:
        """Start it and wait until it listens; a majority of members have to before it serves."""
        flags = self._flags() if self.configuration is None else [f"--config-file={self.configuration}"]
        await self._run(require("etcd"), flags, tcp=[self.peer_port])

    def _flags(self) -> list[str]:
        options = {
            "name": self.name,
            "data-dir": str(self.folder / self.name),
            "listen-client-urls": self.endpoint,
            "advertise-client-urls": self.endpoint,
            "listen-peer-urls": self.peer,
            "initial-advertise-peer-urls": self.peer,
            "initial-cluster": self.cluster or f"{self.name}={self.peer}",
            "logger": "zap",
            **self.options,
        }
        flags = ["--pre-vote", *(f"--{key}={value}" for key, value in options.items())]
        if self.tls is not None:
            for use in ("", "peer-"):
                flags += [
                    f"--{use}cert-file={self.tls.server.certificate}",
                    f"--{use}key-file={self.tls.server.key}",
                    f"--{use}trusted-ca-file={self.tls.ca}",
                    f"--{use}client-cert-auth",
                ]
        return flags


class EtcdCluster:
    """`async with`: members that have a leader."""

    def __init__(
        self, folder: Path, *, members: int = 1, tls: EtcdTls | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        self.tls = tls
        ports = free_ports(2 * members)
        self.members = [
            EtcdMember(
                name=f"etcd-{number}",
                folder=folder,
                port=ports.pop(),
                peer_port=ports.pop(),
                tls=tls,
                options={**QUICK, **(options or {})},
            )
            for number in range(1, members + 1)
        ]
        cluster = ",".join(f"{member.name}={member.peer}" for member in self.members)
        for member in self.members:
            member.cluster = cluster
        self._stack = AsyncExitStack()

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await asyncio.gather(*(stack.enter_async_context(member) for member in self.members))
            await self.until_ready()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def until_ready(self) -> None:
        """Wait until each member that runs has a leader."""
        async with asyncio.timeout(_READY_SECONDS):
            while any(not found.get("leader") for found in await self._statuses()):
                await asyncio.sleep(0.05)

    async def leader(self) -> EtcdMember:
        """The member that leads."""
        statuses = await self._statuses()
        ids = [found["header"]["member_id"] for found in statuses]
        return self.members[ids.index(statuses[0]["leader"])]

    async def _statuses(self) -> list[dict[str, Any]]:
        """Of each member what it says of itself; empty where it says nothing."""
        try:
            found = json.loads(await self.ctl("endpoint", "status", "--write-out=json"))
        except RuntimeError:
            return [{}]
        return [each["Status"] for each in found] if len(found) == len(self.members) else [{}]

    async def ctl(self, *arguments: str, user: str = "", stdin: str = "") -> str:
        """What etcdctl printed. Raises RuntimeError with what it complained of."""
        program = require("etcdctl")
        words = ["--endpoints", ",".join(self.endpoints), "--dial-timeout=2s", "--command-timeout=5s"]
        if self.tls is not None:
            client = self.tls.client
            words += [f"--cacert={self.tls.ca}", f"--cert={client.certificate}", f"--key={client.key}"]
        if user:
            words.append(f"--user={user}")
        process = await asyncio.create_subprocess_exec(
            program,
            *words,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environment_for(program), "ETCDCTL_API": "3"},
        )
        out, err = await process.communicate(stdin.encode())
        if process.returncode != 0:
            raise RuntimeError(f"etcdctl {' '.join(arguments)}: {err.decode(errors='replace')}")
        return out.decode()

    async def protect(self, users: Mapping[str, str], *, prefix: str, root: str = "root-password") -> None:
        """Users with a password each, who may read and write below the prefix; then nobody else may."""
        await self.ctl("user", "add", f"root:{root}")
        await self.ctl("user", "grant-role", "root", "root")
        await self.ctl("role", "add", "hsm-agent")
        await self.ctl("role", "grant-permission", "hsm-agent", "--prefix=true", "readwrite", prefix)
        for name, password in users.items():
            await self.ctl("user", "add", f"{name}:{password}")
            await self.ctl("user", "grant-role", name, "hsm-agent")
        await self.ctl("auth", "enable")


def settings(cluster: EtcdCluster, **changes: object) -> dict[str, object]:
    """The part `etcd:` of a configuration that reaches the cluster."""
    found: dict[str, object] = {"endpoints": cluster.endpoints}
    if cluster.tls is not None:
        client = cluster.tls.client
        found["tls"] = {
            "ca": str(cluster.tls.ca),
            "certificate": str(client.certificate),
            "key": str(client.key),
        }
    return found | changes
