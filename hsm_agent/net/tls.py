"""The `tls:` part of a sink: which receivers are trusted, and the agent's own certificate. TLS 1.2 or newer."""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, PrivateAttr, model_validator

from hsm_agent.net.certificates import check_own_key, crl_blocks, fingerprint, load_own, pem_blocks, why_not_loaded
from hsm_agent.settings.types import LocalPath, Strict

if TYPE_CHECKING:
    from pathlib import Path

_NO_CRL = "not a certificate revocation list in PEM form"
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_MINIMA = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def _fingerprint(text: str) -> str:
    """Lower-case hex of a SHA-256 fingerprint, written with or without colons and the prefix of RFC 5425."""
    plain = re.sub(r"^sha-?256:", "", text.strip().lower()).replace(":", "")
    if not _SHA256_HEX.fullmatch(plain):
        raise ValueError("not a SHA-256 fingerprint (64 hex digits, as openssl x509 -fingerprint -sha256 prints them)")
    return plain


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The content of the files. Settings are equal only if their certificates are equal, too."""

    context: ssl.SSLContext = field(compare=False)
    content: str
    own: bytes
    authorities: bytes
    crl_ends: float | None
    crl_file: tuple[object, ...] = field(compare=False)
    """Changes whenever the file of the list changes."""
    refused: tuple[object, ...] | None = field(default=None, compare=False)
    """The same of all files, as they were when a new list was refused."""


class TlsSettings(Strict):
    """How a TLS connection to a receiver is made and what is verified.

    `verify: name`: the certificate is of a CA in `ca` and for the name (or IP address) in `to`, by its subjectAltName
    (RFC 9525 section 6.3). `verify: common-name`: the same, but of a certificate without one the common name counts.
    `verify: fingerprint`: its SHA-256 is one of `fingerprints`; a `ca`, if given, must have signed it besides.
    """

    ca: LocalPath | None = None
    certificate: LocalPath | None = None
    key: LocalPath | None = None
    crl: LocalPath | None = None
    verify: Literal["name", "common-name", "fingerprint"] = "name"
    fingerprints: tuple[Annotated[str, AfterValidator(_fingerprint)], ...] = ()
    minimum: Literal["1.2", "1.3"] = "1.2"
    _loaded: _Loaded = PrivateAttr()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        by_name = self.verify != "fingerprint"
        if by_name and self.ca is None:
            raise ValueError(f"ca: required with verify: {self.verify}")
        if by_name and self.fingerprints:
            raise ValueError("fingerprints: only with verify: fingerprint")
        if self.crl is not None and self.ca is None:
            raise ValueError("crl: only with a ca")
        if self.verify == "fingerprint" and not self.fingerprints:
            raise ValueError("fingerprints: at least one is required with verify: fingerprint")
        if self.key is not None and self.certificate is None:
            raise ValueError("certificate: required where there is a key")
        self._loaded = self._read()
        return self

    def renew(self) -> bool:
        """Read the files again if the revocation list has changed, for later connections; whether it had. Blocks.

        Raises ValueError, once for each change, if they cannot be read; the old list then stays in force.
        """
        old = self._loaded
        if self.crl is None or fingerprint((self.crl,)) == old.crl_file:
            return False
        found = fingerprint(self._files())
        if found == old.refused:
            return False
        try:
            self._loaded = self._read()
        except (OSError, ValueError) as error:
            self._loaded = replace(old, refused=found)
            raise ValueError(str(error)) from error
        return True

    def _files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.ca, self.certificate, self.key, self.crl) if path is not None)

    def _read(self) -> _Loaded:
        # Before the file is read: a change in between is then found by the next `renew`.
        crl_file = () if self.crl is None else fingerprint((self.crl,))
        return _Loaded(
            context=self._load(),
            content=self._digest(),
            own=_certificates(self.certificate),
            authorities=_certificates(self.ca),
            crl_ends=None if self.crl is None else _end_of_crls(self.crl),
            crl_file=crl_file,
        )

    @property
    def context(self) -> ssl.SSLContext:
        """For connections to the receiver, with the certificates as they were when they were read."""
        return self._loaded.context

    @property
    def own_certificates(self) -> bytes:
        """The certificates presented to the receiver, as loaded: PEM without the key; empty if there are none."""
        return self._loaded.own

    @property
    def authorities(self) -> bytes:
        """The trusted CA certificates, as loaded: PEM; empty without `ca`."""
        return self._loaded.authorities

    @property
    def crl_ends(self) -> float | None:
        """NextUpdate of the first list to expire, UTC seconds; after it every receiver is refused. Infinite if none."""
        return self._loaded.crl_ends

    def _load(self) -> ssl.SSLContext:
        """Read the files. Raises ValueError that names the key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = _MINIMA[self.minimum]
        context.hostname_checks_common_name = self.verify == "common-name"
        if self.verify == "fingerprint":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE if self.ca is None else ssl.CERT_REQUIRED
        for key, path, otherwise in (("ca", self.ca, "not a PEM certificate"), ("crl", self.crl, _NO_CRL)):
            try:
                if path is not None:
                    context.load_verify_locations(cafile=path)
            except (OSError, ValueError) as error:
                raise ValueError(f"{key}: {path}: {why_not_loaded(error, otherwise)}") from error
        if self.crl is not None:
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        if self.certificate is not None:
            check_own_key(self.certificate, self.key)
            load_own(context, self.certificate, self.key)
        return context

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for path in (self.ca, self.certificate, self.key, self.crl):
            content = b"" if path is None else path.read_bytes()
            digest.update(len(content).to_bytes(8, "big") + content)
        return digest.hexdigest()

    def trusts(self, certificate: bytes | None) -> bool:
        """Whether a peer with this certificate (DER) is the receiver, as far as fingerprints go."""
        if self.verify != "fingerprint":
            return True
        shown = hashlib.sha256(certificate or b"").hexdigest()
        matches = [hmac.compare_digest(shown, known) for known in self.fingerprints]
        return certificate is not None and any(matches)


def _end_of_crls(path: Path) -> float:
    from cryptography import x509  # noqa: PLC0415 - 50 ms, and most configurations never come here

    ends = []
    for block in crl_blocks(path.read_bytes()):
        try:
            ends.append(x509.load_pem_x509_crl(block).next_update_utc)
        except ValueError as error:
            raise ValueError(f"crl: {path}: {_NO_CRL}") from error
    if not ends:
        raise ValueError(f"crl: {path}: {_NO_CRL}")
    return min((end.timestamp() for end in ends if end is not None), default=inf)


def _certificates(path: Path | None) -> bytes:
    return b"" if path is None else pem_blocks(path.read_bytes())
