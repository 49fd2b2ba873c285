"""A worker that has no module: it answers from a script, and hangs, dies and lies where the script says so.

The script is JSON in the variable FAKE_WORKER of its environment: what to do at `load`, `slots`, `fill`, and at each
`step/slot`. A value is the answer; `"hang"`, `"die"` and `"exit"` are what they say; `{"once": x, "then": y}` is x in
the first worker that comes there and y in the later ones (a mark in the directory FAKE_MARKS tells them apart).
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PAGE_SIZE = 72


def main() -> None:
    script = json.loads(os.environ["FAKE_WORKER"])
    page = mmap.mmap(int(sys.argv[2]), PAGE_SIZE)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "end":
            return
        if request["do"] == "read":
            for position, (step, slot) in enumerate(request["steps"]):
                _note(page, position, slot, f"call of {step}")
                _say([step, slot, 1.0, [["call", 0, 7]], _play(script, f"{step}/{slot}")])
                _note(page, position, 0, "")
        else:
            _note(page, 0, 2**64 - 1, f"call of {request['do']}")
            _say(_play(script, request["do"]))
            _note(page, 0, 0, "")


def _note(page: mmap.mmap, position: int, slot: int, name: str) -> None:
    page[:] = position.to_bytes(8, sys.byteorder) + slot.to_bytes(8, sys.byteorder) + name.encode().ljust(56, b"\0")


def _say(answer: Any) -> None:
    if isinstance(answer, list) and isinstance(answer[4], dict):  # a whole result, calls and all
        answer[3], answer[4] = answer[4]["calls"], answer[4]["payload"]
    print(json.dumps([answer]), flush=True)


def _play(script: dict[str, Any], name: str) -> Any:
    act = script.get(name)
    if isinstance(act, dict) and "once" in act:
        mark = Path(os.environ["FAKE_MARKS"]) / name.replace("/", "-")
        act = act["then"] if mark.exists() else act["once"]
        mark.touch()
    if act == "hang":
        time.sleep(60)
    if act == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "exit":
        print("last words", file=sys.stderr, flush=True)
        os._exit(4)
    return act


main()
