"""A fake appliance: an executable that prints a sample, or misbehaves as it is told; and it keeps a log of itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "shell"

_SCRIPT = """#!/bin/sh
log={log}
echo "start $$" >>"$log"
trap 'echo "end $$" >>"$log"' EXIT
case $1 in
print) cat {samples}/"$2".txt ;;
slow) sleep 0.3; cat {samples}/"$2".txt ;;
endless) while :; do echo 'HSM Label: and so on and so on and so on and so on'; done ;;
binary) head -c 20000 /dev/urandom ;;
fail) printf 'Authorized use only\\n\\033[31mPermission denied (publickey).\\n' >&2; exit 255 ;;
refuse) cat {samples}/refused.txt; exit 1 ;;
quiet) exit 3 ;;
hang) trap '' TERM HUP INT; cat {samples}/"$2".txt; while :; do sleep 1; done ;;
leave) setsid sleep 300 >/dev/null 2>&1 & cat {samples}/"$2".txt ;;
tree)
    setsid sh -c 'echo "child $$" >>"$0"; exec sleep 300' "$log" &
    sleep 300 & echo "child $!" >>"$log"
    while :; do sleep 1; done ;;
self)
    tr '\\0' '\\n' </proc/$$/environ | sort
    for name in /proc/$$/fd/*; do printf 'fd %s ' "${{name##*/}}"; readlink "$name" || echo gone; done
    cut -d' ' -f5-7 /proc/$$/stat | sed 's/^/stat /'
    pwd ;;
esac
"""


class Appliance:
    """One fake appliance below a directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.program = directory / "appliance"
        self.log = directory / "appliance.log"
        self.log.touch()
        text = _SCRIPT.format(log=shlex.quote(str(self.log)), samples=shlex.quote(str(SAMPLES)))
        self.program.write_text(text, encoding="ascii")
        self.program.chmod(0o755)

    def run(self, what: str, sample: str = "hsm_show", parser: str = "lunash-hsm-show") -> dict[str, Any]:
        """A run of a source's configuration."""
        return {"command": [str(self.program), what, sample], "parser": parser}

    def pids(self, word: str) -> list[int]:
        """What it wrote down of itself: `start`, `end` or `child`, and a process id."""
        lines = self.log.read_text(encoding="ascii").splitlines()
        return [int(line.split()[1]) for line in lines if line.split()[0] == word]

    def most_at_once(self) -> int:
        """How many of its processes ever ran at the same time."""
        running = most = 0
        for line in self.log.read_text(encoding="ascii").splitlines():
            running += {"start": 1, "end": -1}.get(line.split()[0], 0)
            most = max(most, running)
        return most
