"""A real sshd in the foreground, in a private mount namespace: an appliance's shell behind a forced command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.peers import private_mounts
from tests.peers.daemon import Daemon
from tests.peers.ports import free_port
from tests.peers.require import environment_for, prefix_of, require

_UNPRIVILEGED = "sshd:x:64748:65534::/run/sshd:/usr/sbin/nologin\n"
# It insists on a user and a folder of its own, which only a package's scripts make; newer ones on programs below /usr.
_SETUP = """
set -e
[ "$3" = / ] || mount -t overlay overlay -o "ro,lowerdir=$3/usr:/usr" /usr
mount --bind "$1/passwd" /etc/passwd
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
exec "$2" -D -e -f "$1/sshd_config"
"""
_CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
UsePAM no
StrictModes no
PidFile none
PermitRootLogin yes
PasswordAuthentication no
"""


class Sshd(Daemon):
    """Lets whoever has the key `id` run one command, whatever is asked for."""

    def __init__(self, folder: Path, forced: str) -> None:
        self._folder = folder
        self._forced = forced
        self.port = free_port()

    @property
    def log(self) -> Path:
        return self._folder / "sshd.log"

    @property
    def known_hosts(self) -> Path:
        """The file that has its key."""
        return self._folder / "known_hosts"

    @property
    def environment(self) -> dict[str, str]:
        """What an unpacked ssh needs."""
        return environment_for(require("ssh"))

    def command(self, *words: str, key: str = "id", known_hosts: Path | None = None) -> list[str]:
        """The command line of ssh, as an operator would write it."""
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={known_hosts or self.known_hosts}",
        ]
        flags = [word for option in options for word in ("-o", option)]
        place = ["-i", str(self._folder / key), "-p", str(self.port), "root@127.0.0.1"]
        return [str(require("ssh")), "-F", "none", *flags, *place, *words]

    async def start(self) -> None:
        keygen = require("ssh-keygen")
        for name in ("host", "id", "stranger"):
            path = self._folder / name
            if not path.exists():
                words = [str(keygen), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
                subprocess.run(words, check=True, timeout=10, env={**os.environ, **environment_for(keygen)})
        users = Path("/etc/passwd").read_text(encoding="utf-8")
        others = "".join(f"{line}\n" for line in users.splitlines() if not line.startswith("sshd:"))
        self._write("passwd", others + _UNPRIVILEGED)
        self._write("authorized", f'command="{self._forced}",restrict {self._public("id")}\n')
        self._write("known_hosts", f"[127.0.0.1]:{self.port} {self._public('host')}\n")
        self._write("sshd_config", _CONFIGURATION.format(port=self.port, folder=self._folder))
        daemon = require("sshd")
        setup = ["sh", "-c", _SETUP, "sh", str(self._folder), str(daemon), str(prefix_of(daemon))]
        program, *words = private_mounts.command(*setup)
        await self._run(Path(program), words, tcp=[self.port], environment=environment_for(daemon))

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8")

    def _public(self, name: str) -> str:
        kind, key, *_ = (self._folder / f"{name}.pub").read_text(encoding="ascii").split()
        return f"{kind} {key}"
