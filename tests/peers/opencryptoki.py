"""opencryptoki's soft token with its own pkcsslotd, in private mount and IPC namespaces: nothing of the machine changes.

Whoever uses the token has to be inside: prefix its command with `enter`. Needs what private_mounts needs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.peers import private_mounts
from tests.peers.require import find, prefix_of, require
from tests.peers.token_user import TokenUser

if TYPE_CHECKING:
    from collections.abc import Sequence

PIN = "1234567"
SLOT = 3
_FACTORY_SO_PIN = "87654321"
_SO_PIN = "76543210"
_FIRST_PIN = "12345678"
_MODULES = ("opencryptoki/libopencryptoki.so.0", "opencryptoki/libopencryptoki.so", "pkcs11/libopencryptoki.so")
_START_SECONDS = 10.0
_UNPACKED_GROUP = 64747  # of the group pkcs11 where no package has made one; nobody sees it outside

# Inside the namespaces: where opencryptoki is only unpacked ($3), its tree and its group laid over the machine's as if it
# were installed; then our folders over those, and the daemon. The shell, and what takes its place, keeps the namespaces open.
_SETUP = """
set -e
if [ "$3" != / ]; then
    mount -t overlay overlay -o "ro,lowerdir=$1/over/etc:/etc" /etc
    mount -t overlay overlay -o "ro,lowerdir=$3/usr:/usr" /usr
    mount -t overlay overlay -o "ro,lowerdir=$1/over/lib:/var/lib" /var/lib
