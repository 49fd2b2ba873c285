"""The canary's loop: one request line in, lines of progress and one answer out, until the pipe closes.

Requests: `{"do": "reach", "module", "token"}`, `{"do": "sign", "pin", "key", "mechanism", "data"}`, `{"do": "end"}`.
Progress is `{"at": "C_Login"}`, said before what may hang; an answer has `ok`, or `failed` (where), `error`, `text`.
It must not try anything twice, least of all a PIN: recovery is a new process, and the parent decides on it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from hsm_agent.workers.supervisor.lines import Sender
from hsm_agent.workers.supervisor.start import start

if TYPE_CHECKING:
    from hsm_agent.workers.canary.signing import Canary


def _lines(values: list[Any]) -> bytes:
    return b"".join(json.dumps(value, separators=(",", ":")).encode() + b"\n" for value in values)


class Answers:
    """Lines for the parent, each sent before anything else happens: the next step may hang."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def at(self, step: str) -> None:
        """Say which step begins."""
        self.send({"at": step})

    def send(self, value: dict[str, Any]) -> None:
        self._sender.add(value)
        self._sender.flush()


def _serve(canary: Canary | None, answers: Answers, request: dict[str, Any]) -> Canary | None:
    try:
        answers.at("loading python-pkcs11")
        # Here and not above: what is wrong with it is an answer, not an end.
        from hsm_agent.workers.canary import signing  # noqa: PLC0415
    except ImportError as error:
        answers.send({"failed": "loading python-pkcs11", "error": "ImportError", "text": str(error)})
        return canary
    if canary is None:
        canary = signing.Canary(answers.at)
    answers.send(signing.answer(canary, request))
    return canary


def main() -> None:
    """Run until told to end, or until the parent is gone."""
    _, lines, sender = start(sys.argv[1:], lambda descriptor, lost: Sender(descriptor, _lines, lost))
    answers, canary = Answers(sender), None
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
