"""The canary's loop: one request line in, lines of progress and one answer out, until the pipe closes.

Requests: `{"do": "reach", "module", "token"}`, `{"do": "sign", "pin", "key", "mechanism", "data"}`, `{"do": "end"}`.
Progress is `{"at": "C_Login"}`, said before what may hang; an answer has `ok`, or `failed` (where), `error`, `text`.
It must not try anything twice, least of all a PIN: recovery is a new process, and the parent decides on it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsm_agent.canary.signing import Canary

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def isolate(parent: int) -> None:
    """Die with the parent, leave no core, and be no use to a debugger: there is a PIN in here."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel knew that we care
        os._exit(0)
    # A terminal's ^C goes to the whole group; the parent drains and ends us itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def take_pipes() -> tuple[int, int]:
    """Move the pipes away from where a module would read or print; its prints go to stderr, the parent's log."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def end_with_parent(requests: int) -> None:
    """Exit when the parent's end of the pipe is gone, even while the main thread is stuck in a C call."""
    poller = select.poll()
    poller.register(requests, 0)  # no events asked for: hang-up is always reported

    def watch() -> None:
        poller.poll()
        time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class Answers:
    """Lines for the parent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def at(self, step: str) -> None:
        """Say which step begins."""
        self.send({"at": step})

    def send(self, value: dict[str, Any]) -> None:
        data = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]


def _serve(canary: Canary | None, answers: Answers, request: dict[str, Any]) -> Canary | None:
    try:
        answers.at("loading python-pkcs11")
        # Here and not above: what is wrong with it is an answer, not an end.
        from hsm_agent.canary import signing  # noqa: PLC0415
    except ImportError as error:
        answers.send({"failed": "loading python-pkcs11", "error": "ImportError", "text": str(error)})
        return canary
    if canary is None:
        canary = signing.Canary(answers.at)
    answers.send(signing.answer(canary, request))
    return canary


def main() -> None:
    """Run until told to end, or until the parent is gone."""
    isolate(int(sys.argv[1]))
    requests, pipe = take_pipes()
    end_with_parent(requests)
    answers, canary = Answers(pipe), None
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            request = json.loads(line)
            if request["do"] == "end":
                if canary is not None:
                    canary.end()
                break
            canary = _serve(canary, answers, request)
            del line, request  # a PIN is in there
    # Not sys.exit: a module's own threads or exit handlers must not keep us.
    os._exit(0)
