"""Why a module failed, in one line that names the call and says what to check. Pure."""

from __future__ import annotations

import errno
import re
import signal
from typing import TYPE_CHECKING, Any

from hsm_agent.worker.names import name

if TYPE_CHECKING:
    from collections.abc import Sequence

_TAIL = 200
_NOT_FOUND = re.compile(r"([^\s:]+): cannot open shared object file: No such file or directory")
_WHAT_TO_CHECK = {
    "dlopen": "check what the library does when it is loaded: its configuration file, its server, its licence",
    "C_Initialize": "check that the HSM's server or network link is up and that the client is configured",
    "reading the object store": "check the file system it is on",
}
_LINK = "check the HSM and the link to it"


def place_text(function: str, slot: int | None) -> str:
    """Where the worker was: `C_GetTokenInfo on slot 3`."""
    if not function:
        return "between calls"
    return function if slot is None else f"{function} on slot {slot}"


def hung(function: str, slot: int | None, seconds: float) -> str:
    """A call that did not come back in time."""
    if not function:
        return f"the worker did not answer within {seconds:.3g} s; the host may be overloaded"
    advice = _WHAT_TO_CHECK.get(function, _LINK)
    return f"{place_text(function, slot)} did not return within {seconds:.3g} s, worker killed: {advice}"


def ended(returncode: int | None, function: str, slot: int | None, stderr: Sequence[str]) -> str:
    """A worker that died by itself."""
    where = place_text(function, slot)
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
    said = f"; it said: {last[:_TAIL]}" if last else ""
    return f"{how} in {where}: {_WHAT_TO_CHECK.get(function, 'check the vendor client and its version')}{said}"


def returned(function: str, value: int, slot: int | None, *, luna: bool) -> str:
    """A call that returned something other than CKR_OK."""
    advice = _WHAT_TO_CHECK.get(function)
    return f"{place_text(function, slot)} returned {name(value, luna=luna)}" + (f": {advice}" if advice else "")


def not_loaded(module: str, answer: dict[str, Any]) -> str:
    """What the dynamic loader said, and what that means."""
    error = " ".join(str(answer.get("error", "")).split())
    if answer.get("stage") == "dlsym":
        return f"{module} is not a PKCS#11 module: it has no C_GetFunctionList"
    if "wrong ELF class" in error:
        other = "32-bit" if "ELFCLASS32" in error else "64-bit"
        return f"{module} is a {other} library, which this agent cannot load: name the other build of the module"
    if "invalid ELF header" in error or "file too short" in error:
        return f"{module} is not a shared library: {error}"
    found = _NOT_FOUND.search(error)
    if found is not None and found[1] == module:
        return f"{module} does not exist: install the vendor's client or correct `module`"
    if found is not None:
        advice = "install it, or set LD_LIBRARY_PATH in the source's `environment`"
        return f"{module} needs {found[1]}, which was not found: {advice}"
    if "Permission denied" in error or f"[Errno {errno.EACCES}]" in error:
        return f"{module} cannot be read: check its permissions and those of its folders for the agent's user"
    return f"{module} cannot be loaded: {error or 'no reason given'}"
