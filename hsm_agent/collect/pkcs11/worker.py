"""One worker process: started, asked, watched, killed. The deadline is always the parent's.

It must not block the event loop, wait for a process without a bound, or leave one behind.
"""

from __future__ import annotations

import asyncio
import json
import logging
import mmap
import os
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.child import REAP_SECONDS, Child
from hsm_agent.collect.pkcs11 import reasons as pkcs11_reasons
from hsm_agent.plain import harmless
from hsm_agent.worker.page import NO_SLOT, PLACE, SIZE, STEP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-S", "-P", "-m", "hsm_agent.worker")
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])
_MOST_LINE_BYTES = 16 * 1024 * 1024
_KEPT_STDERR_LINES = 20
_LOGGED_STDERR_LINES = 100
_LOGGED_LINE_CHARACTERS = 300


class WorkerLost(Exception):
    """The worker is of no more use. The text says why, and what to check; `hung` if a call did not end.

    `behind` is how many steps before the fatal one were still unanswered: a crash takes them with it.
    """

    def __init__(self, reason: str, *, hung: bool = False) -> None:
        super().__init__(reason)
        self.hung = hung
        self.behind = 0


def worker_environment(given: Mapping[str, str]) -> dict[str, str]:
    """A clean environment: what Python and a C library need, and what the operator gave."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **given, "PYTHONPATH": _PACKAGE_ROOT}


class _Pipes(asyncio.SubprocessProtocol):
    """Answers and prints as they arrive; no task is needed to drain them."""

    def __init__(self, source: str) -> None:
        self.answers: deque[Any] = deque()
        self.stderr: deque[str] = deque(maxlen=_KEPT_STDERR_LINES)
        self.ended = False
        self.exited = asyncio.Event()
        self.news = asyncio.Event()
        self._source = source
        self._half = {1: b"", 2: b""}
        self._logged = 0

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, half = (self._half[fd] + data).split(b"\n")
        self._half[fd] = half if len(half) <= _MOST_LINE_BYTES else b""
        if fd == 1:
            for line in lines:
                self.answers.extend(json.loads(line))
            self.news.set()
        else:
            for line in lines:
                self._print(line)

    def _print(self, line: bytes) -> None:
        """What the module prints goes to the log, line by line and bounded: some print for ever."""
        text = harmless(line.decode("utf-8", "replace"))
        self.stderr.append(text[:_LOGGED_LINE_CHARACTERS])
        self._logged += 1
        if self._logged <= _LOGGED_STDERR_LINES:
            log.info("module of %s says: %s", self._source, text[:_LOGGED_LINE_CHARACTERS])
        elif self._logged == _LOGGED_STDERR_LINES + 1:
            log.info("module of %s says more; the rest of this worker's output is not logged", self._source)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc
        if fd == 1:
            self.ended = True
            self.news.set()

    def process_exited(self) -> None:
        self.exited.set()


class WorkerProcess(Child):
    """A running worker. Everything it raises is WorkerLost, and after that only `kill` makes sense."""

    what = "worker of a module"

    def __init__(self, transport: asyncio.SubprocessTransport, pipes: _Pipes, page: mmap.mmap) -> None:
        super().__init__(transport, pipes.exited)
        self._pipes = pipes
        self._page = page
        self.owed = 0
        """Answers still to come. A poll that was cancelled leaves some, and they would be taken for the next one's."""
        self.started = asyncio.get_running_loop().time()

    @classmethod
    async def start(
        cls, source: str, environment: Mapping[str, str], command: Sequence[str] = COMMAND
    ) -> WorkerProcess:
        """Start a worker that has loaded nothing yet."""
        loop = asyncio.get_running_loop()
        try:
            descriptor = os.memfd_create("hsm-agent-worker")
        except OSError as error:
            raise WorkerLost(f"the worker cannot be started: {error}") from error
        try:
            os.ftruncate(descriptor, SIZE)
            page = mmap.mmap(descriptor, SIZE)
            transport, pipes = await loop.subprocess_exec(
                lambda: _Pipes(source),
                *command,
                str(os.getpid()),
                str(descriptor),
                env=worker_environment(environment),
                cwd="/",
                pass_fds=(descriptor,),
            )
        except OSError as error:
            raise WorkerLost(f"the worker cannot be started: {error}") from error
        finally:
            os.close(descriptor)
        return cls(transport, pipes, page)

    def send(self, request: Mapping[str, Any]) -> None:
        """Ask; one request is in flight at a time."""
        self.owed += len(request["steps"]) if "steps" in request else 1
        stdin: Any = self._transport.get_pipe_transport(0)
        stdin.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")

    async def answer(self, seconds: float) -> Any:
        """The next answer. Raises WorkerLost when there is none within that time."""
        pipes = self._pipes
        if not pipes.answers:
            try:
                async with asyncio.timeout(max(0.0, seconds)):
                    while not pipes.answers and not pipes.ended:
                        pipes.news.clear()
                        await pipes.news.wait()
            except TimeoutError:
                function, slot = self.place()
                raise WorkerLost(pkcs11_reasons.hung(function, slot, seconds), hung=True) from None
        if not pipes.answers:
            raise WorkerLost(await self._epitaph())
        self.owed -= 1
        return pipes.answers.popleft()

    def place(self) -> tuple[str, int | None]:
        """The C call the worker is in, or was in when it died, and the slot it is about."""
        slot, name = PLACE.unpack_from(self._page, STEP.size)
        return name.rstrip(b"\0").decode("ascii", "replace"), None if slot == NO_SLOT else slot

    def position(self) -> int:
        """Which step of the last request the worker is in, or was in when it died; 0 between calls."""
        (position,) = STEP.unpack_from(self._page)
        return int(position) if self.place()[0] else 0

    async def _epitaph(self) -> str:
        await self._exit(REAP_SECONDS)
        function, slot = self.place()
        return pkcs11_reasons.ended(self._transport.get_returncode(), function, slot, list(self._pipes.stderr))

    def ask_to_end(self) -> None:
        """Ask the worker to end."""
        self.send({"do": "end"})

    def let_go(self) -> None:
        """Close our ends of the pipes and the page, whatever the process does."""
        super().let_go()
        self._page.close()
