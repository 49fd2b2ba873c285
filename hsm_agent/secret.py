"""Secrets are references; this is the one place that follows them. Their values never reach a log or a repr."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Self

from pydantic import PrivateAttr, model_validator

from hsm_agent.settings import LocalPath, Strict


class SecretError(ValueError):
    """The secret can't be read, or lies open to others."""


class Secret(Strict):
    """Where a secret is: a file, a systemd credential or an environment variable; read once, when validated."""

    file: LocalPath | None = None
    credential: str | None = None
    env: str | None = None
    _value: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _read(self) -> Self:
        if sum(given is not None for given in (self.file, self.credential, self.env)) != 1:
            raise SecretError("name exactly one of file, credential, env")
        text = self._fetch()
        value = text.removesuffix("\n")
        if not value:
            raise SecretError("the secret is empty")
        self._value = value
        return self

    def _fetch(self) -> str:
        if self.file is not None:
            return read_private_file(self.file)
        if self.credential is not None:
            directory = os.environ.get("CREDENTIALS_DIRECTORY")
            if not directory:
                raise SecretError("$CREDENTIALS_DIRECTORY is not set: run under systemd with LoadCredential=")
            if "/" in self.credential or self.credential in {"", ".", ".."}:
                raise SecretError(f"not a credential name: {self.credential!r}")
            return _read_text(Path(directory) / self.credential)
        name = self.env or ""
        if name not in os.environ:
            raise SecretError(f"environment variable {name} is not set")
        return os.environ[name]

    def reveal(self) -> str:
        """The secret itself, without its trailing newline."""
        return self._value


def read_private_file(path: Path) -> str:
    """Text of a file that only the process's user and its own groups can read."""
    try:
        found = path.stat()
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}") from error
    if found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise SecretError(f"{path}: others can read or write it; run: chmod o-rw {path}")
    own_groups = {os.getegid(), *os.getgroups()}
    if found.st_mode & (stat.S_IRGRP | stat.S_IWGRP) and found.st_gid not in own_groups:
        raise SecretError(f"{path}: group {found.st_gid} can read it and is not a group of this process")
    return _read_text(path)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SecretError(f"{path}: not UTF-8 text") from error
