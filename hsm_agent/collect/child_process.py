"""The parent's side of a child process that holds a vendor's library: its start, its polite end, and the other one.

The process that is started supervises the child proper (see hsm_agent.workers.supervisor): whatever the library forks
ends with it.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from pydantic import Field

from hsm_agent.collect.child_start import REAP_SECONDS, arguments, clean_environment
from hsm_agent.model import Usage
from hsm_agent.settings.types import Size
from hsm_agent.workers.supervisor.page import NOTE, OWN_BYTES, SIZE, USAGE, USAGE_AT, Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hsm_agent.collect.pipes import Pipes

log = logging.getLogger(__name__)

_MIB = 1024 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")
WorkerMemory = Annotated[Size, Field(ge=32 * _MIB)]
"""A bound that leaves room for Python and a small library."""

P = TypeVar("P", bound="Pipes")


async def spawn(
    pipes: Callable[[], P], command: Sequence[str], environment: Mapping[str, str], memory_bytes: int
) -> tuple[asyncio.SubprocessTransport, P, mmap.mmap]:
    """Start a child that has loaded nothing yet: the process, its pipes, the page it shares with us. Or OSError."""
    descriptor = os.memfd_create("hsm-agent-child")
    try:
        os.ftruncate(descriptor, SIZE)
        page = mmap.mmap(descriptor, SIZE)
        transport, protocol = await asyncio.get_running_loop().subprocess_exec(
            pipes,
            *command,
            *arguments(descriptor, memory_bytes),
            env=clean_environment(environment),
            cwd="/",
            pass_fds=(descriptor,),
        )
    finally:
        os.close(descriptor)
    return transport, protocol, page


def usages(children: Iterable[Child[Any]]) -> dict[int, Usage]:
    """What is known of those that live, by pid."""
    living = ((child.pid, child.usage()) for child in children if not child.gone)
    return {pid: usage for pid, usage in living if usage is not None}


class Child(ABC, Generic[P]):
    """A running child."""

    what = "process"
    """What it is, for the log."""

    def __init__(self, transport: asyncio.SubprocessTransport, pipes: P, page: mmap.mmap, memory_bytes: int) -> None:
        self._transport = transport
        self._pipes = pipes
        self._page = page
        self._memory_bytes = memory_bytes
        self._keeper = transport.get_pid()

    @property
    def pid(self) -> int:
        """The child; until it runs, the process that is to keep it."""
        pid, _, _ = NOTE.unpack_from(self._page, OWN_BYTES)
        return int(pid) or self._keeper

    def usage(self) -> Usage | None:
        """What its keeper saw of it a few seconds ago; None until it was looked at."""
        ticks, resident = USAGE.unpack_from(self._page, USAGE_AT)
        return Usage(ticks / _TICKS, resident) if resident else None

    def ended_by_keeper(self) -> str:
        """Why it was ended though it neither crashed nor hung; empty if it was not."""
        _, cause, resident = NOTE.unpack_from(self._page, OWN_BYTES)
        if cause == Cause.MEMORY:
            bound = f"worker_memory ({self._memory_bytes // _MIB} MiB)"
            return f"the module took {-(-resident // _MIB)} MiB of resident memory, more than {bound}"
        if cause == Cause.DESCRIPTORS:
            return (
                "the module closed descriptors that are not its own, and this system lets no process hide them from it"
            )
        return ""

    @abstractmethod
    def ask_to_end(self) -> None:
        """Send the request after which the child lets its module finalise and exits."""

    async def _exit(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._pipes.exited.wait()
        except TimeoutError:
            return False
        return True

    @property
    def gone(self) -> bool:
        """Whether the process has ended and been reaped, and with it whatever it had started."""
        return self._pipes.exited.is_set()

    async def end(self, seconds: float) -> bool:
        """Let the module finalise, so that the HSM's server sees us leave; then kill what is left, as `kill` does."""
        if not self.gone:
            self.ask_to_end()
            await self._exit(seconds)
        return await self.kill()

    async def kill(self) -> bool:
        """Kill and reap. False if the kernel would not let go of it in time: then it is the caller's to watch."""
        if not self.gone:
            # To the keeper, which kills all there is and reaps it. It is not killed itself: it waits for a child that
            # the kernel holds, and only by it we know of that child.
            self._transport.terminate()
            if not await self._exit(REAP_SECONDS):
                log.warning("%s %s is stuck in the kernel and cannot be reaped", self.what, self.pid)
                return False
        self.let_go()
        # The pipes' own callbacks run on the loop's next turn; nothing of this process is to outlive this call.
        await asyncio.sleep(0)
        return True

    def let_go(self) -> None:
        """Close our ends of the pipes and the page, whatever the process does."""
        self._transport.close()
        self._page.close()
