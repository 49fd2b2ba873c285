"""A real peer as a child process in the foreground, logging to a file. Needs no pytest."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.peers.ports import until_listening
from tests.peers.require import environment_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_STOP_SECONDS = 5.0


class Daemon(ABC):
    """`async with`, or `start` and `stop` or `kill`; one that has ended can be started again."""

    _process: asyncio.subprocess.Process | None = None

    @abstractmethod
    async def start(self) -> None:
        """Start it and wait until it listens."""

    @property
    @abstractmethod
    def log(self) -> Path:
        """What the daemon says of itself."""

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def _run(
        self,
        program: Path,
        arguments: Iterable[str],
        *,
        tcp: Iterable[int] = (),
        udp: Iterable[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the program; returns when it listens on all those ports. Raises RuntimeError with its log."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment_for(program), **(environment or {})},
            )
        await until_listening(self._process, list(tcp), list(udp), self.log)

    async def stop(self) -> None:
        """Ask it to end (SIGTERM), so that it says goodbye to whom it serves; insist after a while."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it at once (SIGKILL)."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
