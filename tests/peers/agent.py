"""The agent itself as a child process: a configuration on free ports, started, asked, stopped or killed.

Used by the system tests, the demonstration and the benchmarks; needs no pytest.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from hsm_agent.agent.control_client import ControlError, ask
from tests.peers.ports import free_port
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
COMMUNITY = "for-tests-only"
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.02


class AgentProcess:
    """One agent below one directory. `async with`, or `start` and `stop`; a stopped one can be started again."""

    def __init__(
        self,
        directory: Path,
        *,
        sources: Sequence[Mapping[str, Any]] = (),
        deliver: Sequence[Mapping[str, Any]] = (),
        rules: Sequence[Mapping[str, Any]] = (),
        agent: Mapping[str, Any] | None = None,
        command: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`command` stands before the interpreter (`unshare …`); `environment` is added to this process's."""
        self.directory = directory
        self.file = directory / "agent.yaml"
        self.state = directory / "state"
        self.control = directory / "control"
        self.log_file = directory / "agent.log"
        self.snmp_port = free_port(socket.SOCK_DGRAM)
        self.http_port = free_port()
        self.process: asyncio.subprocess.Process | None = None
        self._command = command
        self._environment = environment or {}
        community = directory / "community"
        community.write_text(COMMUNITY, encoding="ascii")
        community.chmod(0o600)
        self.settings: dict[str, Any] = {
            "agent": {
                "name": "agent-under-test",
                "state_directory": str(self.state),
                "control_socket": str(self.control),
                **(agent or {}),
            },
            "sources": [dict(source) for source in sources],
            "rules": [dict(rule) for rule in rules],
            "serve": {
                "snmp": {
                    "listen": [f"udp:127.0.0.1:{self.snmp_port}"],
                    "communities": [{"name": {"file": str(community)}}],
                },
                "http": {"listen": f"127.0.0.1:{self.http_port}"},
            },
            "deliver": [dict(sink) for sink in deliver],
        }
        self.configure()

    @property
    def log(self) -> str:
        """Everything it logged, over all starts."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        """Of the running agent."""
        assert self.process is not None
        return self.process.pid

    def _surroundings(self) -> dict[str, str]:
        return {**os.environ, **trusting(), "PYTHONPATH": str(ROOT), **self._environment}

    def configure(self) -> None:
        """Write the settings to the configuration file."""
        self.file.write_text(yaml.safe_dump(self.settings, sort_keys=False), encoding="utf-8")

    async def start(self, *, wait: bool = True, errors: int | None = None) -> None:
        """Start it and wait until it answers at its control socket. `errors`: where its log goes, if not to the file."""
        environment = self._surroundings()
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command, sys.executable, "-m", "hsm_agent", "run", "--config", str(self.file),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log if errors is None else errors,
                env=environment,
            )  # fmt: skip
        if wait:
            await self.until(lambda _: True, seconds=_START_SECONDS)

    async def status(self) -> dict[str, Any]:
        """What `hsm-agent status --format json` says."""
        return await asyncio.to_thread(ask, self.control, "status")

    async def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """One verb of the control socket. Raises ControlError."""
        return await asyncio.to_thread(ask, self.control, verb, **arguments)

    async def until(self, holds: Callable[[dict[str, Any]], bool], *, seconds: float = 10.0) -> dict[str, Any]:
        """The status, once it is as asked. Raises TimeoutError with the log if it is not in time."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    assert self.process is not None
                    if self.process.returncode is not None:
                        raise RuntimeError(f"the agent ended with {self.process.returncode}:\n{self.log}")
                    with suppress(ControlError):
                        status = await self.status()
                        if holds(status):
                            return status
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        except TimeoutError as error:
            raise TimeoutError(f"not within {seconds:g} s; its log:\n{self.log}") from error

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(_STOP_SECONDS):
            return await self.process.wait()

    async def kill(self) -> None:
        """End it at once (SIGKILL)."""
        await self.stop(signal.SIGKILL)

    async def run(self, *words: str) -> tuple[int, str, str]:
        """Another verb of the command line: exit status, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            *self._command, sys.executable, "-m", "hsm_agent", *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._surroundings(),
        )  # fmt: skip
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def _end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.kill()


def source(name: str, module: Path, environment: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """A pkcs11 source that is polled quickly."""
    return {
        "name": name,
        "kind": "pkcs11",
        "module": str(module),
        "environment": dict(environment),
        "every": "500ms",
        "timeout": "2s",
        **more,
    }


def parse_json(text: str) -> Any:
    """What a verb printed with `--format json`."""
    return json.loads(text)
