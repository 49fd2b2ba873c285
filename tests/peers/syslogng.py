"""A real syslog-ng in the foreground on free ports of 127.0.0.1: the second opinion on what we send. Needs no pytest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.peers.ports import free_port
from tests.peers.require import prefix_of
from tests.peers.syslog_receiver import JsonReceiver, Received

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.pki import Identity


@dataclass(kw_only=True)
class SyslogNg(JsonReceiver):
    """The daemon. `ports` by scheme: tcp, and tls with an identity and a CA."""

    program: Path
    folder: Path
    identity: Identity | None = None
    ca: Path | None = None
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for scheme in ("tcp", "tls") if self.identity else ("tcp",):
            self.ports.setdefault(scheme, free_port())

    @property
    def log(self) -> Path:
        return self.folder / "syslog-ng.log"

    @property
    def output(self) -> Path:
        return self.folder / "syslog-ng.jsonl"

    async def start(self) -> None:
        configuration = self.folder / "syslog-ng.conf"
        configuration.write_text(self._configuration(), encoding="utf-8")
        arguments = ["--foreground", "--stderr", "--no-caps", "--cfgfile", str(configuration)]
        for option, name in (("persist-file", "persist"), ("pidfile", "pid"), ("control", "ctl")):
            arguments += [f"--{option}", str(self.folder / f"syslog-ng.{name}")]
        # It looks for its modules by an absolute path.
        modules = next(prefix_of(self.program).glob("usr/lib/syslog-ng/[0-9]*"))
        arguments += ["--module-path", str(modules)]
        await self._run(self.program, arguments, tcp=self.ports.values())

    def parse(self, record: dict[str, Any]) -> Received:
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
