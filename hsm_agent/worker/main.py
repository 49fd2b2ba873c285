"""The worker's loop: one request line in, lines of answers out, until the pipe closes.

Requests: `{"do": "load", …}`, `{"do": "slots"}`, `{"do": "read", "steps": [[step, slot], …]}`,
`{"do": "fill", "directory": …}`, `{"do": "end"}`.
`read` has one answer a step, sent soon after the step is done: a later call that hangs takes nothing with it.
It must not initialise a module twice, fork, or print: recovery is a new process, and the parent decides on it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import select
import signal
import sys
import threading
import time
from typing import Any

from hsm_agent.worker import luna, steps
from hsm_agent.worker.cryptoki import Failed, Module
from hsm_agent.worker.outbox import Outbox
from hsm_agent.worker.page import NO_SLOT, PLACE, SIZE, STEP

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def isolate(parent: int) -> None:
    """Die with the parent, leave no core, and be no further use to a debugger: the module may hold secrets."""
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
        # What was asked before the end is still answered, unless a call is stuck.
        time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class Worker:
    """The module, once loaded, and the page on which the parent sees where we are."""

    def __init__(self, page: mmap.mmap, outbox: Outbox) -> None:
        self._page = page
        self._outbox = outbox
        self._module: Module | None = None

    def _before(self, function: str, slot: int | None) -> None:
        PLACE.pack_into(self._page, STEP.size, NO_SLOT if slot is None else slot, function.encode())

    def _load(self, path: str, reserved: str | None, *, with_luna: bool) -> dict[str, Any]:
        try:
            module = Module(path, self._before)
        except OSError as error:
            return {"stage": "dlopen", "error": str(error)}
        try:
            module.bind()
        except AttributeError as error:
            return {"stage": "dlsym", "error": str(error)}
        except Failed as failure:
            return {"stage": failure.function, "rv": failure.value, "calls": module.calls}
        functions = luna.bind(module) if with_luna else []
        answer: dict[str, Any] = {"functions": functions, "ulong": ctypes.sizeof(ctypes.c_ulong)}
        try:
            module.initialize(reserved)
            self._module = module
            answer["info"] = module.info().hex()
        except Failed as failure:
            answer |= {"stage": failure.function, "rv": failure.value}
        return answer | {"calls": self._taken(module)}

    def _fill(self, directory: str) -> dict[str, Any]:
        self._before("reading the object store", None)
        try:
            return {"bytes": steps.directory_bytes(directory)}
        except OSError as error:
            return {"error": f"{directory}: {error.strerror}"}

    def _taken(self, module: Module) -> list[tuple[str, int, int]]:
        calls, module.calls = module.calls, []
        return calls

    def answer(self, request: dict[str, Any]) -> bool:
        """Serve one request; False after the last."""
        what = request["do"]
        if what == "read" and self._module is not None:
            self._read(self._module, request["steps"])
        elif what == "load":
            self._say(self._load(request["module"], request.get("reserved"), with_luna=bool(request.get("luna"))))
        elif what == "fill":
            self._say(self._fill(request["directory"]))
        elif what == "slots" and self._module is not None:
            self._say(self._slots(self._module))
        else:
            if self._module is not None:
                self._module.finalize()
            self._say({"ended": True})
        self._outbox.flush()
        return bool(what != "end")

    def _slots(self, module: Module) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = {"slots": module.slots()}
        except Failed as failure:
            answer = {"stage": failure.function, "rv": failure.value}
        return answer | {"calls": self._taken(module)}

    def _read(self, module: Module, wanted: list[tuple[str, int]]) -> None:
        for position, (step, slot) in enumerate(wanted):
            STEP.pack_into(self._page, 0, position)
            at = time.time()
            payload = steps.STEPS[step](module, slot)
            self._say([step, slot, at, self._taken(module), payload])

    def _say(self, value: object) -> None:
        self._before("", None)
        self._outbox.add(value)


def main() -> None:
    """Run until told to end, or until the parent is gone."""
    parent, place = int(sys.argv[1]), int(sys.argv[2])
    isolate(parent)
    page = mmap.mmap(place, SIZE)
    os.close(place)
    requests, answers = take_pipes()
    end_with_parent(requests)
    worker = Worker(page, Outbox(answers))
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            if not worker.answer(json.loads(line)):
                break
    # Not sys.exit: a module's own threads or exit handlers must not keep us.
    os._exit(0)
