"""A Luna-like HSM that has something to say in every panel, and the agent's settings for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bcrypt

from tests.peers.agent import AgentProcess, source
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.pki import Pki

QUICK = {"every": "500ms", "audit_every": "500ms", "storage_every": "500ms", "objects_every": "1s"}
PASSWORD = "correct horse battery staple"


def hsm(directory: Path) -> FakeHsm:
    """Its audit store fills, its sessions are counted, its commands go up."""
    made = FakeHsm(directory, "payments")
    made.set_luna()
    made.set_audit(120000, rate=20)
    made.set_statistics(up=1000, idle=900, commands=5000, rate=100)
    made.set_session_limit(100)
    made.set_sessions(42)
    made.set_pairs("capabilities", {1: 1, 7: 1, 12: 0, 37: 1})
    made.set_memory(total=1000000, free=400000)
    made.set("token.total_public", 65536)
    made.set("token.free_public", 32768)
    return made


def watched(made: FakeHsm) -> dict[str, Any]:
    return source("luna", made.module, made.environment, **QUICK)


def agent(directory: Path, **settings: Any) -> AgentProcess:
    """An agent below a folder of its own, which is made."""
    directory.mkdir()
    return AgentProcess(directory, **settings)


def web_config(folder: Path, pki: Pki) -> Path:
    """TLS, and a password for the user of integrations/prometheus/prometheus.yml."""
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    path = folder / "web.yml"
    server = f"tls_server_config:\n  cert_file: {pki.server.certificate}\n  key_file: {pki.server.key}\n"
    path.write_text(f"{server}basic_auth_users:\n  prometheus: {digest}\n")
    path.chmod(0o600)
    return path


def password_file(folder: Path) -> Path:
    path = folder / "hsm-agent.password"
    path.write_text(PASSWORD)
    path.chmod(0o600)
    return path
