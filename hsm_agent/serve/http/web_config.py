"""TLS and users of the HTTP server, in the file format of Prometheus' exporter-toolkit (a strict subset of it).

    tls_server_config:
      cert_file: agent.pem          # paths are relative to this file's folder
      key_file: agent.key
      client_ca_file: ca.pem
      client_auth_type: RequireAndVerifyClientCert
      min_version: TLS13            # default TLS12
    basic_auth_users:
      prometheus: $2y$10$...        # htpasswd -nBC 10 prometheus

Reading the file blocks: call it before the event loop runs, or on a thread.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NoReturn, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from hsm_agent.log import SparingLog
from hsm_agent.net.certificates import fingerprint, pem_blocks
from hsm_agent.settings.errors import ConfigError, explain
from hsm_agent.settings.secret import SecretError, read_private_file
from hsm_agent.settings.trust import UntrustedError, refuse_untrusted, trusted_uids
from hsm_agent.settings.types import LocalPath, Strict
from hsm_agent.settings.yaml_file import mapping_of
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 1.0
_LOOK_TIMEOUT_SECONDS = 1.0  # a new connection waits for it
_RELOAD_TIMEOUT_SECONDS = 10.0
MAX_BCRYPT_COST = 15
"""A check at cost 15 takes about two seconds of a core; the next one would not fit an answer's deadline."""

