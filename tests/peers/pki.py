"""Certificates for TLS peers, made anew for each run: a CA, a receiver, an agent, and those that must be refused."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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
    nameless_server: Identity
    """For the server's name by its common name alone."""
    revoked_server: Identity
    crl: Path
    """In which the revoked one stands; `old_crl` is the same, and has ended."""
    old_crl: Path


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
    revoked = identity("revoked-server", authority, *names)
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
        nameless_server=nameless(folder, authority),
        revoked_server=revoked,
        crl=revocations(folder / "crl.pem", authority, revoked, until=datetime.now(UTC) + timedelta(days=1)),
        old_crl=revocations(folder / "old-crl.pem", authority, revoked, until=yesterday),
    )


def nameless(folder: Path, authority: trustme.CA) -> Identity:
    """A server certificate of the authority that has a common name and no subjectAltName."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, issuer_key = _signer(authority)
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    certificate, private = folder / "nameless.pem", folder / "nameless.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Identity(certificate=certificate, key=private, fingerprint=made.fingerprint(hashes.SHA256()).hex())


def revocations(path: Path, authority: trustme.CA, revoked: Identity, *, until: datetime) -> Path:
    """A list of the authority's in which one certificate stands."""
    issuer, issuer_key = _signer(authority)
    serial = x509.load_pem_x509_certificate(revoked.certificate.read_bytes()).serial_number
    began = until - timedelta(days=2)
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(began).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject).last_update(began)
    made = builder.next_update(until).add_revoked_certificate(entry).sign(issuer_key, hashes.SHA256())
    path.write_bytes(made.public_bytes(Encoding.PEM))
    return path


def _signer(authority: trustme.CA) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificate(authority.cert_pem.bytes()), key
