"""p11-kit server: a module served over a unix socket, so that its tokens are remote ones that can be cut off."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.peers.require import require

if TYPE_CHECKING:
    from collections.abc import Mapping

_START_SECONDS = 10.0


def p11kit_client() -> Path:
    """The module that clients of the server load."""
    for folder in sorted(Path("/usr/lib").glob("*-linux-gnu")):
        if (folder / "pkcs11" / "p11-kit-client.so").exists():
            return folder / "pkcs11" / "p11-kit-client.so"
    return require("p11-kit-client.so")


def p11kit_proxy() -> Path:
    """The module that loads all modules p11-kit is configured for, those that are to run in a process of their own, too."""
    for folder in sorted(Path("/usr/lib").glob("*-linux-gnu")):
        if (folder / "p11-kit-proxy.so").exists():
            return folder / "p11-kit-proxy.so"
    return require("p11-kit-proxy.so")


class P11Kit:
    """A running server of one module. A context manager."""

    def __init__(self, directory: Path, module: Path, environment: Mapping[str, str]) -> None:
        self.module = p11kit_client()
        self._socket = directory / "p11-kit.socket"
        self._served = module
        self._environment = environment
        self._program = require("p11-kit")
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to reach the server."""
        return {"P11_KIT_SERVER_ADDRESS": f"unix:path={self._socket}"}

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        command = [str(self._program), "server", "--foreground", "--provider", str(self._served)]
        command += ["--name", str(self._socket), "pkcs11:"]
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **self._environment}
        self._server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while not self._socket.exists():
            if self._server.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("p11-kit server does not run")
            time.sleep(0.02)

    def remotes(self) -> list[int]:
        """The server's children: one process for each client."""
        assert self._server is not None
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children")
        return [int(pid) for pid in children.read_text(encoding="ascii").split()]

    def signal_remotes(self, what: signal.Signals) -> None:
        """SIGSTOP makes calls hang, SIGKILL cuts them off."""
        for pid in self.remotes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def stop(self) -> None:
        if self._server is None:
            return
        self.signal_remotes(signal.SIGKILL)  # they serve on when the server is gone
        server, self._server = self._server, None
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
