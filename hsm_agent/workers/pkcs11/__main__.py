"""The worker's loop: one request line in, answers out, until the pipe closes.

Requests: `{"do": "load", …}`, `{"do": "slots"}`, `{"do": "read", "steps": [[step, slot], …]}`,
`{"do": "fill", "directory": …}`, `{"do": "end"}`.
`read` has one answer a step, sent soon after the step is done: a later call that hangs takes nothing with it.
It must not initialise a module twice, fork once one is loaded, or print: recovery is a new process, and the parent
decides on it.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from hsm_agent.workers import STEP, note_call
from hsm_agent.workers.isolation import AnswerSender, start
from hsm_agent.workers.pkcs11 import steps
from hsm_agent.workers.pkcs11.cryptoki import Failed, Module

if TYPE_CHECKING:
    import mmap


class Worker:
    """The module, once loaded, and the page on which the parent sees the current call."""

    def __init__(self, page: mmap.mmap, answers: AnswerSender) -> None:
        self._page = page
        self._answers = answers
        self._module: Module | None = None

    def _before(self, function: str, slot: int | None) -> None:
        note_call(self._page, function, slot)

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
        functions = steps.bind_vendor_functions(module) if with_luna else []
        answer: dict[str, Any] = {"functions": functions, "ulong": ctypes.sizeof(ctypes.c_ulong)}
        try:
            module.initialize(reserved)
            self._module = module
            answer["info"] = (module.info() or b"").hex()
        except Failed as failure:
            answer |= {"stage": failure.function, "rv": failure.value}
        return answer | {"calls": self._taken(module)}

    def _taken(self, module: Module) -> list[tuple[str, int, int]]:
        calls, module.calls = module.calls, []
        return calls

    def answer(self, request: dict[str, Any]) -> bool:
        """Serve one request; False after the last."""
        what = request["do"]
        if what == "read" and self._module is not None:
            self._read(self._module, request["steps"])
        elif what == "load":
            self._send(self._load(request["module"], request.get("reserved"), with_luna=bool(request.get("luna"))))
        elif what == "fill":
            self._before("reading the object store", None)
            self._send(steps.store_bytes(request["directory"]))
        elif what == "slots" and self._module is not None:
            self._send(self._slots(self._module))
        else:
            if self._module is not None:
                self._module.finalize()
            self._send({"ended": True})
        self._answers.flush()
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
            self._send([step, slot, at, self._taken(module), payload])

    def _send(self, value: object) -> None:
        self._before("", None)
        self._answers.add(value)


def main() -> None:
    """Run until told to end, or until the parent is gone."""
    page, requests, answers = start(sys.argv[1:])
    worker = Worker(page, answers)
    for line in requests:
        if not worker.answer(json.loads(line)):
            break
    # Not sys.exit: a module's own threads or exit handlers must not keep us.
    os._exit(0)


if __name__ == "__main__":
    main()
