"""A child process that holds a vendor's library: requests, answers, log, its end, and the children the kernel keeps.

The deadline of every call is the parent's. What comes through the pipes is bounded in `pipes.py`. The process that is
started supervises the child proper (see hsm_agent.workers.supervisor): whatever the library forks ends with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.child_common import (
    MEMORY_BYTES,
    POLITE_SECONDS,
    REAP_SECONDS,
    arguments,
    ended_by_supervisor_text,
    exit_text,
    hung_text,
    new_page,
    not_an_answer_text,
    worker_environment,
)
from hsm_agent.collect.pipes import Pipes
from hsm_agent.model import Usage
from hsm_agent.settings.types import Size
from hsm_agent.threads import deadline
from hsm_agent.workers import (
    CHILD,
    CHILD_AT,
    STEP,
    USAGE,
    USAGE_AT,
    EndCause,
    current_call,
)

if TYPE_CHECKING:
    import mmap
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

_SHOWN_CHARACTERS = 60
_ANSWER_LENGTH, _CALL_LENGTH = 5, 3  # see Result and Call in collect/pkcs11/recording.py
_MOST_STUCK = 3
_MIB = 1024 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")
WorkerMemory = Annotated[Size, Field(ge=32 * _MIB)]
"""A bound that leaves room for Python and a small library."""


class ChildLost(Exception):
    """The child is of no more use. The text says why, and what to check.

    `hung`: a call did not return. `call`: where the child was. `behind`: how many steps before the fatal one were
    still unanswered, which a crash takes with it.
    """

    def __init__(self, reason: str, *, hung: bool = False, call: str = "") -> None:
        super().__init__(reason)
        self.hung = hung
        self.call = call
        self.behind = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a source's child is started. `hide` is kept out of the log, if the module prints it."""

    source: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = MEMORY_BYTES
    hide: str = field(default="", repr=False)


class ChildProcess:
    """A running child. Whatever it raises is ChildLost; after that only `kill` makes sense."""

    def __init__(
        self, transport: asyncio.SubprocessTransport, pipes: Pipes, page: mmap.mmap, memory_bytes: int
    ) -> None:
        self.started = asyncio.get_running_loop().time()
        self._transport = transport
        self._pipes = pipes
        self._page = page
        self._memory_bytes = memory_bytes
        self._supervisor = transport.get_pid()
        self._awaited: deque[tuple[str, int] | None] = deque()
        """The step and slot of each answer to come; None for those to other requests."""

    @classmethod
    async def start(cls, launch: Launch) -> Self:
        """Start a child that has loaded nothing yet."""
        try:
            descriptor, page = new_page()
            try:
                transport, pipes = await asyncio.get_running_loop().subprocess_exec(
                    lambda: Pipes(launch.source, hide=launch.hide),
                    *launch.command,
                    *arguments(descriptor, launch.memory_bytes),
                    env=worker_environment(launch.environment),
                    cwd="/",
                    pass_fds=(descriptor,),
                )
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ChildLost(f"the worker cannot be started: {error}") from error
        return cls(transport, pipes, page, launch.memory_bytes)

    @property
    def pid(self) -> int:
        """The child's; until it runs, its supervisor's."""
        pid, _, _ = CHILD.unpack_from(self._page, CHILD_AT)
        return int(pid) or self._supervisor

    def usage(self) -> Usage | None:
        """CPU and memory that the supervisor saw a moment ago; None before its first look."""
        ticks, resident = USAGE.unpack_from(self._page, USAGE_AT)
        return Usage(ticks / _TICKS, resident) if resident else None

    @property
    def unanswered(self) -> int:
        """Number of answers still to come. After a poll that was cancelled they would be taken for the next one's."""
        return len(self._awaited)

    def send(self, request: Mapping[str, Any]) -> None:
        """Ask; one request is in flight at a time."""
        steps = request.get("steps")
        # An answer that nothing waits for ends the child: the library can write to the pipe, too.
        self._awaited.extend([None] if steps is None else [(step, slot) for step, slot in steps])
        self._pipes.asked += 1 if steps is None else len(steps)
        stdin: Any = self._transport.get_pipe_transport(0)
        stdin.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")

    async def answer(self, seconds: float) -> Any:
        """The next answer. Raises ChildLost when there is none within that time."""
        pipes = self._pipes
        if not pipes.answers:
            try:
                async with asyncio.timeout(max(0.0, seconds)):
                    while not pipes.answers and not pipes.ended:
                        pipes.news.clear()
                        await pipes.news.wait()
            except TimeoutError:
                function, slot = current_call(self._page)
                raise ChildLost(hung_text(function, slot, seconds), hung=True, call=function) from None
        if not pipes.answers:
            raise await self._lost()
        found, awaited = pipes.answers.popleft(), self._awaited.popleft()
        if not _fits(found, awaited):
            raise ChildLost(not_an_answer_text(json.dumps(found)[:_SHOWN_CHARACTERS]))
        return found

    def current_step(self) -> int:
        """Index of the step of the last request that the child is in, or was in when it died; 0 between calls."""
        (step,) = STEP.unpack_from(self._page)
        return int(step) if current_call(self._page)[0] else 0

    async def _lost(self) -> ChildLost:
        """Why there are no more answers."""
        if self._pipes.not_an_answer:
            return ChildLost(not_an_answer_text(self._pipes.not_an_answer), call=current_call(self._page)[0])
        await self._exit(REAP_SECONDS)
        function, slot = current_call(self._page)
        if why := self._ended_by_supervisor():
            return ChildLost(ended_by_supervisor_text(why, function, slot), call=function)
        text = exit_text(self._transport.get_returncode(), function, slot, list(self._pipes.stderr))
        return ChildLost(text, call=function)

    def _ended_by_supervisor(self) -> str:
        """Why the supervisor ended it though it neither crashed nor hung; empty if it did not."""
        _, cause, resident = CHILD.unpack_from(self._page, CHILD_AT)
        if cause == EndCause.MEMORY:
            bound = f"worker_memory ({self._memory_bytes // _MIB} MiB)"
            return f"the module took {-(-resident // _MIB)} MiB of resident memory, more than {bound}"
        if cause == EndCause.DESCRIPTORS:
            return (
                "the module closed descriptors that are not its own, and this system lets no process hide them from it"
            )
        return ""

    async def _exit(self, seconds: float) -> bool:
        try:
            async with deadline(seconds):
                await self._pipes.exited.wait()
        except TimeoutError:
            return False
        return True

    @property
    def gone(self) -> bool:
        """Whether the child has ended and been reaped, and with it whatever it had started."""
        return self._pipes.exited.is_set()

    async def end(self, seconds: float) -> bool:
        """Let the module finalise, so that the HSM's server sees the client leave; then `kill`."""
        if not self.gone:
            self.send({"do": "end"})
            await self._exit(seconds)
        return await self.kill()

    async def kill(self) -> bool:
        """Kill and reap. False if the kernel did not end it in time: then the caller keeps it."""
        if not self.gone:
            # To the supervisor, which kills and reaps everything. It is not killed itself: it waits for a child that
            # the kernel holds, and only through it the agent knows of that child.
            self._transport.terminate()
            if not await self._exit(REAP_SECONDS):
                log.warning("worker process %s is stuck in the kernel and cannot be reaped", self.pid)
                return False
        self.release()
        # The pipes' own callbacks run on the loop's next turn; nothing of this process is to outlive this call.
        await asyncio.sleep(0)
        return True

    def release(self) -> None:
        """Close this end of the pipes, and the page; the process may still exist."""
        self._transport.close()
        self._page.close()


