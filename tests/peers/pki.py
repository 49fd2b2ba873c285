"""Certificates for TLS peers, made anew for each run: a CA, a receiver, an agent, and those that must be refused."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

SERVER_NAME = "localhost"
AGENT_NAME = "agent.example.net"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its key, in files (0600) and as its SHA-256."""

    certificate: Path
    key: Path
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """All that a TLS test needs. `rogue_ca` is one nobody trusts."""

    ca: Path
    rogue_ca: Path
    server: Identity
    other_server: Identity
    expired_server: Identity
    rogue_server: Identity
    agent: Identity
    other_agent: Identity
    rogue_agent: Identity


def make(folder: Path) -> Pki:
    """Make everything below the folder."""
    import trustme  # the demonstration imports this module without it

    authority, rogue = trustme.CA(), trustme.CA()
    yesterday = datetime.now(UTC) - timedelta(days=1)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    rogue.cert_pem.write_to_path(folder / "rogue-ca.pem")

    def identity(name: str, issuer: trustme.CA, *names: str, until: datetime | None = None) -> Identity:
        leaf = issuer.issue_cert(*names, common_name=names[0], not_after=until)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(leaf.private_key_pem.bytes())
        der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
        return Identity(certificate=certificate, key=key, fingerprint=hashlib.sha256(der).hexdigest())

    names = (SERVER_NAME, "127.0.0.1", "::1")
    return Pki(
        ca=folder / "ca.pem",
        rogue_ca=folder / "rogue-ca.pem",
        server=identity("server", authority, *names),
        other_server=identity("other-server", authority, "elsewhere.example.net"),
        expired_server=identity("expired-server", authority, *names, until=yesterday),
        rogue_server=identity("rogue-server", rogue, *names),
        agent=identity("agent", authority, AGENT_NAME),
        other_agent=identity("other-agent", authority, "other.example.net"),
        rogue_agent=identity("rogue-agent", rogue, AGENT_NAME),
    )
