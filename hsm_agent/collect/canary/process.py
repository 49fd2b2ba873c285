"""One canary process: started, asked, watched, killed. The deadline is always the parent's.

It must not block the event loop, wait for a process without a bound, leave one behind, or let a PIN into the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.child import REAP_SECONDS, Child
from hsm_agent.plain import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-s", "-m", "hsm_agent.canary")
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])
_MOST_LINE_BYTES = 1024 * 1024
_LOGGED_LINES = 100
_LOGGED_CHARACTERS = 300
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


class _Pipes(asyncio.SubprocessProtocol):
    """Answers and prints as they arrive."""

    def __init__(self, source: str, hide: str) -> None:
        self.answers: deque[dict[str, Any]] = deque()
        self.step = ""
        self._hidden = hide
        self.ended = False
        self.exited = asyncio.Event()
        self.news = asyncio.Event()
        self._source = source
        self._half = {1: b"", 2: b""}
        self._logged = 0

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, half = (self._half[fd] + data).split(b"\n")
        self._half[fd] = half if len(half) <= _MOST_LINE_BYTES else b""
        for line in lines:
            if fd != 1:
                self._print(line)
            elif "at" in (answer := json.loads(line)):
                self.step = answer["at"]
            else:
                self.answers.append(answer)
        self.news.set()

    def _print(self, line: bytes) -> None:
        """What the module prints goes to the log, bounded and without the PIN: some print all they are given."""
        self._logged += 1
        text = line.decode("utf-8", "replace")
        if self._hidden:
            text = text.replace(self._hidden, "(hidden)")
        text = harmless(text)[:_LOGGED_CHARACTERS]
        if self._logged <= _LOGGED_LINES:
            log.info("module of %s says: %s", self._source, text)
        elif self._logged == _LOGGED_LINES + 1:
            log.info("module of %s says more; the rest of this process's output is not logged", self._source)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc
        if fd == 1:
            self.ended = True
            self.news.set()

    def process_exited(self) -> None:
        self.exited.set()


class CanaryProcess(Child):
    """A running canary. Everything it raises is CanaryLost, and after that only `kill` makes sense."""

    what = "canary process"

    def __init__(self, transport: asyncio.SubprocessTransport, pipes: _Pipes) -> None:
        super().__init__(transport, pipes.exited)
        self._pipes = pipes

    @classmethod
    async def start(
        cls, source: str, environment: Mapping[str, str], command: Sequence[str] = COMMAND, *, hide: str = ""
    ) -> CanaryProcess:
        """Start a process that has loaded nothing yet. Its environment is clean but for what is given.

        `hide` is kept out of the log, if the module prints it.
        """
        clean = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **environment, "PYTHONPATH": _PACKAGE_ROOT}
        try:
            transport, pipes = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Pipes(source, hide), *command, str(os.getpid()), env=clean, cwd="/"
            )
        except OSError as error:
            raise CanaryLost(f"the canary's process cannot be started: {error}", "") from error
        return cls(transport, pipes)

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
        return pipes.answers.popleft()

    def _send(self, request: Mapping[str, Any]) -> None:
        stdin: Any = self._transport.get_pipe_transport(0)
        stdin.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")

    def _epitaph(self) -> str:
        code = self._transport.get_returncode()
        if code is None:
            return "the canary's process closed its pipe"
        if code < 0:
            return f"the canary's process was killed by {signal.Signals(-code).name}"
        return f"the canary's process ended with exit code {code}"

    def ask_to_end(self) -> None:
        """Ask the canary to end."""
        self._send({"do": "end"})
