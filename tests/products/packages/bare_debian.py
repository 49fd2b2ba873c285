"""A bare Debian to install packages in: a copy of a chroot that scripts/package made, in namespaces of its own.

Its network is a loopback of its own, so the service's own ports are free and nothing can be fetched; its processes end
with it. What is mounted is seen in it alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    Words = tuple[str | Path, ...]

ROOT = Path(__file__).resolve().parents[3]
WORK = ROOT / "var" / "package"
MADE = ROOT / "var" / "packages"
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
_NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts")
_BOOT_SECONDS = 60
_ACCOUNT = ("setpriv", "--reuid=hsm-agent", "--regid=hsm-agent", "--init-groups", "--inh-caps=-all", "--no-new-privs")


class BareDebian:
    """The copy, and the process that keeps its namespaces."""

    def __init__(self, folder: Path, keeper: int, rest: tuple[str, ...] | None = None) -> None:
        self.folder = folder
        self._keeper = keeper
        self._enter = ("nsenter", f"--target={keeper}", *_NAMESPACES, *(rest or ("chroot", str(folder))))

    def path(self, name: str) -> Path:
        return self.folder / name.lstrip("/")

    def command(self, *words: str | Path) -> list[str]:
        """A command line that does this in it, as root."""
        return [*self._enter, *map(str, words)]

    def run(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run(self.command(*words), check=check)

    def as_account(self, *words: str | Path) -> list[str]:
        """A command line that does this as the service's account, with the folders that systemd would name."""
        folders = ("env", "STATE_DIRECTORY=/var/lib/hsm-agent", "RUNTIME_DIRECTORY=/run/hsm-agent")
        return self.command(*folders, *_ACCOUNT, *words)

    def run_as_account(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run(self.as_account(*words), check=check)

    def from_outside(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A program of this machine, at the other end of the bare Debian's loopback."""
        return _run(["nsenter", f"--target={self._keeper}", "--net", *map(str, words)], check=False)

    @contextmanager
    def agent(self, *more: str) -> Iterator[subprocess.Popen[str]]:
        """The agent as its unit starts it, until it has been asked to stop and has."""
        self.run("install", "-d", "-m", "0750", "-o", "hsm-agent", "-g", "hsm-agent", "/run/hsm-agent")
        words = self.as_account("/opt/hsm-agent/bin/hsm-agent", "run", "--config", "/etc/hsm-agent/agent.yaml", *more)
        log = self.folder / "agent.log"
        with log.open("a", encoding="utf-8") as output:
            # nsenter waits for its child, and passes no signal on: the agent is found by its name.
            process = subprocess.Popen(words, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stderr=output, text=True)
            try:
                yield process
            finally:
                self.terminate("hsm-agent run")
                process.wait(20)

    def terminate(self, words: str) -> None:
        """Ask the oldest process to stop that has this in its command line. The kill of sh: there is no other."""
        listed = self.run("sh", "-c", "grep -la . /proc/[0-9]*/cmdline").stdout.split()
        pids = sorted(int(name.split("/")[2]) for name in listed)
        commands = {pid: self.run("cat", f"/proc/{pid}/cmdline", check=False).stdout.replace("\0", " ") for pid in pids}
        oldest = next(pid for pid, command in commands.items() if words in command)
        self.run("sh", "-c", f"kill -TERM {oldest}")


def _run(words: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )
    assert not check or done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@contextmanager
def bare_debian(suite: str) -> Iterator[BareDebian]:
    """A fresh copy of the chroot of a suite, with a network only until it is entered."""
    folder = MADE / f"bare-{suite}"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["cp", "-a", WORK / f"base-{suite}", folder], check=True, timeout=120)
    with entered(folder) as bare:
        yield bare
    shutil.rmtree(folder)


@contextmanager
def entered(folder: Path, *mounts: str) -> Iterator[BareDebian]:
    """Namespaces in which this folder is a system; `mounts` are shell lines that run first, with it as $1."""
    lines = [f"mount -t proc proc {folder}/proc", "ip link set lo up", *mounts, "echo ready", "exec sleep infinity"]
    words = ["unshare", *_NAMESPACES, "--fork", "--kill-child", "sh", "-ec", "; ".join(lines), "sh", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text(encoding="ascii")
            yield BareDebian(folder, int(children.split()[0]))
        finally:
            holder.kill()
    for _ in range(100):
        if not any(os.path.ismount(folder / name) for name in ("proc", "")):
            return
        time.sleep(0.05)


@contextmanager
def booted_debian(suite: str) -> Iterator[BareDebian]:
    """The same with systemd, which apt brings while there is a network, booted as the first process of a container."""
    folder = MADE / f"booted-{suite}"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["cp", "-a", WORK / f"base-{suite}", folder], check=True, timeout=120)
    apt_install(folder, "dbus", "systemd", "systemd-sysv")
    options = ["--boot", "--private-network", "--register=no", "--keep-unit", "--console=pipe"]
    words = ["systemd-nspawn", f"--directory={folder}", *options]
    # Later versions of systemd know no other hierarchy of control groups.
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    with subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as nspawn:
        try:
            yield BareDebian(folder, _first_process(nspawn.pid), ("--cgroup", "--root", "--wd=/"))
        finally:
            nspawn.terminate()  # which powers off
            nspawn.wait(60)
    shutil.rmtree(folder)


def _first_process(parent: int) -> int:
    """The container's first process, once it says that it runs."""
    deadline = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split():
            enter = ["nsenter", f"--target={child}", *_NAMESPACES, "--root", "--wd=/"]
            done = subprocess.run(
                [*enter, "systemctl", "is-system-running"], capture_output=True, text=True, check=False
            )
            if done.stdout.strip() in {"running", "degraded"}:
                return int(child)
        time.sleep(0.5)
    raise AssertionError(f"the container did not boot within {_BOOT_SECONDS} s")


def apt_install(folder: Path, *packages: str) -> None:
    """By apt in a chroot, which has the network of this machine."""
    for words in (("update",), ("install", "-y", "--no-install-recommends", *packages)):
        command = ["chroot", str(folder), "apt-get", "-qq", *words]
        subprocess.run(command, env=ENVIRONMENT, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)


def made(pattern: str, which: str = "new") -> Path:
    """The one artefact of this name."""
    found = sorted((MADE / which).glob(pattern))
    assert len(found) == 1, f"{pattern}: {found}"
    return found[0]
