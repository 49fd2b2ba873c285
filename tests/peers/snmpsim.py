"""snmpsim as a child process: an SNMPv3 agent by other hands, serving a recorded walk."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.peers.ports import until_listening
from tests.peers.snmptrapd import free_udp_port

if TYPE_CHECKING:
    from types import TracebackType

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
_STOP_SECONDS = 5.0


class Snmpsim:
    """Serves a walk as the context `public` to the user `nms` by SHA-256 and AES-128. `async with`."""

    def __init__(self, directory: Path, walked: Walked, *, auth_secret: str, privacy_secret: str) -> None:
        self._directory = directory
        self._walked = walked
        self._secrets = (auth_secret, privacy_secret)
        self.port = free_udp_port()
        self._process: asyncio.subprocess.Process | None = None

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
        """Start it and wait until it listens."""
        await asyncio.to_thread(self._record)
        log = self._directory / "snmpsim.log"
        program = Path(sys.executable).parent / "snmpsim-command-responder"
        auth_secret, privacy_secret = self._secrets
        with log.open("wb") as file:
            self._process = await asyncio.create_subprocess_exec(
                str(program), f"--cache-dir={self._directory / 'cache'}",
                "--v3-engine-id=80001f880573696d31", "--v3-user=nms",
                f"--v3-auth-key={auth_secret}", "--v3-auth-proto=SHA256",
                f"--v3-priv-key={privacy_secret}", "--v3-priv-proto=AES",
                f"--data-dir={self._directory / 'data'}",
                f"--agent-udpv4-endpoint=127.0.0.1:{self.port}",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=asyncio.subprocess.STDOUT,
                env=os.environ | {"SNMPSIM_ALLOW_ROOT": "true", "TMPDIR": str(self._directory)},
            )  # fmt: skip
        await until_listening(self._process, [], [self.port], log)

    async def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
