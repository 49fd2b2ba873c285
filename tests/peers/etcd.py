"""A real etcd, of one member or more, as child processes in the foreground: on free ports of 127.0.0.1, or at sites.

Its administration is done by etcdctl, as docs/etcd.md does it. Needs no pytest.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.peers.daemon import Daemon
from tests.peers.ports import free_ports
from tests.peers.require import environment_for, require
from tests.peers.sites import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    peer: Identity | None = None
    """What members show each other, if that is not `server`."""


@dataclass(kw_only=True)
class EtcdMember(Daemon):
    """One member. Its ports are the same over restarts; its data too, unless they are deleted."""

    name: str
    folder: Path
    port: int
    peer_port: int
    host: str = "127.0.0.1"
    command: Sequence[str] = ()
    """What stands before its command line."""
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
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.port}"

    @property
    def peer(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.peer_port}"

    async def start(self) -> None:
        """Start it and wait until it listens; a majority of members have to before it serves."""
        flags = self._flags() if self.configuration is None else [f"--config-file={self.configuration}"]
        program = require("etcd")
        words = [*self.command, str(program), *flags]
        await self._run(Path(words[0]), words[1:], tcp=[self.peer_port], environment=environment_for(program))

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
            for use, shown in (("", self.tls.server), ("peer-", self.tls.peer or self.tls.server)):
                flags += [
                    f"--{use}cert-file={shown.certificate}",
                    f"--{use}key-file={shown.key}",
                    f"--{use}trusted-ca-file={self.tls.ca}",
                    f"--{use}client-cert-auth",
                ]
        return flags


class EtcdCluster:
    """`async with`: members that have a leader."""

    def __init__(
        self,
        folder: Path,
        *,
        members: int = 1,
        tls: EtcdTls | None = None,
        options: Mapping[str, str] | None = None,
        places: Sequence[Place] = (),
        control: Place | None = None,
    ) -> None:
        """`places`: of each member, instead of so many here; `control`: where etcdctl runs."""
        self.tls = tls
        self._control = () if control is None else control.command
        ports = free_ports(2 * members) if not places else [2380, 2379] * len(places)
        self.members = [
            EtcdMember(
                name=f"etcd-{number}",
                folder=folder,
                host=place.address,
                command=place.command,
                port=ports.pop(),
                peer_port=ports.pop(),
                tls=tls,
                options={**QUICK, **(options or {})},
            )
            for number, place in enumerate(places or [Place("127.0.0.1", ())] * members, start=1)
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
        for member in self.members:  # more than 100 MB each, of which pytest would keep three runs
            await asyncio.to_thread(shutil.rmtree, member.folder / member.name, ignore_errors=True)

    async def until_ready(self) -> None:
        """Wait until each member that runs has a leader."""
        async with asyncio.timeout(_READY_SECONDS):
            while not await self._is_ready():
                await asyncio.sleep(0.05)

    async def _is_ready(self) -> bool:
        try:
            found = await self.statuses(self.members)
        except RuntimeError:
            return False
        return len(found) == len(self.members) and all(each["Status"].get("leader") for each in found)

    async def leader(self) -> EtcdMember:
        """The member that leads."""
        member = await self.leader_of(self.members)
        assert member is not None
        return member

    async def leader_of(self, asked: Sequence[EtcdMember]) -> EtcdMember | None:
        """The member that leads, as far as those can say that are asked."""
        for member in asked:
            with suppress(RuntimeError):
                (status,) = await self.statuses([member])
                if status["Status"].get("leader") == status["Status"]["header"]["member_id"]:
                    return member
        return None

    async def statuses(self, asked: Sequence[EtcdMember]) -> list[dict[str, Any]]:
        """What each says of itself. Raises RuntimeError where one says nothing."""
        found: list[dict[str, Any]] = json.loads(
            await self.ctl("endpoint", "status", "--write-out=json", asked=[member.endpoint for member in asked])
        )
        return found

    async def ctl(self, *arguments: str, user: str = "", stdin: str = "", asked: Sequence[str] = ()) -> str:
        """What etcdctl printed; `asked`: which endpoints instead of all. Raises RuntimeError with its complaint."""
        process = await asyncio.create_subprocess_exec(
            *self.ctl_words(*arguments, user=user, asked=asked),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.ctl_environment(),
        )
        out, err = await process.communicate(stdin.encode())
        if process.returncode != 0:
            raise RuntimeError(f"etcdctl {' '.join(arguments)}: {err.decode(errors='replace')}")
        return out.decode()

    def ctl_words(self, *arguments: str, user: str = "", asked: Sequence[str] = ()) -> list[str]:
        """A command line of etcdctl."""
        words = [*self._control, str(require("etcdctl")), "--endpoints", ",".join(asked or self.endpoints)]
        if self.tls is not None:
            client = self.tls.client
            words += [f"--cacert={self.tls.ca}", f"--cert={client.certificate}", f"--key={client.key}"]
        if user:
            words.append(f"--user={user}")
        return [*words, "--dial-timeout=2s", "--command-timeout=5s", *arguments]

    @staticmethod
    def ctl_environment() -> dict[str, str]:
        return {**os.environ, **environment_for(require("etcdctl")), "ETCDCTL_API": "3"}

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
