"""Writes a plan: tried in a folder of its own first, then each file whole or not at all, the configuration last."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets as randomness
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hsm_agent.cli.setup.account import trusting
from hsm_agent.cli.setup.plan import CONFIGURATION, render
from hsm_agent.config.tree import load
from hsm_agent.settings.errors import ConfigError
from hsm_agent.state import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hsm_agent.cli.setup.account import Account
    from hsm_agent.cli.setup.plan import SetupPlan

SECRETS = "secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Modes and owners below the folder. Whoever asks the agent may read its configuration, and none of its secrets."""

    configuration_mode: int
    folder_mode: int
    secret_mode: int
    secrets_folder_mode: int
    configuration_owner: tuple[int, int]
    secret_owner: tuple[int, int]


def ownership(account: Account) -> Ownership:
    """A service's files are root's and its group's, its secrets its own; a user's are his alone."""
    return Ownership(
        configuration_mode=0o640 if account.is_other else 0o600,
        folder_mode=0o750 if account.is_other else 0o700,
        secret_mode=0o400,
        secrets_folder_mode=0o500 if account.is_other else 0o700,
        configuration_owner=(os.geteuid(), account.gid),
        secret_owner=(account.uid, account.gid),
    )


def in_the_way(folder: Path, plan: SetupPlan) -> list[Path]:
    """Files that are there already and would be replaced."""
    wanted = [folder / CONFIGURATION, *(folder / SECRETS / secret.name for secret in plan.secrets)]
    return [path for path in wanted if path.is_symlink() or path.exists()]


def rehearse(plan: SetupPlan, account: Account, environment: Mapping[str, str]) -> None:
    """Load what would be written, from a folder that is thrown away. Raises ConfigError with the lines, OSError."""
    with tempfile.TemporaryDirectory(prefix="hsm-agent-setup-") as name:
        folder = Path(name)
        for secret in plan.secrets:
            _replace(folder / secret.name, secret.value.encode() + b"\n", 0o400, (os.geteuid(), os.getegid()))
        file = folder / CONFIGURATION
        _replace(file, render(plan, folder).encode(), 0o600, (os.geteuid(), os.getegid()))
        try:
            load(file, {**environment, **trusting(account, environment)})
        except ConfigError as error:
            raise ConfigError([line.replace(f"{folder}/", "") for line in error.lines]) from error


def write(plan: SetupPlan, folder: Path, account: Account) -> list[Path]:
    """Write secrets, then the configuration; returns the files. Raises OSError.

    What was there is replaced, not followed: whether it may be, the caller has asked. A configuration is kept beside
    the new one.
    """
    rights = ownership(account)
    _make(folder, rights.folder_mode, rights.configuration_owner)
    written = []
    if plan.secrets:
        _make(folder / SECRETS, rights.secrets_folder_mode, rights.secret_owner)
        for secret in plan.secrets:
            path = folder / SECRETS / secret.name
            _replace(path, secret.value.encode() + b"\n", rights.secret_mode, rights.secret_owner)
            written.append(path)
    path = folder / CONFIGURATION
    if path.exists():  # beside the new one, so that nothing of an operator's own is lost
        kept = path.with_name(f"{CONFIGURATION}.old")
        kept.unlink(missing_ok=True)
        os.link(path, kept, follow_symlinks=False)
    text = render(plan, folder / SECRETS)
    _replace(path, text.encode(), rights.configuration_mode, rights.configuration_owner)
    return [*written, path]


def make_state_directory(directory: Path, account: Account) -> None:
    """The service's own folder, as systemd would make it; one that is there stays as it is. Raises OSError."""
    if not directory.exists():
        _make(directory, 0o700, (account.uid, account.gid))


def _make(folder: Path, mode: int, owner: tuple[int, int]) -> None:
    """A folder, if it is missing, with those above it. It has its owner before it has its name."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        made.chmod(mode)
        if os.geteuid() == 0:
            os.chown(made, *owner, follow_symlinks=False)
        made.rename(folder)
    except OSError:
        made.rmdir()
        raise
    files.sync_directory(folder.parent)


def _replace(path: Path, data: bytes, mode: int, owner: tuple[int, int]) -> None:
    """One file, whole on disk before it has its name, and never open to more than its mode says."""
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    fresh = path.with_name(f".{path.name}.{randomness.token_hex(8)}")
    with _made(fresh) as descriptor:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if os.geteuid() == 0:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
        fresh.replace(path)
    files.sync_directory(path.parent)


@contextlib.contextmanager
def _made(path: Path) -> Iterator[int]:
    """A new private file, removed where an error leaves it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
