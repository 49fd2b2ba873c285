"""snmpsim as a child process: an SNMP agent by other hands, serving recorded walks."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol
from tests.peers.daemon import Daemon
from tests.peers.snmptrapd import free_udp_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.peers.pysnmp_manager import Walked

Record = tuple[str, str, str]
"""A line of snmprec: OID without a leading dot, tag, value."""

AUTH_SECRET, PRIVACY_SECRET = "an-authentication-secret", "a-privacy-secret"

_TAGS = {
    "Integer32": "2",
    "Integer": "2",
    "OctetString": "4",
    "ObjectIdentifier": "6",
    "Counter32": "65",
    "Gauge32": "66",
}
_TAGS |= {"Unsigned32": "66", "TimeTicks": "67", "Counter64": "70"}
_AUTH = {auth: auth.value.replace("-", "") for auth in AuthProtocol}
_PRIVACY = {
    PrivacyProtocol.AES128: "AES",
    PrivacyProtocol.AES192: "AES192BLMT",
    PrivacyProtocol.AES256: "AES256BLMT",
}


def records_of(walked: Walked) -> list[Record]:
    """What a walk brought, to be served again."""
    lines = []
    for name, (kind, value) in walked.items():
        tag, text = _TAGS[kind], value.decode("latin-1")
        if tag == "4":
            tag, text = "4x", value.hex()
        lines.append((name[1:], tag, text))
    return lines


class Snmpsim(Daemon):
    """Serves each walk under its name: as the community of v2c, and as the context of v3, to the user `nms`."""

    def __init__(
        self,
        directory: Path,
        walks: Mapping[str, Iterable[Record]],
        *,
        auth: AuthProtocol = AuthProtocol.SHA256,
        privacy: PrivacyProtocol | None = PrivacyProtocol.AES128,
        auth_secret: str = AUTH_SECRET,
        privacy_secret: str = PRIVACY_SECRET,
        ipv6: bool = False,
    ) -> None:
        self._directory = directory
        self._walks = {name: list(records) for name, records in walks.items()}
        self._protocols = (auth, privacy)
        self._secrets = (auth_secret, privacy_secret)
        self._ipv6 = ipv6
        self.port = free_udp_port()
        self._edits = 0

    @property
    def log(self) -> Path:
        return self._directory / "snmpsim.log"

    def serve(self, name: str, records: Iterable[Record]) -> None:
        """Replace a walk; also while it runs: the next request sees it."""
        self._walks[name] = list(records)
        self._write(name)
        self._edits += 2  # snmpsim looks at whole seconds of the time of modification
        path = self._directory / "data" / f"{name}.snmprec"
        found = path.stat()
        os.utime(path, (found.st_atime, found.st_mtime + self._edits))

    def _write(self, name: str) -> None:
        by_oid = sorted(self._walks[name], key=lambda record: tuple(map(int, record[0].split("."))))
        text = "".join(f"{'|'.join(record)}\n" for record in by_oid)
        (self._directory / "data" / f"{name}.snmprec").write_text(text, encoding="utf-8")

    def _write_all(self) -> None:
        for folder in ("data", "cache"):
            (self._directory / folder).mkdir(parents=True, exist_ok=True)
        for name in self._walks:
            self._write(name)

    async def start(self) -> None:
        await asyncio.to_thread(self._write_all)
        program = Path(sys.executable).parent / "snmpsim-command-responder"
        auth, privacy = self._protocols
        auth_secret, privacy_secret = self._secrets
        arguments = [
            f"--cache-dir={self._directory / 'cache'}",
            "--v3-engine-id=80001f880573696d31",
            "--v3-user=nms",
            f"--v3-auth-key={auth_secret}",
            f"--v3-auth-proto={_AUTH[auth]}",
            *([f"--v3-priv-key={privacy_secret}", f"--v3-priv-proto={_PRIVACY[privacy]}"] if privacy else []),
            f"--data-dir={self._directory / 'data'}",
            f"--agent-udpv4-endpoint=127.0.0.1:{self.port}",
            *([f"--agent-udpv6-endpoint=[::1]:{self.port}"] if self._ipv6 else []),
        ]
        environment = {"SNMPSIM_ALLOW_ROOT": "true", "TMPDIR": str(self._directory)}
        await self._run(program, arguments, udp=[self.port], environment=environment)
