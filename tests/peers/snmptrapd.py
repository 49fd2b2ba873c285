"""net-snmp's trap receiver as a child process: started on a free port, read as it receives.

Used by tests, the demo and the benchmarks; needs no pytest.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.peers.require import environment_for, require

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

TRAP_OID = ".1.3.6.1.6.3.1.1.4.1.0"
_MARK = "NOTIFICATION"
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_VALUE = re.compile(r"(?:(?P<type>[A-Za-z0-9-]+): )?(?P<text>.*)", re.DOTALL)

Value = int | bytes | str
"""Numbers as int, strings as bytes, OIDs as dotted text with a leading dot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One notification as snmptrapd understood it."""

    source: str
    inform: bool
    security: str
    """Such as `TRAP2, SNMP v3, user noc, context `."""
    varbinds: dict[str, Value]
    """By dotted name, in order."""

    @property
    def oid(self) -> str:
        """Which notification it is."""
        return str(self.varbinds[TRAP_OID])

    def text(self, name: str) -> str:
        """A string's value as text."""
        value = self.varbinds[name]
        return value.decode() if isinstance(value, bytes) else str(value)


class Snmptrapd:
    """An snmptrapd in the foreground. `async with`, or `start` and `stop`; a stopped one can be started again."""

    def __init__(self, directory: Path, lines: Sequence[str], *, host: str = "127.0.0.1", port: int = 0) -> None:
        """`lines` are its configuration; `directory` is its own, and keeps its engine ID, boots and users."""
        self._directory = directory
        self._host = host
        self._lines = lines
        self.port = port or free_udp_port(host)
        self.notifications: list[Notification] = []
        self.log: list[str] = []
        """What it says besides."""
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def address(self) -> str:
        """For a sink's `to:`."""
        return f"udp6:[{self._host}]:{self.port}" if ":" in self._host else f"udp:{self._host}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it listens."""
        program = require("snmptrapd")
        persistent = self._directory / "persistent"
        persistent.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "snmptrapd.conf"
        configuration.write_text("".join(f"{line}\n" for line in ("[snmp] hexOutputLength 0", *self._lines)))
        environment = (
            os.environ
            | environment_for(program)
            | {
                "SNMPCONFPATH": str(self._directory),
                "SNMP_PERSISTENT_DIR": str(persistent),
                "MIBS": "",
            }
        )
        self._process = await asyncio.create_subprocess_exec(
            str(program), "-f", "-n", "-C", "-c", str(configuration), "-On", "-Oxt", "-Lo",
            "-F", f"{_MARK}\\t%b\\t%P\\t%v\\n", self.address,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            limit=1 << 20,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(self._process))
        async with asyncio.timeout(_START_SECONDS):
            while not any(line.startswith("NET-SNMP version") for line in self.log):
                if self._process.returncode is not None or self._reader.done():
                    raise RuntimeError(f"snmptrapd did not start: {self.log}")
                await self._change()

    async def stop(self, *, kill: bool = False) -> None:
        """End it, in good order or by SIGKILL."""
        process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        self._process = self._reader = None
        with suppress(ProcessLookupError):
            (process.kill if kill else process.terminate)()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader
        self.log.clear()

    def forget(self) -> None:
        """Lose its persistent state, engine ID and boots included, as after a reinstallation. Only while stopped."""
        shutil.rmtree(self._directory / "persistent", ignore_errors=True)

    async def wait_for(self, count: int, *, seconds: float = 10.0) -> list[Notification]:
        """All notifications since the first start, once there are that many. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while len(self.notifications) < count:
                await self._change()
        return self.notifications

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            if text.startswith(_MARK):
                self.notifications.append(parse_notification(text))
            else:
                self.log.append(text)
            self._changed.set()
        self._changed.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def parse_notification(line: str) -> Notification:
    """A line of the format above."""
    _, source, security, *varbinds = line.split("\t")
    pairs = [varbind.partition(" = ") for varbind in varbinds]
    return Notification(
        source=source,
        inform=security.startswith("INFORM"),
        security=security,
        varbinds={name: _value(value) for name, _, value in pairs},
    )


def _value(text: str) -> Value:
    found = _VALUE.fullmatch(text)
    assert found is not None
    kind, rest = found["type"], found["text"]
    if kind == "Hex-STRING":
        return bytes.fromhex(rest)
    if text == '""':
        return b""
    if kind in {"OID", "STRING", "IpAddress"}:
        return rest
    return int(rest)


def free_udp_port(host: str = "127.0.0.1") -> int:
    """A port that is free now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
