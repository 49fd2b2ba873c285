"""How the agent's process is set up, seen from within it at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.agent import ROOT, AgentProcess

if TYPE_CHECKING:
    from pathlib import Path

MOST_SECONDS = 0.001
"""With rounds of the event loop of 1 ms and Python's own interval of 5 ms, a thread waited for up to 2 s."""
AT_EXIT = """
import atexit, pathlib, sys

def note():
    pathlib.Path({file!r}).write_text(str(sys.getswitchinterval()))

atexit.register(note)
"""


async def test_a_thread_need_not_wait_for_a_pause_of_a_busy_event_loop(tmp_path: Path) -> None:
    noted, site = tmp_path / "noted", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(AT_EXIT.format(file=str(noted)), encoding="ascii")

    async with AgentProcess(tmp_path, environment={"PYTHONPATH": f"{site}:{ROOT}"}) as agent:
        assert await agent.stop() == 0

    assert float(noted.read_text(encoding="ascii")) <= MOST_SECONDS