def _fits(answer: Any, awaited: tuple[str, int] | None) -> bool:
    """Whether it can be the answer to that: whatever else writes to the pipe may write JSON, too."""
    if awaited is None:
        return isinstance(answer, dict)
    return (
        isinstance(answer, list)
        and len(answer) == _ANSWER_LENGTH
        and tuple(answer[:2]) == awaited
        and isinstance(answer[3], list)
        and all(isinstance(call, list) and len(call) == _CALL_LENGTH for call in answer[3])
    )


class Children:
    """The child processes of a source: the current one, and killed ones that the kernel has not ended yet.

    A call that waits in a driver cannot be killed until the driver returns. Such processes are kept, counted and shown;
    with too many of them no other is started.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.current: ChildProcess | None = None
        self._stuck: list[ChildProcess] = []

    def _all(self) -> list[ChildProcess]:
        return [*self._stuck, *([self.current] if self.current else [])]

    def pids(self) -> tuple[int, ...]:
        """Processes that live now, stuck ones included."""
        return tuple(child.pid for child in self._all() if not child.gone)

    def usages(self) -> dict[int, Usage]:
        """CPU and memory of those that live, by pid; without those that were not looked at yet."""
        living = ((child.pid, child.usage()) for child in self._all() if not child.gone)
        return {pid: usage for pid, usage in living if usage is not None}

    def age_seconds(self, now: float) -> float:
        """How long the current child has lived at that time of the loop's clock; 0 without one."""
        return now - self.current.started if self.current else 0.0

    def reap(self) -> None:
        """Release stuck children that the kernel has ended meanwhile."""
        for child in [child for child in self._stuck if child.gone]:
            child.release()
            self._stuck.remove(child)

    async def start(self) -> ChildProcess:
        """Start the current child. Raises SourceFailure."""
        if len(self._stuck) >= _MOST_STUCK:
            raise SourceFailure(f"{len(self._stuck)} killed workers are stuck in the kernel: check the HSM's driver")
        try:
            self.current = await ChildProcess.start(self.launch)
        except ChildLost as lost:
            raise SourceFailure(str(lost)) from lost
        return self.current

    async def discard(self) -> None:
        """Kill the current child: it hangs, is dead, or is of no more use."""
        child, self.current = self.current, None
        if child is not None and not await child.kill():
            self._stuck.append(child)

    async def retire(self) -> None:
        """End the current child politely."""
        child, self.current = self.current, None
        if child is not None and not await child.end(POLITE_SECONDS):
            self._stuck.append(child)

    async def close(self) -> None:
        """Retire, and release stuck children: they have been killed, and end as soon as the kernel lets them."""
        await self.retire()
        for child in self._stuck:
            child.release()
        self._stuck.clear()
