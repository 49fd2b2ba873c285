"""`python -m benchmarks [--quick] [FIGURE …]`: measure, one figure after the other, and print Markdown."""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import appliances, codebase, crowd, delay, footprint, machine, snmp, spool, sweep, trails

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_FIGURES: dict[str, Callable[..., Coroutine[object, object, None]]] = {
    "sweep": sweep.run,
    "snmp": snmp.run,
    "delay": delay.run,
    "spool": spool.run,
    "footprint": footprint.run,
    "crowd": crowd.run,
    "appliances": appliances.run,
    "codebase": codebase.run,
    "trails": trails.run,
}
_VAR = Path(__file__).resolve().parents[1] / "var"
"""Not /tmp: a file system in memory would make every fsync free."""


def main() -> None:
    """The entry point."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"any of {', '.join(_FIGURES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    words = parser.parse_args()
    wanted = words.figures or list(_FIGURES)
    if unknown := set(wanted) - set(_FIGURES):
        parser.error(f"no figure called {', '.join(sorted(unknown))}; there are {', '.join(_FIGURES)}")
    logging.basicConfig(level=logging.ERROR)
    print("\n".join(f"- {line}" for line in machine.facts()), flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_VAR) as folder:
        for name in wanted:
            directory = Path(folder) / name
            directory.mkdir()
            asyncio.run(_FIGURES[name](directory, quick=words.quick))
    print(f"Measured in {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
