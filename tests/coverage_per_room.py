"""Compares the coverage of each room with its floor: `python -m tests.coverage_per_room REPORT`, of `coverage json`."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

FLOORS = {
    "model": 100,
    "codec": 100,
    "evaluate": 100,
    "wire": 100,
    "metrics": 100,
    "agent": 92,
    "cli": 95,
    "collect": 97,
    "config": 96,
    "deliver": 98,
    "group": 96,
    "net": 96,
    "serve": 98,
    "settings": 98,
    "spool": 96,
    "state": 97,
    "templates": 98,
    "workers": 45,  # their own processes are not measured: they start with a clean environment and end by a signal
    ".": 98,
}
"""Percent of statements and branches together; `.` is the modules at the top of the package. Outside the core a point or
two below what a run has: some branches depend on timing."""


def percentages(files: dict[str, Any]) -> dict[str, float]:
    """Coverage of each room, from the files of the report."""
    covered: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for name, measured in files.items():
        room = room_of(Path(name))
        summary = measured["summary"]
        covered[room] += summary["covered_lines"] + summary["covered_branches"]
        total[room] += summary["num_statements"] + summary["num_branches"]
    return {room: 100 * covered[room] / total[room] if total[room] else 100.0 for room in total}


def room_of(path: Path) -> str:
    """The first folder below the package, or the module itself where it has a floor of its own."""
    inner = path.parts[path.parts.index("hsm_agent") + 1 :]
    name = inner[0].removesuffix(".py")
    return name if len(inner) > 1 or name in FLOORS else "."


def complaints(found: dict[str, float]) -> list[str]:
    """One line for each room below its floor, without a floor, or that does not exist."""
    low = [f"{room}: {found[room]:.2f} % is below {floor} %" for room, floor in FLOORS.items() if found.get(room, floor) < floor]  # fmt: skip
    strange = [f"{room}: no floor in {Path(__file__).name}" for room in sorted(set(found) - set(FLOORS))]
    gone = [f"{room}: there is no such room" for room in FLOORS if room not in found]
    return low + strange + gone


def main(report: str) -> int:
    found = percentages(json.loads(Path(report).read_text(encoding="utf-8"))["files"])
    print(*(f"{room:10} {percent:6.2f} %" for room, percent in sorted(found.items())), sep="\n")
    wrong = complaints(found)
    print(*wrong, sep="\n", file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