fi
mount --bind "$1/lib" /var/lib/opencryptoki
mount --bind "$1/etc" /etc/opencryptoki
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir -p /run/lock/opencryptoki/swtok /run/opencryptoki
chgrp -R pkcs11 /etc/opencryptoki /var/lib/opencryptoki /run/lock/opencryptoki /run/opencryptoki
chmod -R g+rwX /var/lib/opencryptoki /run/lock/opencryptoki /run/opencryptoki
"$2" -f &
wait $! # as long as it runs, or a moment only: newer ones go to the background whatever they are told
exec sleep infinity
"""


def opencryptoki_module() -> Path:
    """Where the library is for those inside; `require` decides what happens if it is nowhere."""
    prefix = prefix_of(find("pkcsslotd") or Path("/"))
    if prefix != Path("/"):
        for name in _MODULES:
            for found in sorted(prefix.glob(f"usr/lib/*-linux-gnu/{name}")):
                return Path("/") / found.relative_to(prefix)
    for library_folder in (Path("/usr/lib"), *sorted(Path("/usr/lib").glob("*-linux-gnu")), Path("/usr/lib64")):
        for name in _MODULES:
            if (library_folder / name).exists():
                return library_folder / name
    return require("libopencryptoki.so.0")


def _processes_called(name: str, *, beside: int) -> list[int]:
    """Those of that name in the mount namespace of a process."""
    found = []
    namespace = Path(f"/proc/{beside}/ns/mnt").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            called = (process / "comm").read_text(encoding="utf-8").strip()
            if called == name and (process / "ns/mnt").readlink() == namespace:
                found.append(int(process.name))
    return found


class OpenCryptoki:
    """A running pkcsslotd and one soft token. A context manager."""

    def __init__(self, directory: Path, label: str = "ock") -> None:
        self.module = opencryptoki_module()
        self.label = label
        self._directory = directory
        self._nsenter = require("nsenter")
        self._pkcsconf, self._daemon_path = require("pkcsconf"), require("pkcsslotd")
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def enter(self) -> list[str]:
        """Command prefix that takes a program to where the token is. It replaces itself: the pid stays the same."""
        assert self._keeper is not None
        # --root: in a chroot the namespace's root is not ours.
        return [str(self._nsenter), f"--target={self._keeper.pid}", "--mount", "--ipc", "--root", "--"]

    def start(self) -> None:
        """Start the daemon and make the token."""
        for folder in ("lib/swtok/TOK_OBJ", "etc"):
            (self._directory / folder).mkdir(parents=True)
        configuration = "version opencryptoki-3.1\nslot 3\n{\nstdll = libpkcs11_sw.so\n}\n"
        (self._directory / "etc" / "opencryptoki.conf").write_text(configuration, encoding="utf-8")
        prefix = prefix_of(self._daemon_path)
        if (strength := prefix / "etc/opencryptoki/strength.conf").exists():  # newer ones demand it
            Path(shutil.copy(strength, self._directory / "etc")).chmod(0o640)
        if prefix != Path("/"):
            self._lay_over()
        inside = Path("/") / self._daemon_path.relative_to(prefix)
        setup = ["sh", "-c", _SETUP, "sh", str(self._directory), str(inside), str(prefix)]
        command = private_mounts.command(*setup, ipc=True)
        with (self._directory / "pkcsslotd.log").open("wb") as log:
            self._keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._await_slots()
        self._make_token()

    def _lay_over(self) -> None:
        """What the package's scripts would have made: its group, the user of newer versions, and its folders."""
        over = self._directory / "over"
        for folder in ("etc/opencryptoki", "lib/opencryptoki"):
            (over / folder).mkdir(parents=True)
        for file, line in (
            ("group", f"pkcs11:x:{_UNPACKED_GROUP}:root"),
            ("passwd", f"pkcsslotd:x:{_UNPACKED_GROUP}:{_UNPACKED_GROUP}::/run/opencryptoki:/usr/sbin/nologin"),
        ):
            text = Path("/etc", file).read_text(encoding="utf-8")
            (over / "etc" / file).write_text(f"{text}{line}\n", encoding="utf-8")

    def _await_slots(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while self._conf("-s").returncode != 0:
            assert self._keeper is not None
            if self._keeper.poll() is not None or time.monotonic() > deadline:
                said = (self._directory / "pkcsslotd.log").read_text(encoding="utf-8", errors="replace")
                self.stop()
                raise RuntimeError(f"pkcsslotd does not run: {said.strip() or 'it said nothing'}")
            time.sleep(0.05)

    def _conf(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        pkcsconf = Path("/") / self._pkcsconf.relative_to(prefix_of(self._pkcsconf))
        command = [*self.enter, str(pkcsconf), *arguments]
        return subprocess.run(command, input=typed, capture_output=True, text=True, check=False, timeout=20)

    def _make_token(self) -> None:
        slot = ("-c", str(SLOT))
        steps = (
            ("-I", "-S", _FACTORY_SO_PIN),
            ("-P", "-S", _FACTORY_SO_PIN, "-n", _SO_PIN),
            ("-u", "-S", _SO_PIN, "-n", _FIRST_PIN),
            ("-p", "-U", _FIRST_PIN, "-n", PIN),  # a first PIN is to be changed before it is good for anything
        )
        for step in steps:
            done = self._conf(*slot, *step, typed=f"{self.label}\n")
            if done.returncode != 0:
                self.stop()
                raise RuntimeError(f"pkcsconf {step[0]}: {done.stdout}{done.stderr}")

    def unlock_pin(self) -> None:
        """Let the security officer set the user's PIN anew."""
        for step in (("-u", "-S", _SO_PIN, "-n", _FIRST_PIN), ("-p", "-U", _FIRST_PIN, "-n", PIN)):
            self._conf("-c", str(SLOT), *step).check_returncode()

    def user(self) -> TokenUser:
        return TokenUser(self.module, self.label, environment={}, pin=PIN, prefix=self.enter)

    def command(self, command: Sequence[str]) -> list[str]:
        """A command that runs where the token is."""
        return [*self.enter, *command]

    def stop(self) -> None:
        """End the daemon; the namespaces and all that was mounted in them go with it."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        # At once: asked to, it waits for its users. What it leaves behind goes with the namespaces.
        for pid in _processes_called("pkcsslotd", beside=keeper.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        keeper.kill()
        keeper.wait(5)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
