"""Reads the names and the validity of certificates, and loads the agent's own. Nothing is verified: an expired one is
read too.

Parsing takes some 0.1 ms a certificate, and the first call imports a large library: call it on a thread.
"""

from __future__ import annotations

import re
import ssl
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.settings.secret import read_private_file
from hsm_agent.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.x509 import Certificate as X509Certificate
    from cryptography.x509 import Name

_CERTIFICATE = (b"CERTIFICATE-----", b"X509 CERTIFICATE-----")
_CRL = (b"X509 CRL-----",)
_BEGIN, _END = b"-----BEGIN ", b"-----END "
_DER_SEQUENCE = b"\x30"
_LONGEST_NAME = 100

# Public bundles hold roots with such serial numbers, and an operator can't change them.
warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive", module=re.escape(__name__))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate. Names are common names where there is one, else whole; times are UTC seconds since the epoch."""

    subject: str
    issuer: str
    serial: str
    """Hexadecimal, lower case."""
    fingerprint: str
    """SHA-256 of the whole, hexadecimal."""
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedCertificates:
    """The certificates in their order, and a line for each block that could not be parsed."""

    certificates: tuple[Certificate, ...]
    errors: tuple[str, ...] = ()


def pem_blocks(data: bytes) -> bytes:
    """The certificates of a PEM file alone: a key beside them stays behind."""
    return b"\n".join(_blocks(data, _CERTIFICATE))


def crl_blocks(data: bytes) -> list[bytes]:
    """The revocation lists of a PEM file."""
    return list(_blocks(data, _CRL))


def _blocks(data: bytes, labels: tuple[bytes, ...]) -> Iterator[bytes]:
    """The PEM blocks with one of these labels. Looks at each octet a few times at most, whatever the file holds.

    A block without an end is left out and hides no other one.
    """
    at = 0
    while (end := data.find(_END, at)) >= 0:
        begin = data.rfind(_BEGIN, at, end)
        at = end + len(_END)
        label = next((each for each in labels if data.startswith(each, at)), None)
        if begin >= 0 and label is not None and data.startswith(labels, begin + len(_BEGIN)):
            yield data[begin : at + len(label)]


def _begun(data: bytes) -> int:
    return sum(data.count(_BEGIN + label) for label in _CERTIFICATE)


def parse(data: bytes) -> ParsedCertificates:
    """Every certificate of a PEM bundle, or the one of a DER file; one error if the data is neither."""
    from cryptography import x509  # noqa: PLC0415 - 50 ms, and most configurations never come here

    blocks = list(_blocks(data, _CERTIFICATE))
    if not blocks and not data.startswith(_DER_SEQUENCE):
        return ParsedCertificates(certificates=(), errors=("it holds no certificate in PEM or DER form",))
    certificates, errors = [], []
    for number, block in enumerate(blocks or [data], start=1):
        load = x509.load_pem_x509_certificate if blocks else x509.load_der_x509_certificate
        try:
            certificates.append(_described(load(block)))
        except ValueError as error:
            errors.append(f"certificate {number} of {len(blocks) or 1} cannot be parsed: {_plain(str(error))}")
    if blocks and (cut := _begun(data) - len(blocks)) > 0:
        errors.append(
            f"{cut} certificate{'s' if cut > 1 else ''} more begin{'' if cut > 1 else 's'} here without an end"
        )
    return ParsedCertificates(certificates=tuple(certificates), errors=tuple(errors))


def _described(certificate: X509Certificate) -> Certificate:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - as above

    return Certificate(
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        serial=f"{certificate.serial_number:x}",
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def _name(name: Name) -> str:
    from cryptography.x509.oid import NameOID  # noqa: PLC0415 - as above

    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _plain(str(common[0].value) if common else name.rfc4514_string()) or "without a name"


def _plain(text: str) -> str:
    """Foreign text, fit for a line of the log."""
    return harmless(text)[:_LONGEST_NAME]


def fingerprint(files: tuple[Path, ...]) -> tuple[object, ...]:
    """Changes whenever one of the files changes."""
    return tuple(_identity(path) for path in files)


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def check_own_key(certificate: Path, key: Path | None) -> None:
    """Refuse a private key that others can read. Raises ValueError that names the key of the settings."""
    name, private = ("certificate", certificate) if key is None else ("key", key)
    try:
        read_private_file(private)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def load_own(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Let a context present a certificate. Raises ValueError that names the key of the settings."""
    try:
        certificate.read_bytes()  # OpenSSL does not say which of the two files it cannot read
    except OSError as error:
        raise ValueError(f"certificate: {certificate}: {error.strerror}") from error
    name, private = ("certificate", certificate) if key is None else ("key", key)
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        why = why_not_loaded(error, "not a PEM certificate with its unencrypted key")
        raise ValueError(f"{name}: {private} (with certificate {certificate}): {why}") from error


def why_not_loaded(error: OSError | ValueError, otherwise: str) -> str:
    """Why OpenSSL could not load a file; `otherwise` where it names a detail of the encoding at most."""
    if isinstance(error, ssl.SSLError):
        known = {"KEY_VALUES_MISMATCH": "the key does not belong to the certificate"}
        return known.get(getattr(error, "reason", None) or "", otherwise)
    return (error.strerror if isinstance(error, OSError) else None) or otherwise
