"""`python -m benchmarks.probed_agent CONFIGURATION`: the agent with a probe beside it on the same event loop.

On SIGTERM it prints how many milliseconds late the probe woke, as one JSON list a line: those until the mark, which
SIGUSR1 sets, then those after it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from hsm_agent.agent.service import main
from hsm_agent.config.tree import load
from tests.peers.trusted import trusting

_PROBE_SECONDS = 0.01


async def _probe(late: list[list[float]]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _PROBE_SECONDS
        await asyncio.sleep(_PROBE_SECONDS)
        late[-1].append((loop.time() - due) * 1e3)


async def _run(path: Path) -> None:
    late: list[list[float]] = [[]]
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: late.append([]))
    probe = asyncio.create_task(_probe(late))
    try:
        await main(load(path, {**os.environ, **trusting()}))
    finally:
        probe.cancel()
    for part in late:
        print(json.dumps(part))


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1])))
