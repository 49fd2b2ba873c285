"""The parent's side of a child process that holds a vendor's library: its polite end, and the other one."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

log = logging.getLogger(__name__)

REAP_SECONDS = 1.0


class Child(ABC):
    """A running child. `exited` is set once it was reaped."""

    what = "process"
    """What it is, for the log."""

    def __init__(self, transport: asyncio.SubprocessTransport, exited: asyncio.Event) -> None:
        self._transport = transport
        self._exited = exited
        self.pid = transport.get_pid()

    @abstractmethod
    def ask_to_end(self) -> None:
        """Send the request after which the child lets its module finalise and exits."""

    async def _exit(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    @property
    def gone(self) -> bool:
        """Whether the process has ended and been reaped."""
        return self._exited.is_set()

    async def end(self, seconds: float) -> bool:
        """Let the module finalise, so that the HSM's server sees us leave; then kill what is left, as `kill` does."""
        if not self.gone:
            self.ask_to_end()
            await self._exit(seconds)
        return await self.kill()

    async def kill(self) -> bool:
        """Kill and reap. False if the kernel would not let go of it in time: then it is the caller's to watch."""
        if not self.gone:
            self._transport.kill()
            if not await self._exit(REAP_SECONDS):
                log.warning("%s %s is stuck in the kernel and cannot be reaped", self.what, self.pid)
                return False
        self.let_go()
        # The pipes' own callbacks run on the loop's next turn; nothing of this process is to outlive this call.
        await asyncio.sleep(0)
        return True

    def let_go(self) -> None:
        """Close our ends of the pipes, whatever the process does."""
        self._transport.close()
