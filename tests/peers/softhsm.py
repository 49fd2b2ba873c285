"""SoftHSM: real tokens in a directory of their own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.peers.require import require
from tests.peers.token_user import TokenUser

if TYPE_CHECKING:
    from collections.abc import Iterator

PIN = "12345678"
SO_PIN = "87654321"
_MODULES = ("softhsm/libsofthsm2.so", "x86_64-linux-gnu/softhsm/libsofthsm2.so", "pkcs11/libsofthsm2.so")


def softhsm_module() -> Path:
    """Where the library is; `require` decides what happens if it is nowhere."""
    for prefix in ("/usr/lib", "/usr/local/lib", "/usr/lib64"):
        for name in _MODULES:
            if (Path(prefix) / name).exists():
                return Path(prefix) / name
    return require("libsofthsm2.so")


class SoftHsm:
    """A SoftHSM installation below one directory: its configuration, its tokens, its users."""

    def __init__(self, directory: Path) -> None:
        self.module = softhsm_module()
        self._util = require("softhsm2-util")
        self.tokens = directory / "tokens"
        self.tokens.mkdir(parents=True, exist_ok=True)
        self.configuration = directory / "softhsm2.conf"
        self.configuration.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n", encoding="utf-8"
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to see these tokens."""
        return {"SOFTHSM2_CONF": str(self.configuration)}

    def create_token(self, label: str) -> None:
        self._run("--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN)

    def delete_token(self, label: str) -> None:
        self._run("--delete-token", "--token", label)

    def _run(self, *arguments: str) -> None:
        environment = {**os.environ, **self.environment}
        subprocess.run([self._util, *arguments], env=environment, check=True, capture_output=True, timeout=30)

    def directories(self) -> list[Path]:
        """The tokens' directories; SoftHSM names them by the token's serial."""
        return sorted(path for path in self.tokens.iterdir() if path.is_dir())

    def user(self, label: str) -> TokenUser:
        return TokenUser(self.module, label, environment=self.environment, pin=PIN)

    @contextlib.contextmanager
    def locked(self, directory: Path) -> Iterator[None]:
        """Hold the write lock of a token's `generation` file: SoftHSM then blocks in C_GetTokenInfo, for real."""
        with (directory / "generation").open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(file, fcntl.LOCK_UN)
