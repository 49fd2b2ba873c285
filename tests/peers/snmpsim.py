"""snmpsim as a child process: an SNMPv3 agent by other hands, serving a recorded walk."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.peers.daemon import Daemon
from tests.peers.snmptrapd import free_udp_port

if TYPE_CHECKING:
    from tests.peers.pysnmp_manager import Walked

_TAGS = {
    "Integer32": "2",
    "Integer": "2",
    "OctetString": "4",
    "ObjectIdentifier": "6",
    "Counter32": "65",
    "Gauge32": "66",
}
_TAGS |= {"Unsigned32": "66", "TimeTicks": "67", "Counter64": "70"}


class Snmpsim(Daemon):
    """Serves a walk as the context `public` to the user `nms` by SHA-256 and AES-128."""

    def __init__(self, directory: Path, walked: Walked, *, auth_secret: str, privacy_secret: str) -> None:
        self._directory = directory
        self._walked = walked
        self._secrets = (auth_secret, privacy_secret)
        self.port = free_udp_port()

    @property
    def log(self) -> Path:
        return self._directory / "snmpsim.log"

    def _record(self) -> None:
        for name in ("data", "cache"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        lines = []
        for name, (kind, value) in self._walked.items():
            tag, text = _TAGS[kind], value.decode("latin-1")
            if tag == "4":
                tag, text = "4x", value.hex()
            lines.append(f"{name[1:]}|{tag}|{text}\n")
        (self._directory / "data" / "public.snmprec").write_text("".join(lines), encoding="utf-8")

    async def start(self) -> None:
        await asyncio.to_thread(self._record)
        program = Path(sys.executable).parent / "snmpsim-command-responder"
        auth_secret, privacy_secret = self._secrets
        arguments = [
            f"--cache-dir={self._directory / 'cache'}",
            "--v3-engine-id=80001f880573696d31",
            "--v3-user=nms",
            f"--v3-auth-key={auth_secret}",
            "--v3-auth-proto=SHA256",
            f"--v3-priv-key={privacy_secret}",
            "--v3-priv-proto=AES",
            f"--data-dir={self._directory / 'data'}",
            f"--agent-udpv4-endpoint=127.0.0.1:{self.port}",
        ]
        environment = {"SNMPSIM_ALLOW_ROOT": "true", "TMPDIR": str(self._directory)}
        await self._run(program, arguments, udp=[self.port], environment=environment)
