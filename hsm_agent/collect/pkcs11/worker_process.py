"""One worker process: started, asked, watched, killed. The deadline is always the parent's.

It must not block the event loop, wait for a process without a bound, or leave one behind.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.child_process import Child, spawn
from hsm_agent.collect.child_start import MEMORY_BYTES, REAP_SECONDS, clean_environment
from hsm_agent.collect.pipes import Pipes
from hsm_agent.collect.pkcs11 import reasons as pkcs11_reasons
from hsm_agent.workers.pkcs11.shared_page import NO_SLOT, PLACE, STEP

if TYPE_CHECKING:
    import mmap
    from collections.abc import Mapping, Sequence

COMMAND = (sys.executable, "-S", "-P", "-m", "hsm_agent.workers.pkcs11")
_ANSWER_LENGTH = 5
_SHOWN_CHARACTERS = 60
worker_environment = clean_environment


class WorkerLost(Exception):
    """The worker is of no more use. The text says why, and what to check; `hung` if a call did not end.

    `behind` is how many steps before the fatal one were still unanswered: a crash takes them with it.
    """

    def __init__(self, reason: str, *, hung: bool = False) -> None:
        super().__init__(reason)
        self.hung = hung
        self.behind = 0


class _Pipes(Pipes):
    """Each line is an array of answers."""

    def values(self, line: Any) -> list[Any] | None:
        return line if isinstance(line, list) else None


class WorkerProcess(Child[_Pipes]):
    """A running worker. Everything it raises is WorkerLost, and after that only `kill` makes sense."""

    what = "worker of a module"

    def __init__(
        self, transport: asyncio.SubprocessTransport, pipes: _Pipes, page: mmap.mmap, memory_bytes: int
    ) -> None:
        super().__init__(transport, pipes, page, memory_bytes)
        self._awaited: deque[tuple[str, int] | None] = deque()
        """The step and slot of each answer to come; None for those to other requests."""
        self.started = asyncio.get_running_loop().time()

    @classmethod
    async def start(
        cls,
        source: str,
        environment: Mapping[str, str],
        command: Sequence[str] = COMMAND,
        *,
        memory_bytes: int = MEMORY_BYTES,
    ) -> WorkerProcess:
        """Start a worker that has loaded nothing yet."""
        try:
            transport, pipes, page = await spawn(lambda: _Pipes(source), command, environment, memory_bytes)
        except OSError as error:
            raise WorkerLost(f"the worker cannot be started: {error}") from error
        return cls(transport, pipes, page, memory_bytes)

    @property
    def owed(self) -> int:
        """Answers still to come. A poll that was cancelled leaves some, and they would be taken for the next one's."""
        return len(self._awaited)

    def send(self, request: Mapping[str, Any]) -> None:
        """Ask; one request is in flight at a time."""
        steps = request.get("steps")
        self._awaited.extend([None] if steps is None else [(step, slot) for step, slot in steps])
        self._pipes.asked += 1 if steps is None else len(steps)
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
        found, awaited = pipes.answers.popleft(), self._awaited.popleft()
        if not _fits(found, awaited):
            raise WorkerLost(pkcs11_reasons.nonsense(json.dumps(found)[:_SHOWN_CHARACTERS]))
        return found

    def place(self) -> tuple[str, int | None]:
        """The C call the worker is in, or was in when it died, and the slot it is about."""
        slot, name = PLACE.unpack_from(self._page, STEP.size)
        return name.rstrip(b"\0").decode("ascii", "replace"), None if slot == NO_SLOT else slot

    def position(self) -> int:
        """Which step of the last request the worker is in, or was in when it died; 0 between calls."""
        (position,) = STEP.unpack_from(self._page)
        return int(position) if self.place()[0] else 0

    async def _epitaph(self) -> str:
        if self._pipes.nonsense:
            return pkcs11_reasons.nonsense(self._pipes.nonsense)
        await self._exit(REAP_SECONDS)
        function, slot = self.place()
        if why := self.ended_by_keeper():
            return pkcs11_reasons.ended_by_keeper(why, function, slot)
        return pkcs11_reasons.ended(self._transport.get_returncode(), function, slot, list(self._pipes.stderr))

    def ask_to_end(self) -> None:
        """Ask the worker to end."""
        self.send({"do": "end"})


def _fits(answer: Any, awaited: tuple[str, int] | None) -> bool:
    """Whether it can be the answer to that: what else writes to the pipe may know JSON, too."""
    if awaited is None:
        return isinstance(answer, dict)
    return (
        isinstance(answer, list)
        and len(answer) == _ANSWER_LENGTH
        and tuple(answer[:2]) == awaited
        and isinstance(answer[3], list)
    )
