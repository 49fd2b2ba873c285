"""A real syslog-ng in the foreground on free ports of 127.0.0.1: the second opinion on what we send. Needs no pytest."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.peers.ports import free_port, until_listening
from tests.peers.require import environment_for, prefix_of
from tests.peers.rsyslog import Received

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.pki import Identity


@dataclass(slots=True, kw_only=True)
class SyslogNg:
    """The daemon. `ports` by scheme: tcp, and tls with an identity and a CA."""

    program: Path
    folder: Path
    identity: Identity | None = None
    ca: Path | None = None
    ports: dict[str, int] = field(default_factory=dict)
    _process: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        for scheme in ("tcp", "tls") if self.identity else ("tcp",):
            self.ports.setdefault(scheme, free_port())

    @property
    def log(self) -> Path:
        """What the daemon says of itself."""
        return self.folder / "syslog-ng.log"

    @property
    def output(self) -> Path:
        """Where the messages go, a JSON object a line."""
        return self.folder / "syslog-ng.jsonl"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start and wait until it listens."""
        configuration = self.folder / "syslog-ng.conf"
        configuration.write_text(self._configuration(), encoding="utf-8")
        arguments = ["--foreground", "--stderr", "--no-caps", "--cfgfile", str(configuration)]
        for option, name in (("persist-file", "persist"), ("pidfile", "pid"), ("control", "ctl")):
            arguments += [f"--{option}", str(self.folder / f"syslog-ng.{name}")]
        # It looks for its modules by an absolute path.
        modules = next(prefix_of(self.program).glob("usr/lib/syslog-ng/[0-9]*"))
        arguments += ["--module-path", str(modules)]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self.program,
                *arguments,
                env={**os.environ, **environment_for(self.program)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await until_listening(self._process, list(self.ports.values()), [], self.log)

    async def kill(self) -> None:
        """End it at once (SIGKILL)."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            self._process = None

    def received(self) -> list[Received]:
        """Everything received so far."""
        if not self.output.exists():
            return []
        lines = self.output.read_text(encoding="utf-8").split("\n")
        return [_received(json.loads(line)) for line in lines[:-1]]

    async def until(self, count: int, seconds: float = 10.0) -> list[Received]:
        """Everything received, once there are so many. Raises TimeoutError if there are not in time."""
        async with asyncio.timeout(seconds):
            while len(found := self.received()) < count:
                await asyncio.sleep(0.02)
        return found

    def _configuration(self) -> str:
        tls = ""
        if self.identity is not None:
            tls = (
                f'syslog(transport("tls") ip("127.0.0.1") port({self.ports["tls"]}) flags(store-raw-message)'
                f' tls(key-file("{self.identity.key}") cert-file("{self.identity.certificate}") ca-file("{self.ca}")'
                f" peer-verify(required-trusted)));"
            )
        return _CONFIGURATION % {"tcp": self.ports["tcp"], "tls": tls, "output": self.output}


_CONFIGURATION = """\
@version: 3.38
options { keep-hostname(yes); use-dns(no); stats-freq(0); log-msg-size(65536); time-zone("UTC"); frac-digits(6);
          flush-lines(1); };
source s {
  syslog(transport("tcp") ip("127.0.0.1") port(%(tcp)d) flags(store-raw-message));
  %(tls)s
};
destination d {
  file("%(output)s" template("$(format-json --leave-initial-dot raw=\\"$RAWMSG\\" pri=\\"$PRI\\"
    timestamp=\\"$ISODATE\\" host=\\"$HOST\\" app=\\"$PROGRAM\\" procid=\\"$PID\\" msgid=\\"$MSGID\\" msg=\\"$MESSAGE\\"
    --key .SDATA.*)\\n"));
};
log { source(s); destination(d); };
"""


def _received(record: dict[str, Any]) -> Received:
    return Received(
        raw=record.get("raw", ""),
        pri=int(record["pri"]),
        timestamp=record["timestamp"],
        host_name=record["host"],
        app_name=record["app"],
        process_id=record["procid"],
        message_id=record["msgid"],
        data=record.get(".SDATA", {}),
        text=record.get("msg", ""),
    )
