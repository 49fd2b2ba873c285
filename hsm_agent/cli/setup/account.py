"""In whose name the agent will run: who owns its files, and who looks at modules and proves receivers.

What root can see says nothing of what the service can. So every look and every proof is a verb of the command line,
run by the service's account: with its groups, in a clean environment, and with an end to its time.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.settings.trust import TRUSTED_UIDS, trusted_uids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SERVICE = "hsm-agent"
_KILLED = 124


class NoAccountError(Exception):
    """There is no such account; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """User and groups of the agent. `is_other` where setup runs as root and the agent will not."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    is_other: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbResult:
    """What a verb answered."""

    code: int
    out: str
    errors: tuple[str, ...]


def service_account(name: str | None) -> Account:
    """The account of that name, for root; else, and where root has no such account and named none, one's own."""
    own = _own()
    if own.uid != 0:
        if name not in {None, own.name}:
            raise NoAccountError(f"--user {name}: only root can write files for another user")
        return own
    try:
        found = pwd.getpwnam(name or SERVICE)
    except KeyError as error:
        if name is None:
            return own
        raise NoAccountError(f"--user {name}: there is no such account") from error
    groups = tuple(os.getgrouplist(found.pw_name, found.pw_gid))
    return Account(name=found.pw_name, uid=found.pw_uid, gid=found.pw_gid, groups=groups, is_other=found.pw_uid != 0)


def _own() -> Account:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Account(name=name, uid=uid, gid=os.getegid(), groups=tuple(os.getgroups()), is_other=False)


def group_name(gid: int) -> str:
    """The group's name, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def trusting(account: Account, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with oneself among those who may own what is configured: a user writes it for himself."""
    uids = trusted_uids(environment) | ({account.uid} if account.uid and not account.is_other else set())
    named = ",".join(str(uid) for uid in sorted(uids) if uid)
    return {TRUSTED_UIDS: named} if named else {}


def run_verb(account: Account, words: Sequence[str], *, seconds: float) -> VerbResult:
    """A verb of `hsm-agent`, run by the account. Never raises: what goes wrong is an error of the result."""
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **trusting(account, os.environ)}
    become: dict[str, Any] = {}
    if account.is_other:
        become = {"user": account.uid, "group": account.gid, "extra_groups": account.groups}
    try:
        run = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "hsm_agent", *words],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False, cwd="/",
            **become,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return VerbResult(code=_KILLED, out="", errors=(f"no answer within {seconds:g} s",))
    except OSError as error:
        return VerbResult(code=1, out="", errors=(f"as user {account.name}: {error.strerror}: {sys.executable}",))
    lines = run.stderr.decode("utf-8", "replace").splitlines()
    errors = tuple(line.removeprefix("hsm-agent: ") for line in lines if line.strip())
    return VerbResult(code=run.returncode, out=run.stdout.decode("utf-8", "replace"), errors=errors)
