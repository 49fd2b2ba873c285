"""A real Alertmanager on a free port of 127.0.0.1, without a cluster; its configuration is the test's."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.peers.daemon import Daemon
from tests.peers.ports import free_port
from tests.peers.private_mounts import command
from tests.peers.require import require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.peers.pki import Pki

TEMPLATES = Path("/usr/share/prometheus/alertmanager")
PREFIX = "/am"
USER, PASSWORD = "hsm-agent", "geheim"


@dataclass(slots=True, kw_only=True)
class Alertmanager(Daemon):
    """`pki`: with it only TLS with a client certificate and basic authentication are let in."""

    folder: Path
    configuration: Mapping[str, Any]
    pki: Pki | None = None
    port: int = field(default_factory=free_port)
    _process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        return self.folder / "alertmanager.log"

    @property
    def url(self) -> str:
        return f"{'http' if self.pki is None else 'https'}://localhost:{self.port}{PREFIX}"

    async def start(self) -> None:
        file, web = self.folder / "alertmanager.yml", self.folder / "web.yml"
        file.write_text(yaml.safe_dump(dict(self.configuration)), encoding="utf-8")
        web.write_text(yaml.safe_dump(self._web()), encoding="utf-8")
        program = require("prometheus-alertmanager")
        arguments = [
            f"--config.file={file}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--web.route-prefix={PREFIX}",
            f"--web.config.file={web}",
            "--cluster.listen-address=",
        ]
        if TEMPLATES.is_dir():
            await self._run(program, arguments, tcp=[self.port])
            return
        # Debian's finds its templates by an absolute path alone: put there, where nobody else sees it.
        unpacked = program.parents[2] / TEMPLATES.relative_to("/")
        put = 'mount -t tmpfs tmpfs /usr/share && mkdir "${1%/*}" && cp -r "$2" "$1" && shift 2 && exec "$@"'
        words = command("sh", "-c", put, "sh", str(TEMPLATES), str(unpacked), str(program), *arguments)
        await self._run(Path(words[0]), words[1:], tcp=[self.port])

    def _web(self) -> dict[str, Any]:
        if self.pki is None:
            return {}
        import bcrypt

        return {
            "tls_server_config": {
                "cert_file": str(self.pki.server.certificate),
                "key_file": str(self.pki.server.key),
                "client_auth_type": "RequireAndVerifyClientCert",
                "client_ca_file": str(self.pki.ca),
            },
            "basic_auth_users": {USER: bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()},
        }

    async def alerts(self) -> list[dict[str, Any]]:
        """What is on, by its API."""
        return await asyncio.to_thread(self._alerts)

    def _alerts(self) -> list[dict[str, Any]]:
        request = urllib.request.Request(f"{self.url}/api/v2/alerts")
        context = None
        if self.pki is not None:
            context = ssl.create_default_context(cafile=str(self.pki.ca))
            context.load_cert_chain(self.pki.agent.certificate, self.pki.agent.key)
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    async def until(
        self, holds: Callable[[list[dict[str, Any]]], bool], *, seconds: float = 10.0
    ) -> list[dict[str, Any]]:
        """The alerts, once they are as asked."""
        found: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(seconds):
                while not holds(found := await self.alerts()):
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise TimeoutError(f"not within {seconds:g} s: {found}") from error
        return found
