"""Stands for the canary's process: answers as FAKE_CANARY says (a JSON list of answers to `sign`), and counts the tries.

An answer is `hang`, `die`, or what the real one would send. FAKE_FLAGS are the token's flags; FAKE_TRIES is a file that
gets a line for each login.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from pathlib import Path

PAGE_SIZE = 72


def say(value: object) -> None:
    print(json.dumps([value]), flush=True)


def at(page: mmap.mmap, step: str) -> None:
    page[8:] = (2**64 - 1).to_bytes(8, sys.byteorder) + step.encode().ljust(56, b"\0")


def main() -> None:
    tries = Path(os.environ["FAKE_TRIES"])
    answers = json.loads(os.environ["FAKE_CANARY"])
    page = mmap.mmap(int(sys.argv[2]), PAGE_SIZE)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "end":
            return
        if request["do"] == "reach":
            at(page, "C_OpenSession")
            say({"ok": {"flags": int(os.environ.get("FAKE_FLAGS", "0"))}})
            continue
        done = len(tries.read_text(encoding="ascii").split()) if tries.exists() else 0
        with tries.open("a", encoding="ascii") as file:
            file.write("login\n")
        answer = answers[min(done, len(answers) - 1)]
        at(page, "C_Sign" if answer == "die-signing" else "C_Login")
        if answer == "hang":
            time.sleep(60)
        if isinstance(answer, str):
            os._exit(3)
        say(answer)


main()
