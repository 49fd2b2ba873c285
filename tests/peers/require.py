"""Where a real peer's program is. A missing one skips the test, or fails it where nothing may be skipped (CI).

Peers that the system lacks are unpacked under var/peers by scripts/setup, each with its libraries. Import this module,
not pytest: scripts/demo uses the same peers and has no pytest.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "var" / "peers"
_FOLDERS = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_BINARIES = ("usr/sbin", "usr/bin", "sbin", "bin")
# The second line is for programs that find their own libraries by an absolute path, where unpacked ones aren't.
_LIBRARIES = (
    *("usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"),
    *("usr/lib/syslog-ng", "lib/*-linux-gnu*/systemd", "usr/lib/*-linux-gnu*/systemd"),
)


class MissingPeerError(Exception):
    """A peer is missing where no test runner is there to be told."""


def find(program: str) -> Path | None:
    """The program unpacked below var/peers, which is done only where the system's own will not do, or the system's."""
    for prefix in (PEERS, *sorted(PEERS.glob("*/"))):
        for folder in _BINARIES:
            if (path := prefix / folder / program).is_file():
                return path
    found = shutil.which(program, path=_FOLDERS)
    return Path(found) if found is not None else None


def require(program: str) -> Path:
    """The program's path, or the end of the test."""
    return find(program) or missing(program)


def nothing_may_be_skipped() -> bool:
    """Whether a missing peer, right or ability of this machine fails a test: in CI, or where it is asked for."""
    return os.environ.get("HSM_AGENT_REQUIRE_PEERS", "1" if os.environ.get("CI") else "0") == "1"


def missing(what: str) -> NoReturn:
    """End the test: fail it where nothing may be skipped, else skip it."""
    message = f"{what} is missing: run scripts/setup test"
    try:
        import pytest
    except ModuleNotFoundError:
        raise MissingPeerError(message) from None
    if nothing_may_be_skipped():
        pytest.fail(message)
    pytest.skip(message)


def prefix_of(path: Path) -> Path:
    """What the package of a program or library was unpacked into: `/` for an installed one."""
    if PEERS not in path.parents:
        return Path("/")
    below = path.relative_to(PEERS).parts[0]
    return PEERS if below in {"usr", "bin", "sbin", "lib", "etc", "var"} else PEERS / below


def environment_for(path: Path) -> dict[str, str]:
    """What a peer's process needs in its environment: nothing, if it is installed; its libraries, if it is unpacked."""
    prefix = prefix_of(path)
    if prefix == Path("/"):
        return {}
    libraries = [folder for pattern in _LIBRARIES for folder in sorted(prefix.glob(pattern)) if folder.is_dir()]
    environment = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))}
    modules = [str(folder) for place in libraries if (folder := place / "rsyslog").is_dir()]
    if modules:
        environment["RSYSLOG_MODDIR"] = os.pathsep.join(modules)
    return environment
