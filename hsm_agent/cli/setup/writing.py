"""Writes a plan: tried in a folder of its own first, then all files or none, the configuration last."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets as randomness
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.cli.setup.account import trusting
from hsm_agent.cli.setup.plan import CONFIGURATION, render
from hsm_agent.config.tree import load
from hsm_agent.settings.errors import ConfigError
from hsm_agent.state import files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        own = (os.geteuid(), os.getegid())
        file = folder / CONFIGURATION
        _put(
            [
                *(_NewFile(folder / secret.name, f"{secret.value}\n".encode(), 0o400, own) for secret in plan.secrets),
                _NewFile(file, render(plan, folder).encode(), 0o600, own),
            ]
        )
        try:
            load(file, {**environment, **trusting(account, environment)})
        except ConfigError as error:
            raise ConfigError([line.replace(f"{folder}/", "") for line in error.lines]) from error


def make_folder(folder: Path, account: Account) -> None:
    """The folder of the configuration, if it is missing. Raises OSError."""
    rights = ownership(account)
    _make(folder, rights.folder_mode, rights.configuration_owner)


def write(plan: SetupPlan, folder: Path, account: Account) -> list[Path]:
    """Write secrets and configuration, all of them or none; returns the files. Raises OSError.

    What was there is replaced, not followed: whether it may be, the caller has asked. A configuration is kept beside
    the new one.
    """
    rights = ownership(account)
    make_folder(folder, account)
    if plan.secrets:
        _make(folder / SECRETS, rights.secrets_folder_mode, rights.secret_owner)
    wanted = [
        _NewFile(folder / SECRETS / secret.name, f"{secret.value}\n".encode(), rights.secret_mode, rights.secret_owner)
        for secret in plan.secrets
    ]
    path, text = folder / CONFIGURATION, render(plan, folder / SECRETS)
    wanted.append(_NewFile(path, text.encode(), rights.configuration_mode, rights.configuration_owner))
    _put(wanted, keep=path)
    return [each.path for each in wanted]


def make_state_directory(directory: Path, account: Account) -> None:
    """The service's own folder, as systemd would make it; one that is there stays as it is. Raises OSError."""
    if not directory.exists():
        _make(directory, 0o700, (account.uid, account.gid))


def _make(folder: Path, mode: int, owner: tuple[int, int]) -> None:
    """A folder, if it is missing, with those above it. It has its owner before it has its name."""
    if folder.is_dir():
        return
    _make(folder.parent, 0o755, (os.geteuid(), os.getegid()))  # whatever the umask is: the agent's account passes
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        made.chmod(mode)
        if os.geteuid() == 0:
            os.chown(made, *owner, follow_symlinks=False)
        made.rename(folder)
    except BaseException:
        made.rmdir()
        raise
    files.sync_directory(folder.parent)


class _NewFile(NamedTuple):
    path: Path
    data: bytes
    mode: int
    owner: tuple[int, int]


def _put(wanted: Sequence[_NewFile], *, keep: Path | None = None) -> None:
    """Files that belong together: all are whole on disk before the first has its name.

    `keep`: what has that name is kept beside the new one.
    """
    fresh = [each.path.with_name(f".{each.path.name}.{randomness.token_hex(8)}") for each in wanted]
    try:
        for path, each in zip(fresh, wanted, strict=True):
            _fill(path, each)
        if keep is not None and keep.exists():  # so that nothing of an operator's own is lost
            kept = keep.with_name(f"{keep.name}.old")
            kept.unlink(missing_ok=True)
            os.link(keep, kept, follow_symlinks=False)
        for path, each in zip(fresh, wanted, strict=True):
            path.replace(each.path)
    finally:
        for path in fresh:  # what was interrupted leaves nothing, least of all a secret
            with contextlib.suppress(OSError):  # the first error is the one that is told
                path.unlink(missing_ok=True)
    for folder in {each.path.parent for each in wanted}:
        files.sync_directory(folder)


def _fill(path: Path, new: _NewFile) -> None:
    """A new file with its owner and mode, under a name of its own."""
    if new.path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(new.path))
    try:
        files.fill(path, new.data, mode=new.mode, owner=new.owner if os.geteuid() == 0 else None)
    except OSError as error:  # a full disk names no file
        raise OSError(error.errno, error.strerror, str(new.path)) from error
