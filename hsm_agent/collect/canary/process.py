"""One canary process: started, asked, watched, killed. The deadline is always the parent's.

It must not block the event loop, wait for a process without a bound, leave one behind, or let a PIN into the log.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.child_process import Child, spawn
from hsm_agent.collect.child_start import MEMORY_BYTES, REAP_SECONDS
from hsm_agent.collect.pipes import Pipes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMAND = (sys.executable, "-P", "-s", "-m", "hsm_agent.workers.canary")
_MOST_STEPS = 64
"""Lines of progress to one request."""
_WHAT_TO_CHECK = {
    "C_Initialize": "check that the HSM's server or network link is up and that the client is configured",
    "loading python-pkcs11": "the host may be overloaded",
    "": "the host may be overloaded",
}


class CanaryLost(Exception):
    """The process is of no more use. The text says why, and what to check; `step` is where it was."""

    def __init__(self, reason: str, step: str) -> None:
        super().__init__(reason)
        self.step = step


class _Pipes(Pipes):
    """Each line is progress, or an answer."""

    def __init__(self, source: str, hide: str) -> None:
        super().__init__(source, hide=hide)
        self.step = ""
        self.steps_left = 0

    def values(self, line: Any) -> list[Any] | None:
        if not isinstance(line, dict):
            return None
        if "at" not in line:
            return [line]
        self.steps_left -= 1
        if self.steps_left < 0 or not isinstance(line["at"], str):
            return None
        self.step = line["at"]
        return []


class CanaryProcess(Child[_Pipes]):
    """A running canary. Everything it raises is CanaryLost, and after that only `kill` makes sense."""

    what = "canary process"

    @classmethod
    async def start(
        cls,
        source: str,
        environment: Mapping[str, str],
        command: Sequence[str] = COMMAND,
        *,
        hide: str = "",
        memory_bytes: int = MEMORY_BYTES,
    ) -> CanaryProcess:
        """Start a process that has loaded nothing yet. Its environment is clean but for what is given.

        `hide` is kept out of the log, if the module prints it.
        """
        try:
            transport, pipes, page = await spawn(lambda: _Pipes(source, hide), command, environment, memory_bytes)
        except OSError as error:
            raise CanaryLost(f"the canary's process cannot be started: {error}", "") from error
        return cls(transport, pipes, page, memory_bytes)

    async def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Ask and wait for the answer."""
        pipes = self._pipes
        self._send(request)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                while not pipes.answers and not pipes.ended:
                    pipes.news.clear()
                    await pipes.news.wait()
        except TimeoutError:
            advice = _WHAT_TO_CHECK.get(pipes.step, "check the HSM and the link to it")
            where = pipes.step or "the canary's process"
            raise CanaryLost(f"{where} did not return within {seconds:.2g} s: {advice}", pipes.step) from None
        if not pipes.answers:
            await self._exit(REAP_SECONDS)
            raise CanaryLost(f"{self._epitaph()} in {pipes.step or 'its start'}: check the vendor client", pipes.step)
        found: dict[str, Any] = pipes.answers.popleft()
        return found

    def _send(self, request: Mapping[str, Any]) -> None:
        self._pipes.asked += 1
        self._pipes.steps_left = _MOST_STEPS
        stdin: Any = self._transport.get_pipe_transport(0)
        stdin.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")

    def _epitaph(self) -> str:
        if self._pipes.nonsense:
            return f"the module wrote to the pipe of answers ({self._pipes.nonsense}), process killed"
        if why := self.ended_by_keeper():
            return f"{why}, process killed"
        code = self._transport.get_returncode()
        if code is None:
            return "the canary's process closed its pipe"
        if code < 0:
            why = " (if nobody did it, the kernel did, for want of memory)" if -code == signal.SIGKILL else ""
            return f"the canary's process was killed by {signal.Signals(-code).name}{why}"
        return f"the canary's process ended with exit code {code}"

    def ask_to_end(self) -> None:
        """Ask the canary to end."""
        self._send({"do": "end"})
