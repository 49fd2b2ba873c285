"""The agent as a process: signals, start, reload and end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hsm_agent import log as logs
from hsm_agent.agent.agent import Agent
from hsm_agent.agent.control_client import LONGEST_PATH
from hsm_agent.agent.reload import reload
from hsm_agent.serve.settings import HttpError
from hsm_agent.serve.snmp.responder import SnmpServerError
from hsm_agent.state.files import DirectoryInUseError
from hsm_agent.state.snmp_engine import EngineStateError
from hsm_agent.threads import Lane

if TYPE_CHECKING:
    from hsm_agent.agent.control_socket import ControlServer
    from hsm_agent.agent.periodic import PeriodicJobs
    from hsm_agent.config.tree import Loaded

log = logging.getLogger(__name__)

STOP_SECONDS = 4.0  # of the five that SIGTERM may take; the rest is for closing
CONTROL_SECONDS = 5.0
RELOAD = "reload"
RELOAD_SECONDS = 0.5
LOAD_SECONDS = 10.0
SWITCH_SECONDS = 0.0005


class StartError(Exception):
    """The agent can't start; the text names the key or the file and says what to do."""


async def main(loaded: Loaded) -> None:
    """Run until SIGTERM or SIGINT. Raises StartError."""
    settings = loaded.config.agent
    logs.set_up(settings.log.level, settings.log.format)
    logs.catch_stray_errors()
    _let_threads_run()
    service = Service(loaded)
    service.handle_signals()
    try:
        await service.open()
    except (DirectoryInUseError, EngineStateError, SnmpServerError, HttpError, OSError) as error:
        await service.close()
        raise StartError(str(error)) from error
    _limit_garbage_collection()
    await service.run()


def _let_threads_run() -> None:
    """Let a thread that waits for the interpreter lock demand it after half a millisecond, not five.

    A loop that is never idle releases the lock in each round for the few microseconds of a system call: too short for
    a waiting thread to wake and take it, and its wait begins anew. The loop is made to give way only once the thread
    has waited a whole switch interval without a release. So with rounds shorter than that the spool's thread could
    wait for seconds (measured: 2 s, with rounds of 1 ms), as if the disk had not answered.
    """
    sys.setswitchinterval(SWITCH_SECONDS)


def _limit_garbage_collection() -> None:
    """Freeze start-up objects and raise the generation-2 threshold: a full collection blocks the loop for 50 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 1000)


class Service:
    """One run of one agent."""

    def __init__(self, loaded: Loaded) -> None:
        self._agent = Agent(loaded)
        self._control: ControlServer | None = None
        self._jobs: PeriodicJobs
        self._stopping = asyncio.Event()
        self._reloads = asyncio.Event()
        path = loaded.config.agent.control_path
        fits = len(os.fsencode(path)) <= LONGEST_PATH
        self._control_is_in_the_state = fits and path.is_relative_to(loaded.config.agent.state_directory)

    def handle_signals(self) -> None:
        """Handle SIGTERM, SIGINT and SIGHUP from now on, also while the agent opens."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reloads.set)

    async def open(self) -> None:
        """Open the state and every socket. Nothing is polled or sent yet."""
        await self._agent.open()
        lane = Lane("loading the control socket and the periodic jobs")
        control, self._jobs = await lane.call(self._load_rest, seconds=LOAD_SECONDS)
        self._control = control
        try:
            await control.start()
        except OSError as error:
            if not self._control_is_in_the_state:
                raise
            self._agent.control_problem = str(error)
            log.error("the control socket waits for the disk: %s", error)  # noqa: TRY400 - no bug of the agent's

    def _load_rest(self) -> tuple[ControlServer, PeriodicJobs]:
        """Load what a start needs last, a tenth of it: on a thread, while SNMP is answered already."""
        from hsm_agent.agent.control_socket import ControlServer
        from hsm_agent.agent.operator_commands import OperatorCommands
        from hsm_agent.agent.periodic import PeriodicJobs

        verbs = OperatorCommands(self._agent).verbs()
        return ControlServer(self._agent.loaded.config.agent.control_path, verbs), PeriodicJobs(self._agent)

    async def _open_control(self) -> None:
        """Retry: the socket stands in the state directory, whose disk may not be there yet."""
        assert self._control is not None
        while self._agent.control_problem:
            await asyncio.sleep(CONTROL_SECONDS)
            with suppress(OSError):  # logged at the first failure
                await self._control.start()
                self._agent.control_problem = ""

    async def run(self) -> None:
        """Poll, evaluate and deliver until a signal asks to stop; then drain and close."""
        from hsm_agent.agent.periodic import notify_systemd

        agent, jobs = self._agent, self._jobs
        try:
            async with agent.tasks as tasks:
                await agent.start()
                tasks.start(RELOAD, self._reload_when_asked())
                tasks.start("control socket", self._open_control())
                for work in (
                    jobs.tick,
                    jobs.monitor_itself,
                    jobs.watch_pipeline,
                    jobs.measure_lag,
                    jobs.notify_watchdog,
                ):
                    tasks.start(work.__name__, work())
                # Objects of the start live as long as the process: keep collections from scanning them.
                gc.collect()
                gc.freeze()
                notify_systemd("READY=1", f"STATUS=watching {len(agent.sources.running)} sources")
                await self._stopping.wait()
                end = time.monotonic() + STOP_SECONDS
                notify_systemd("STOPPING=1", "STATUS=draining")
                await tasks.stop([RELOAD], within=RELOAD_SECONDS)  # it would start again what is stopped next
                await agent.stop(end)
        finally:
            await self.close()

    async def close(self) -> None:
        """Close sockets and files; safe at any point of opening."""
        if self._control is not None:
            await self._control.close()
        await self._agent.close()

    async def _reload_when_asked(self) -> None:
        from hsm_agent.agent.periodic import notify_systemd, reloading_states

        while True:
            await self._reloads.wait()
            self._reloads.clear()
            notify_systemd(*reloading_states())
            await reload(self._agent)
            notify_systemd("READY=1")
