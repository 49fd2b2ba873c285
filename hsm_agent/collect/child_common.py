"""How a child process with a vendor's library is started, and why it or a call failed, in one line. No asyncio.

Apart from `child_process.py`, because the Nagios plugin starts a worker without an event loop.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

from hsm_agent.workers import SIZE
from hsm_agent.workers.pkcs11.return_values import name

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
    """The variables that every program needs, and those of the configuration."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **given}


def worker_environment(given: Mapping[str, str]) -> dict[str, str]:
    """The same for a process that runs a module of this package."""
    return {**clean_environment(given), "PYTHONPATH": _PACKAGE_ROOT}


def new_page() -> tuple[int, mmap.mmap]:
    """A page that a child can share, and its descriptor for the child. Raises OSError."""
    descriptor = os.memfd_create("hsm-agent-child")
    try:
        os.ftruncate(descriptor, SIZE)
        return descriptor, mmap.mmap(descriptor, SIZE)
    except OSError:
        os.close(descriptor)
        raise


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


_NOT_FOUND = re.compile(r"([^\s:]+): cannot open shared object file: No such file or directory")
_EXPORT = "check the audit log's path, its free disk and the remote host"
_ADVICE = {
    0xE0: "check that the token is in its slot and assigned to this client",
    0xB1: "find the application that holds the sessions",
}
# What Luna's own codes mean to an operator. In other vendors' libraries the same numbers mean something else.
LUNA_ADVICE = {
    0x80000007: "the role is locked out: the security officer resets it",
    0x8000001A: "this slot does not tell it without a login",
    0x8000001C: "too many wrong logins of the security officer: the HSM zeroizes itself at the limit",
    0x8000001F: "check the network to the HSM, its NTLS service and the client's certificate",
    0x80000020: "the partition is disabled: see the HSM's administrator",
    0x80000021: "see the vendor client's own log",
    0x80000023: CHECK_LINK,
    0x80000024: CHECK_LINK,
    0x80000026: "the master key was zeroized: see whether the HSM was tampered with, or is in transport mode",
    0x8000002A: "the HSM has no room for another partition or a larger one",
    0x8000002B: "the HSM did not answer its driver: check its load, and restart it if it stays so",
    0x8000002C: "the partition is full: delete objects or enlarge it",
    0x80000030: "a policy or the HSM's state forbids it",
    0x80000031: "the licence's capacity is used up",
    0x80000032: _EXPORT,
    0x80000033: _EXPORT,
    0x80000034: "the audit log's path is wrong: set it anew with the auditor's tools",
    0x80000035: f"the audit store is full and must be exported: {_EXPORT}",
    0x80000036: "the audit log's secret is missing: initialise the audit role, or import the secret",
    0x80000037: "a record of the audit log was changed: treat it as an incident",
    0x80000038: "the clocks of HSM and host differ: the auditor synchronises them",
    0x80000039: "initialise the HSM's audit role, or audit logging stays off",
    0x8000003A: "the audit log must be synchronised anew by the auditor",
    0x8000003B: "wait until the auditor's login time-out is over",
    0x8000003C: "too many wrong logins of the auditor: the role is locked",
    0x8000006E: "the HSM is in secure transport mode: recover it if that is not meant",
    0x80000076: "the HSM was tampered with: look at it on site, then see its own tamper state",
    0x8000008D: "restart the HSM",
    0x80000115: "the HSM's time was never set: set it, or it keeps no audit log",
    0x80000124: "the HSM's clock is off: synchronise it",
}


def returned(function: str, value: int, slot: int | None, *, luna: bool) -> str:
    """A call that returned something other than CKR_OK."""
    advice = (LUNA_ADVICE.get(value) if luna else None) or _ADVICE.get(value) or WHAT_TO_CHECK.get(function)
    return f"{call_text(function, slot)} returned {name(value, luna=luna)}" + (f": {advice}" if advice else "")


def not_loaded(module: str, answer: dict[str, Any]) -> str:
    """Explains the dynamic loader's error."""
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
