"""`hsm-agent status --watch` on a real terminal: it draws, goes on without the agent, and leaves the screen as it was."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from pathlib import Path

from tests.peers.agent import AgentProcess, source
from tests.peers.processes import until
from tests.peers.testmodule import FakeHsm

ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


class Terminal:
    """A pseudo-terminal of 120 by 30 with the verb in it."""

    def __init__(self, agent: AgentProcess, **more: str) -> None:
        """`more` is added to the environment."""
        self._more = more
        self._controller, user_side = pty.openpty()
        fcntl.ioctl(user_side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        self._user_side = user_side
        self._agent = agent
        self.shown = ""
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        words = ("status", "--watch", "--every", "500ms", "-c", str(self._agent.file))
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hsm_agent", *words, stdin=self._user_side, stdout=self._user_side,
            stderr=self._user_side, env={**os.environ, **self._more, "TERM": "xterm", "PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
        os.close(self._user_side)
        os.set_blocking(self._controller, False)
        asyncio.get_running_loop().add_reader(self._controller, self._read)

    def _read(self) -> None:
        try:
            self.shown += os.read(self._controller, 65536).decode(errors="replace")
        except OSError:  # EIO: the last process that had the terminal has ended
            asyncio.get_running_loop().remove_reader(self._controller)

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._controller)
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        os.close(self._controller)


async def ends_by(number: signal.Signals, terminal: Terminal) -> None:
    terminal.process.send_signal(number)
    assert await asyncio.wait_for(terminal.process.wait(), 5) == 0
    await until(lambda: LEAVE_SCREEN in terminal.shown, seconds=5.0)
    assert SHOW_CURSOR in terminal.shown
    assert "Traceback" not in terminal.shown


async def test_it_draws_until_it_is_interrupted_and_leaves_the_screen_clean(tmp_path: Path) -> None:
    hsm = FakeHsm(tmp_path / "hsm", "payments")
    hsm.set_memory(total=1000, free=10)
    async with AgentProcess(tmp_path, sources=[source("hsm", hsm.module, hsm.environment, every="1s")]) as agent:
        await agent.until(lambda status: bool(status["alarms"]))
        terminals = [Terminal(agent, PYTHONIOENCODING="latin-1"), Terminal(agent)]
        try:
            for terminal in terminals:
                await terminal.start()
            for terminal in terminals:
                await until(lambda shown=terminal: "First: See which application" in shown.shown, seconds=10.0)  # type: ignore[misc]  # bound now
                assert ENTER_SCREEN in terminal.shown
                assert "1 critical" in terminal.shown
            await ends_by(signal.SIGTERM, terminals[0])
            await agent.stop()
            await until(lambda: "the agent is not running" in terminals[1].shown, seconds=10.0)
            await ends_by(signal.SIGINT, terminals[1])
        finally:
            for terminal in terminals:
                await terminal.close()
