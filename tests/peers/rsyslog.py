"""A real rsyslog in the foreground on free ports of 127.0.0.1, writing what it received as JSON lines.

Needs no pytest. The program is the one on PATH or unpacked below var/peers; its libraries are found beside it.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.peers.pki import AGENT_NAME, Identity
from tests.peers.ports import free_port
from tests.peers.syslog_receiver import JsonReceiver, Received

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(kw_only=True)
class Rsyslog(JsonReceiver):
    """The daemon. `ports` by scheme, the same over restarts; tls and relp+tls only with an identity and a CA."""

    program: Path
    folder: Path
    identity: Identity | None = None
    ca: Path | None = None
    permitted: str = AGENT_NAME
    queue: str = "Direct"
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        schemes = ("udp", "tcp", "relp") + (("tls", "relp+tls") if self.identity else ())
        for scheme in schemes:
            kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
            self.ports.setdefault(scheme, free_port(kind))

    @property
    def log(self) -> Path:
        return self.folder / "rsyslogd.log"

    @property
    def output(self) -> Path:
        return self.folder / "received.jsonl"

    async def start(self) -> None:
        configuration = self.folder / "rsyslog.conf"
        configuration.write_text(self._configuration(), encoding="utf-8")
        tcp = [port for scheme, port in self.ports.items() if scheme != "udp"]
        arguments = ["-n", "-iNONE", "-f", str(configuration)]
        await self._run(self.program, arguments, tcp=tcp, udp=[self.ports["udp"]])

    def parse(self, record: dict[str, Any]) -> Received:
        return Received(
            raw=record["raw"],
            pri=int(record["pri"]),
            timestamp=record["timestamp"],
            host_name=record["host"],
            app_name=record["app"],
            process_id=record["procid"],
            message_id=record["msgid"],
            data=json.loads(record["sd"] or "{}"),
            # rsyslog keeps the BOM in the message
            text=record["msg"].removeprefix("\ufeff"),
        )

    def _configuration(self) -> str:
        inputs = [
            f'input(type="imudp" address="127.0.0.1" port="{self.ports["udp"]}")',
            f'input(type="imtcp" address="127.0.0.1" port="{self.ports["tcp"]}")',
            f'input(type="imrelp" address="127.0.0.1" port="{self.ports["relp"]}" maxDataSize="64k")',
        ]
        drivers = ""
        if self.identity is not None:
            drivers = (
                f' defaultNetstreamDriverCAFile="{self.ca}" defaultNetstreamDriverCertFile="{self.identity.certificate}"'
                f' defaultNetstreamDriverKeyFile="{self.identity.key}"'
            )
            # gtls, not ossl: the ossl driver of this version lets other names of the same CA in.
            inputs.append(
                f'input(type="imtcp" address="127.0.0.1" port="{self.ports["tls"]}" streamDriver.name="gtls"'
                f' streamDriver.mode="1" streamDriver.authMode="x509/name" permittedPeer=["{self.permitted}"])'
            )
            inputs.append(
                f'input(type="imrelp" address="127.0.0.1" port="{self.ports["relp+tls"]}" maxDataSize="64k" tls="on"'
                f' tls.caCert="{self.ca}" tls.myCert="{self.identity.certificate}"'
                f' tls.myPrivKey="{self.identity.key}" tls.authMode="name" tls.permittedPeer=["{self.permitted}"])'
            )
        return _CONFIGURATION % {
            "folder": self.folder,
            "drivers": drivers,
            "inputs": "\n".join(inputs),
            "output": self.output,
            "queue": self.queue,
        }


# Case-sensitive names, or parameters that differ in case are merged; no lower-casing of SD-IDs; no escaping of
# control characters, which is what a test wants to see; Direct, or what was acknowledged can die with the daemon.
_CONFIGURATION = """\
global(workDirectory="%(folder)s" maxMessageSize="64k" variables.casesensitive="on"
       parser.escapeControlCharactersOnReceive="off"%(drivers)s)
module(load="imudp")
module(load="imtcp")
module(load="imrelp")
module(load="mmpstrucdata")
main_queue(queue.type="%(queue)s")
%(inputs)s
template(name="record" type="list" option.jsonf="on") {
  property(outname="raw" name="rawmsg" format="jsonf")
  property(outname="pri" name="pri" format="jsonf")
  property(outname="timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="procid" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="sd" name="$!rfc5424-sd" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}
action(type="mmpstrucdata" sd_name.lowercase="off")
action(type="omfile" file="%(output)s" template="record" asyncWriting="off" flushOnTXEnd="on")
"""
