"""Secrets are references; this is the one place that follows them. Their values never reach a log or a repr.

And how a file of bounded length is read that an operator names.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import PrivateAttr, model_validator

from hsm_agent.settings.types import LocalPath, Strict

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_FILE_BYTES = 64 * 1024


def read_regular(
    path: Path, most_bytes: int, *, check: Callable[[os.stat_result], None] | None = None
) -> tuple[bytes, os.stat_result]:
    """The beginning of a regular file, one byte more than asked for at most, and the status of the open file.

    `check` is called before it is read: what is checked is what is read, whatever the name leads to a moment later.
    Raises OSError, and what `check` raises.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if check is not None:
            check(found)
        return file.read(most_bytes + 1), found


def _open_at_once(path: str, flags: int) -> int:
    # Not to wait for a writer, should it be a pipe: it is refused right after.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


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
        value = os.environb[os.fsencode(name)]
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise SecretError(f"environment variable {name}: not UTF-8 text") from error

    def reveal(self) -> str:
        """The secret itself, without its trailing newline."""
        return self._value


def read_private_file(path: Path) -> str:
    """Text of a file that only the process's user and its own groups can read."""
    return _read_text(path, partial(_refuse_open_to_others, path))


def _refuse_open_to_others(path: Path, found: os.stat_result) -> None:
    if found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise SecretError(f"{path}: others can read or write it; run: chmod o-rw {path}")
    own_groups = {os.getegid(), *os.getgroups()}
    if found.st_mode & (stat.S_IRGRP | stat.S_IWGRP) and found.st_gid not in own_groups:
        raise SecretError(f"{path}: group {found.st_gid} can read it and is not a group of this process")


def _read_text(path: Path, check: Callable[[os.stat_result], None] | None = None) -> str:
    try:
        raw, _ = read_regular(path, MOST_FILE_BYTES, check=check)
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}") from error
    if len(raw) > MOST_FILE_BYTES:
        raise SecretError(f"{path}: longer than {MOST_FILE_BYTES} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise SecretError(f"{path}: not UTF-8 text") from error
