"""How a child process with a vendor's library is started, and why one ended, in one line. No asyncio, no pydantic.

Apart from `child_process.py`, because the Nagios plugin starts a worker without an event loop.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEMORY_BYTES = 512 * 1024 * 1024
"""Resident memory of a child, unless its source says otherwise."""
REAP_SECONDS = 1.0
POLITE_SECONDS = 1.0
"""How long a module may take to finalise."""
PKCS11_COMMAND = (sys.executable, "-S", "-P", "-m", "hsm_agent.workers.pkcs11")
CANARY_COMMAND = (sys.executable, "-P", "-s", "-m", "hsm_agent.workers.canary")
WHAT_TO_CHECK = {
    "dlopen": "check what the library does when it is loaded: its configuration file, its server, its licence",
    "C_Initialize": "check that the HSM's server or network link is up and that the client is configured",
    "loading python-pkcs11": "the host may be overloaded",
    "reading the object store": "check the file system it is on",
}
"""By the call that hung, crashed or failed."""
CHECK_LINK = "check the HSM and the link to it"
_STDERR_CHARACTERS = 200
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # noqa: PTH120 - pathlib takes 5 ms


def clean_environment(given: Mapping[str, str]) -> dict[str, str]:
    """The variables that Python and a C library need, and those of the configuration."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **given, "PYTHONPATH": _PACKAGE_ROOT}


def arguments(page_descriptor: int, memory_bytes: int) -> tuple[str, ...]:
    """Arguments of a child: the agent's pid, the descriptor of the shared page, the bound of resident bytes."""
    return str(os.getpid()), str(page_descriptor), str(memory_bytes)


def call_text(function: str, slot: int | None) -> str:
    """A call for people to read: `C_GetTokenInfo on slot 3`."""
    if not function:
        return "between calls"
    return function if slot is None else f"{function} on slot {slot}"


def hung_text(function: str, slot: int | None, seconds: float) -> str:
    """A call that did not return in time."""
    if not function:
        return f"the worker did not answer within {seconds:.3g} s; the host may be overloaded"
    advice = WHAT_TO_CHECK.get(function, CHECK_LINK)
    # Rounded: the time that was left differs a little from poll to poll, and each text that is new is logged.
    rounded = round(seconds, 1) or seconds
    return f"{call_text(function, slot)} did not return within {rounded:.3g} s, worker killed: {advice}"


def exit_text(returncode: int | None, function: str, slot: int | None, stderr: Sequence[str]) -> str:
    """A child that ended by itself; `stderr` are the lines it printed."""
    where = f"in {call_text(function, slot)}" if function else "between calls"
    if returncode is None:
        how = "the worker closed its pipe"
    elif returncode < 0:
        try:
            how = f"the module was killed by {signal.Signals(-returncode).name}"
        except ValueError:
            how = f"the module was killed by signal {-returncode}"
    else:
        how = f"the module ended its process with exit code {returncode}"
    last = next((line for line in reversed(stderr) if line.strip()), "")
    printed = f"; it said: {last[:_STDERR_CHARACTERS]}" if last else ""
    advice = WHAT_TO_CHECK.get(function, "check the vendor client and its version")
    if returncode == -signal.SIGKILL:
        advice = "if nobody did it, the kernel did, for want of memory: see its log"
    return f"{how} {where}: {advice}{printed}"


def not_an_answer_text(shown: str) -> str:
    """Something other than an answer came through the pipe of answers."""
    return (
        f"what came from the worker is no answer ({shown}), worker killed: the module writes to descriptors that are "
        "not its own: tell its vendor"
    )


def ended_by_supervisor_text(reason: str, function: str, slot: int | None) -> str:
    """A child that its supervisor ended for what the module did to it."""
    where = f"in {call_text(function, slot)}" if function else "between calls"
    return f"{reason}, worker ended {where}: see whether the vendor knows of it, and check the client's version"
