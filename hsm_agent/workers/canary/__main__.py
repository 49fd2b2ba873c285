"""The canary's loop: one request line in, one answer out, until the pipe closes.

Requests: `{"do": "reach", "module", "token"}`, `{"do": "sign", "pin", "key", "mechanism", "data"}`, `{"do": "end"}`.
An answer has `ok`, or `failed` (the step), `error`, `text`. The step that may hang is noted in the shared page.
It must not try anything twice, least of all a PIN: recovery is a new process, and the parent decides on it.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from hsm_agent.workers import note_call
from hsm_agent.workers.isolation import start

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsm_agent.workers.canary.signing import Canary


def _serve(canary: Canary | None, at: Callable[[str], None], request: dict[str, Any]) -> tuple[Canary | None, Any]:
    try:
        at("loading python-pkcs11")
        # Not imported above: a package that is missing or broken is an answer, not an end.
        from hsm_agent.workers.canary import signing  # noqa: PLC0415
    except ImportError as error:
        return canary, {"failed": "loading python-pkcs11", "error": "ImportError", "text": str(error)}
    if canary is None:
        canary = signing.Canary(at)
    return canary, signing.answer(canary, request)


def main() -> None:
    """Run until told to end, or until the parent is gone."""
    page, requests, answers = start(sys.argv[1:])
    canary: Canary | None = None
    for line in requests:
        request = json.loads(line)
        if request["do"] == "end":
            if canary is not None:
                canary.end()
            break
        canary, answer = _serve(canary, partial(note_call, page), request)
        answers.add(answer)
        answers.flush()
        del line, request  # a PIN is in there
    # Not sys.exit: a module's own threads or exit handlers must not keep us.
    os._exit(0)


if __name__ == "__main__":
    main()
