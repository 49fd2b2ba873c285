"""Whether a file the agent obeys could have been changed by somebody it does not trust.

A configuration, a PKCS#11 module and a command decide what runs as the agent's user. Whoever can write one of them,
or replace it or a folder on the way to it, runs what he likes. Root is trusted, and the users that are named outside
the configuration: a file cannot vouch for its own owner.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUSTED_UIDS = "HSM_AGENT_TRUSTED_UIDS"
ROOT = 0
_MOST_LINKS = 40  # as the kernel's own limit, path_resolution(7)
_MOST_INTERPRETERS = 5  # likewise, execve(2)
_FIRST_LINE_BYTES = 256  # likewise
_ACCESS_LIST = "system.posix_acl_access"


class UntrustedError(Exception):
    """Somebody who is not trusted could change the file. The text is one line and says how to mend it."""


def trusted_uids(environment: Mapping[str, str]) -> frozenset[int]:
    """Root, and the user IDs of $HSM_AGENT_TRUSTED_UIDS (numbers, separated by commas). Raises ValueError."""
    words = environment.get(TRUSTED_UIDS, "").replace(",", " ").split()
    for word in words:
        if not (word.isascii() and word.isdecimal()):
            raise ValueError(f"environment {TRUSTED_UIDS}: {word!r} is not a user ID (write numbers, as 1000,1001)")
    return frozenset({ROOT, *map(int, words)})


def refuse_untrusted(path: Path, uids: frozenset[int]) -> None:
    """Raise UntrustedError where anybody but these users could change the file or what its path leads to.

    Every folder and every symbolic link on the way is looked at, from the root on: what has passed can then not be
    exchanged by others any more. What a script names on its first line is what runs: it is looked at likewise. Raises
    OSError where a path can't be followed: then nobody else can complete it either. It blocks on the file system.
    """
    for _ in range(_MOST_INTERPRETERS):
        interpreter = _interpreter(_follow(path, uids))
        if interpreter is None:
            return
        path = interpreter
    raise UntrustedError(f"{path} is a script that a script runs, and so on, more than {_MOST_INTERPRETERS} times")


def _interpreter(file: Path) -> Path | None:
    """What runs a script: the words behind its `#!`, as execve(2) has it. None for anything else."""
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & stat.S_IXUSR:
        return None
    try:
        with file.open("rb") as script:
            line = script.read(_FIRST_LINE_BYTES).partition(b"\n")[0]
    except PermissionError:
        return None  # a program that may be run and not read: of a script the interpreter could read nothing either
    words = line[2:].split(maxsplit=1) if line.startswith(b"#!") else []
    return Path("/", os.fsdecode(words[0])) if words else None


def _follow(path: Path, uids: frozenset[int]) -> Path:
    """Where the path really leads, once all on the way to it has been looked at."""
    to_come = [*reversed(path.absolute().parts[1:])]
    here = Path("/")
    _refuse(here, here.lstat(), uids)
    links = 0
    while to_come:
        name = to_come.pop()
        if name == "..":
            here = here.parent  # physically: a link on the way has been followed already
            continue
        entry = here / name
        try:
            found = entry.lstat()
        except FileNotFoundError:
            _refuse_newcomers(here, entry)
            raise
        _refuse(entry, found, uids)
        if not stat.S_ISLNK(found.st_mode):
            here = entry
            continue
        links += 1
        if links > _MOST_LINKS:
            raise UntrustedError(f"{path} leads through more than {_MOST_LINKS} symbolic links")
        target = Path(entry.readlink())
        to_come += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        here = Path("/") if target.is_absolute() else here
    return here


def _refuse(entry: Path, found: os.stat_result, uids: frozenset[int]) -> None:
    if found.st_uid not in uids:
        owned = "put the file below folders of root's" if stat.S_ISDIR(found.st_mode) else f"run: chown root {entry}"
        raise UntrustedError(
            f"{entry} belongs to user {found.st_uid}, who is not trusted; name the user in {TRUSTED_UIDS}, or {owned}"
        )
    if stat.S_ISLNK(found.st_mode):
        return  # its mode means nothing: only its owner, or the folder's, can put another in its place
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return  # sticky: others may add entries, but not replace those of trusted owners
    if found.st_mode & stat.S_IWOTH:
        raise UntrustedError(f"{entry} can be written by others; run: chmod o-w {entry}")
    if _group_writes(entry, found):
        raise UntrustedError(f"{entry} can be written by group {found.st_gid}; run: chmod g-w {entry}")


def _refuse_newcomers(folder: Path, entry: Path) -> None:
    """Raise UntrustedError where others could make what is missing. A sticky folder keeps only what is there."""
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and (found.st_mode & stat.S_IWOTH or _group_writes(folder, found)):
        raise UntrustedError(f"{entry} does not exist, and others can make one in {folder}")


def _group_writes(entry: Path, found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IWGRP) and (found.st_gid != ROOT or _has_access_list(entry))


def _has_access_list(entry: Path) -> bool:
    """Whether the group's permissions are really the most that anybody named in an access list has, see acl(5)."""
    try:
        return _ACCESS_LIST in os.listxattr(entry)
    except OSError:
        return False  # a file system without extended attributes has no access lists
