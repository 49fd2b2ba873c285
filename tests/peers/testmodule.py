"""The test HSM of tests/hsm: compiled once, then told by a text file what to report and how to fail."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.peers.require import require
from tests.peers.softhsm import PIN, SoftHsm
from tests.peers.token_user import TokenUser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = _ROOT / "tests" / "hsm"


def build(into: Path | None = None) -> Path:
    """The compiled module, made anew only when its sources or the way of compiling changed."""
    command = [str(require("cc")), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command += ["-fvisibility=hidden"]
    sources = sorted(_SOURCES.glob("*.c"))
    digest = hashlib.sha256(" ".join(command).encode())
    for path in [*sources, *sorted(_SOURCES.glob("*.h"))]:
        digest.update(path.read_bytes())
    folder = cache() if into is None else into
    module = folder / f"testhsm-{digest.hexdigest()[:16]}.so"
    if not module.exists():
        folder.mkdir(parents=True, exist_ok=True)
        half_made = module.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-o", half_made, *sources, "-ldl", "-lm"], check=True, timeout=60)
        half_made.replace(module)  # two builders at once: the last rename wins, each is whole
    return module


def cache() -> Path:
    """Where what was compiled for the tests is kept."""
    in_tree = _ROOT / "var"
    return in_tree / "testhsm" if os.access(in_tree, os.W_OK) else Path(tempfile.gettempdir()) / "hsm-agent-testhsm"


class FakeHsm:
    """One test HSM: a SoftHSM underneath, and the control file that bends it.

    Tokens are spoken of by the label they have in SoftHSM (`token=`); without it, all are meant.
    """

    def __init__(self, directory: Path, *tokens: str) -> None:
        self.softhsm = SoftHsm(directory)
        for label in tokens:
            self.softhsm.create_token(label)
        self.module = build()
        self._control = directory / "control"
        self._calls = directory / "calls"
        self._audit = directory / "audit"
        self._forks = directory / "forks"
        self._values: dict[str, str] = {
            "tokens.directory": str(self.softhsm.tokens),
            "sessions.file": str(directory / "sessions"),
            "calls.file": str(self._calls),
            "audit.file": str(self._audit),
            "forks.file": str(self._forks),
        }
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this HSM."""
        return {
            **self.softhsm.environment,
            "HSM_TEST_CONTROL": str(self._control),
            "HSM_TEST_SOFTHSM": str(self.softhsm.module),
        }

    def user(self, label: str) -> TokenUser:
        return TokenUser(self.module, label, environment=self.environment, pin=PIN)

    def set(self, key: str, value: object, *, token: str = "") -> None:
        """Set one key of the control file; None takes it out."""
        name = f"{key}@{token}" if token else key
        if value is None:
            self._values.pop(name, None)
        else:
            self._values[name] = f"{value:d}" if isinstance(value, bool) else str(value)
        self._write()

    def _write(self) -> None:
        """Replace the file whole: the module must never read half of it."""
        new = self._control.with_suffix(".new")
        new.write_text("".join(f"{key}\t{value}\n" for key, value in self._values.items()), encoding="utf-8")
        new.replace(self._control)

    def set_memory(self, *, total: int | None = None, free: int | None = None, token: str = "") -> None:
        """Private memory. With `total` alone, the objects' sizes in SoftHSM are what is used."""
        if total is not None:
            self.set("memory.total", total, token=token)
        self.set("memory.free", free, token=token)

    def set_session_limit(self, limit: int, *, token: str = "") -> None:
        """Count the sessions of all processes, and refuse more than that many."""
        self.set("sessions.max", limit, token=token)

    def set_sessions(self, count: int | None, *, token: str = "") -> None:
        """Report that many sessions, whatever is open; None counts again."""
        self.set("token.sessions", count, token=token)

    def set_luna(self, *, present: bool = True, token: str = "") -> None:
        """Let the CA_* functions answer."""
        self.set("luna", present, token=token)

    def set_audit(
        self, records: float, *, rate: float = 0, per_object: float = 0, capacity: int = 198120, token: str = ""
    ) -> None:
        """Fill of the audit store, from now on rising (or falling) by `rate` records a second.

        Each object that anybody creates on the token leaves `per_object` records more.
        """
        self._audit.unlink(missing_ok=True)
        settings = {"rate": rate, "capacity": capacity, "since": time.time(), "records": records}
        for key, value in {**settings, "per_object": per_object}.items():
            self._values[f"audit.{key}@{token}" if token else f"audit.{key}"] = str(value)
        self._write()

    def set_statistics(self, *, up: float, idle: float, commands: float, rate: float = 0, token: str = "") -> None:
        """Seconds up and idle, and commands executed, rising by `rate` a second from now on."""
        for key, value in (("up", up), ("idle", idle), ("rate", rate), ("since", time.time()), ("commands", commands)):
            self._values[f"stats.{key}@{token}" if token else f"stats.{key}"] = str(value)
        self._write()

    def set_pairs(self, key: str, values: Mapping[int, int], *, token: str = "") -> None:
        """`capabilities`, `policies`, `token.policies` (id to value), or `ha.members` (serial to status)."""
        self.set(key, ",".join(f"{name}:{value:#x}" for name, value in values.items()), token=token)

    def set_role(self, role: str, *, attempts: int, flags: int = 1, token: str = "") -> None:
        """`so`, `crypto_officer` or `crypto_user`; flag 1 is initialised, 2 locked out."""
        self.set(f"role.{role}.attempts", attempts, token=token)
        self.set(f"role.{role}.flags", flags, token=token)

    def set_absent(self, *, absent: bool = True, token: str) -> None:
        """Pull the token out of its slot, or put it back."""
        self.set("token.absent", absent, token=token)

    def set_slot_gone(self, *, gone: bool = True, token: str) -> None:
        """Leave the token's slot out of the slot list."""
        self.set("slot.gone", gone, token=token)

    def set_extra_slots(self, count: int) -> None:
        """Invented slots besides those of SoftHSM, with tokens `extra-00`, `extra-01`, …"""
        self.set("slots.extra", count)

    def fault(self, function: str, *, token: str = "", **how: object) -> None:
        """Let a function (or `dlopen`) misbehave: hang_ms=, rv=, segv=1, abort=1, exit=, noise=text; None mends it.

        Or see trouble.c: fork=child|daemon, close=loop|range|all, leak_mb=, long_line=bytes, flood=text (to all
        pipes; each ~ in it ends a line), flood_threads=text (those of other threads, too), flood_errors=text.
        """
        for what, value in how.items():
            self.set(f"fault.{function}.{what}", value, token=token)

    def mend(self) -> None:
        """Take out all faults."""
        for key in [key for key in self._values if key.startswith("fault.")]:
            del self._values[key]
        self._write()

    def calls(self) -> Iterator[str]:
        """The functions called since the last time this was asked, in order, as the module saw them."""
        if self._calls.exists():
            yield from self._calls.read_text(encoding="utf-8").split()
            self._calls.unlink()

    def forks(self) -> list[int]:
        """Processes the module left behind, by pid."""
        return [int(pid) for pid in self._forks.read_text(encoding="ascii").split()] if self._forks.exists() else []