_MIN_BCRYPT_COST = 4  # bcrypt's own floor
_BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53}")
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
# Go's RequestClientCert asks and then neither needs nor checks the answer: not to ask comes to the same.
_VERIFY = {
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class WebConfigError(ValueError):
    """The file is refused; the text is one line that names the file and the key."""


class TlsServerConfig(Strict):
    """The server's certificate, and whether clients must show one."""

    cert_file: LocalPath
    key_file: LocalPath
    client_ca_file: LocalPath | None = None
    client_auth_type: Literal[
        "NoClientCert",
        "RequestClientCert",
        "RequireAnyClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    ] = "NoClientCert"
    min_version: Literal["TLS12", "TLS13"] = "TLS12"

    @model_validator(mode="after")
    def _client_authentication_is_real(self) -> Self:
        if self.client_auth_type == "RequireAnyClientCert":
            raise ValueError(
                "client_auth_type: RequireAnyClientCert lets any self-made certificate in and is not supported; "
                "use RequireAndVerifyClientCert"
            )
        if self.client_ca_file is None and _VERIFY[self.client_auth_type] is not ssl.CERT_NONE:
            raise ValueError(f"client_auth_type: {self.client_auth_type} needs client_ca_file")
        if self.client_ca_file is not None and self.client_auth_type == "NoClientCert":
            raise ValueError("client_ca_file: set without a client_auth_type that uses it")
        return self


class WebConfigFile(Strict):
    """The whole file."""

    tls_server_config: TlsServerConfig | None = None
    basic_auth_users: dict[str, str] = Field(default_factory=dict)

    @field_validator("basic_auth_users")
    @classmethod
    def _hashes_are_bcrypt(cls, users: dict[str, str]) -> dict[str, str]:
        for user, digest in users.items():
            found = _BCRYPT.fullmatch(digest)
            if found is None:
                raise ValueError(f"{user!r}: not a bcrypt hash; make one with: htpasswd -nBC 10 {user}")
            if not _MIN_BCRYPT_COST <= int(found[1]) <= MAX_BCRYPT_COST:
                raise ValueError(
                    f"{user!r}: bcrypt cost {found[1]} is not within {_MIN_BCRYPT_COST} to {MAX_BCRYPT_COST}"
                )
            if not user or ":" in user:
                raise ValueError(f"{user!r}: not a user name that HTTP can carry (RFC 7617 section 2)")
        return users


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """What the files hold: the users' hashes, the TLS context (None: plain HTTP), and which files those are.

    `certificates` are those of `cert_file` as PEM, without a key.
    """

    users: Mapping[str, str]
    context: ssl.SSLContext | None
    fingerprint: tuple[object, ...]
    files: tuple[Path, ...]
    certificates: bytes = b""


NO_WEB_CONFIG = WebConfig(users={}, context=None, fingerprint=(), files=())
"""Plain HTTP, open to every client that reaches the port."""


class WatchedWebConfig:
    """The web_config as it is now. A certificate renewed on disk is shown from the next connection on."""

    def __init__(self, path: Path | None, *, look_every_seconds: float = LOOK_EVERY_SECONDS) -> None:
        """`path` None: plain HTTP, always."""
        self._look_every_seconds = look_every_seconds
        self.current = NO_WEB_CONFIG
        self._path = path
        self._looked_at = 0.0
        self._refused: tuple[object, ...] | None = None
        self._disk = Lane(f"reading {path}")
        self._sparing_log = SparingLog(log)

    async def reload(self) -> None:
        """Read the files again. Raises WebConfigError and keeps what it has."""
        if self._path is not None:
            try:
                self.current = await self._disk.call(
                    partial(load_web_config, self._path), seconds=_RELOAD_TIMEOUT_SECONDS
                )
            except StuckError as error:
                raise WebConfigError(str(error)) from error

    async def current_context(self) -> ssl.SSLContext | None:
        """The TLS context for a new connection, None for plain HTTP. Looks at the files once a second at most."""
        now = time.monotonic()
        if self._path is not None and now - self._looked_at >= self._look_every_seconds:
            self._looked_at = now
            renew = partial(self._renewed, self._path, self.current)
            try:
                self.current = await self._disk.call(renew, seconds=_LOOK_TIMEOUT_SECONDS)
            except StuckError as error:
                self._sparing_log.warning("http: the files go on as they were read last: %s", error)
        return self.current.context

    def _renewed(self, path: Path, old: WebConfig) -> WebConfig:
        found = fingerprint(old.files)
        if found in (old.fingerprint, self._refused):
            return old
        try:
            new = load_web_config(path)
        except WebConfigError as error:
            self._refused = found
            log.warning("http: changed files are refused, the old ones stay: %s", error)
            return old
        log.info("http: %s or a file it names has changed and was read anew", path)
        return new


def load_web_config(path: Path) -> WebConfig:
    """Read the file and what it names. Raises WebConfigError."""
    before = fingerprint((path,))
    file = _parse(path)
    tls = file.tls_server_config
    named = () if tls is None else tuple(each for each in (tls.cert_file, tls.key_file, tls.client_ca_file) if each)
    # The fingerprint is taken before the files are read, so that what changes in between is seen at the next look.
    found = before + fingerprint(named)
    context = None if tls is None else _context(tls, path)
    shown = b"" if tls is None else pem_blocks(tls.cert_file.read_bytes())
    return WebConfig(
        users=file.basic_auth_users, context=context, fingerprint=found, files=(path, *named), certificates=shown
    )


def _parse(path: Path) -> WebConfigFile:
    try:
        refuse_untrusted(path, trusted_uids(os.environ))
        tree = mapping_of(path.read_bytes())
        return WebConfigFile.model_validate(tree, context={"base": path.absolute().parent})
    except UntrustedError as error:
        raise WebConfigError(f"{path}: {error}") from error
    except OSError as error:
        raise WebConfigError(f"{path}: {error.strerror}") from error
    except ConfigError as error:
        raise WebConfigError("; ".join(f"{path}: {line}" for line in error.lines)) from error
    except ValidationError as error:
        raise WebConfigError("; ".join(f"{path}: {line}" for line in explain(error, WebConfigFile))) from error


def _context(tls: TlsServerConfig, path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.verify_mode = _VERIFY[tls.client_auth_type]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    place = f"{path}: tls_server_config"
    try:
        read_private_file(tls.key_file)
    except SecretError as error:
        raise WebConfigError(f"{place}.key_file: {error}") from error
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=_refuse_encrypted_key)
    except (OSError, ValueError) as error:
        raise WebConfigError(f"{place}: {tls.cert_file} with {tls.key_file}: {_reason(error)}") from error
    if tls.client_ca_file is not None:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (OSError, ValueError) as error:
            raise WebConfigError(f"{place}.client_ca_file: {tls.client_ca_file}: {_reason(error)}") from error
    return context


def _refuse_encrypted_key() -> NoReturn:
    # Without a callback, OpenSSL would ask on the terminal, and wait.
    raise ValueError("the key is encrypted; keep it in clear, readable by the agent alone")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").replace("_", " ").lower()
        return reason or "not a certificate or key in PEM form"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
