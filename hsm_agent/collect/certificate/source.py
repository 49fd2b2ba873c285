"""The source `kind: certificate`: when the certificates of TLS servers and of files end.

It must not refuse what it looks at: an expired, self-signed or strange certificate is what it is for.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings
from hsm_agent.collect.certificate.fetch import EndpointTrouble, fetch_chain, open_context, reason
from hsm_agent.collect.certificate.parse import Look, interpret
from hsm_agent.collect.file_reader import FileReader, FileTrouble
from hsm_agent.net import certificates
from hsm_agent.settings.secret import read_private_file
from hsm_agent.settings.types import Interval, LocalPath, Strict
from hsm_agent.threads import Lane, Lanes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DAY = 86400.0
_HIGHEST_PORT = 65535
_LONGEST_FILE = 4 * 1024 * 1024
_PARSE_SECONDS = 60.0
_RETRY_SECONDS = 300.0
"""What could not be read is looked at again after that long, rather than in an hour."""
_ENDPOINT = re.compile(r"(?:\[([^\]\s]+)\]|([^\[\]:\s/]+)):([0-9]{1,5})")


class ClientCertificate(Strict):
    """What the agent shows to a server that asks who calls."""

    certificate: LocalPath
    key: LocalPath | None = None

    @model_validator(mode="after")
    def _usable(self) -> Self:
        name, private = ("certificate", self.certificate) if self.key is None else ("key", self.key)
        try:
            read_private_file(private)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        try:
            open_context(self.certificate, self.key)
        except (OSError, ValueError) as error:
            raise ValueError(f"certificate: {self.certificate}: {_why(error)}") from error
        return self


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not a PEM certificate with its unencrypted key ({reason(error)})"
    return getattr(error, "strerror", None) or str(error)


class WatchedCertificate(Strict):
    """One endpoint or one file."""

    name: Annotated[str, Field(min_length=1)] | None = None
    endpoint: str | None = None
    server_name: Annotated[str, Field(min_length=1)] | None = None
    client: ClientCertificate | None = None
    file: LocalPath | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.endpoint is None) == (self.file is None):
            raise ValueError("name exactly one of endpoint, file")
        if self.endpoint is not None:
            self.address()
        for key in ("server_name", "client"):
            if self.file is not None and getattr(self, key) is not None:
                raise ValueError(f"{key}: only with endpoint")
        return self

    def address(self) -> tuple[str, int]:
        """Host and port of `endpoint`. Raises ValueError."""
        found = _ENDPOINT.fullmatch(self.endpoint or "")
        if found is None or not 0 < int(found[3]) <= _HIGHEST_PORT:
            raise ValueError(f"endpoint: not a host and port: {self.endpoint!r} (write host:443 or [2001:db8::1]:443)")
        return found[1] or found[2], int(found[3])

    @property
    def resource(self) -> str:
        """The name of what it shows."""
        return self.name or self.endpoint or (self.file.name if self.file is not None else "")


class CertificateSettings(SourceSettings):
    """Certificates, each at an endpoint or in a file."""

    kind: Literal["certificate"]
    every: Interval = 3600.0
    certificates: Annotated[tuple[WatchedCertificate, ...], Field(min_length=1, max_length=250)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [each.resource for each in self.certificates]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ValueError(f"certificates.{index}.name: two certificates are called {name!r}; give one a name")
        return self

    def build(self, context: CollectorContext) -> Collector:
        """The collector of this source."""
        del context
        return CertificateCollector(self)

    def brings(self) -> Mapping[str, str]:
        """What is in a certificate, and how long it lasts."""
        return {"certificate_seconds_left": "", "certificate_info": ""}

    def about(self) -> Iterator[str]:
        """What is looked at, a line each."""
        count = len(self.certificates)
        yield f"{count} endpoint{'s' * (count != 1)} or file{'s' * (count != 1)}"
        for each in self.certificates:
            yield f"{each.resource}: {each.endpoint or each.file}" if each.name else each.resource


class CertificateCollector(Collector):
    """Looks at all of them at once. Between polls it holds nothing."""

    kind = "certificate"

    def __init__(self, settings: CertificateSettings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._files = FileReader()
        self._contexts = Lanes()
        self._parsing = Lane(f"source {settings.name}: reading certificates")
        self._known: Mapping[str, frozenset[str]] = {}

    async def poll(self) -> Poll:
        """Look at every certificate. Raises SourceFailure where none could be read."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.timeout
        looks = await asyncio.gather(*(self._look(each, deadline) for each in self._settings.certificates))
        found = interpret(self.name, looks, self._known, time.time())
        if not any(look.certificates for look in looks):
            others = f" (and {len(found.errors) - 1} more)" if len(found.errors) > 1 else ""
            raise SourceFailure(f"no certificate could be read: {found.errors[0]}{others}")
        self._known = found.known
        handshakes = sum(look.is_endpoint for look in looks)
        return Poll(
            readings=found.readings,
            next_in=min(self.every, _RETRY_SECONDS) if found.errors else self.every,
            errors=found.errors,
            calls={"TLS handshake": handshakes, "file": len(looks) - handshakes},
            complete=not found.errors,
            gone=found.gone,
        )

    async def _look(self, watched: WatchedCertificate, deadline: float) -> Look:
        is_endpoint = watched.endpoint is not None
        try:
            data = await (self._handshake if is_endpoint else self._file)(watched, deadline)
        except (EndpointTrouble, FileTrouble) as trouble:
            return Look(resource=watched.resource, errors=(str(trouble),), is_endpoint=is_endpoint)
        parsed = await self._parsing.call(partial(certificates.parse, data), seconds=_PARSE_SECONDS)
        errors = tuple(line if is_endpoint else f"{watched.file}: {line}" for line in parsed.errors)
        # Where one of a chain cannot be parsed, nobody knows that the first of the rest is the leaf.
        found = () if is_endpoint and errors else parsed.certificates
        return Look(resource=watched.resource, certificates=found, errors=errors, is_endpoint=is_endpoint)

    async def _handshake(self, watched: WatchedCertificate, deadline: float) -> bytes:
        loop = asyncio.get_running_loop()
        host, port = watched.address()

        def left() -> float:
            return deadline - loop.time()

        client = watched.client
        own = (client.certificate, client.key) if client is not None else ()
        try:
            # Each time anew, on a thread: a client certificate that was renewed counts at once.
            context = await self._contexts.call(
                own,
                f"reading {own[0]}" if own else "opening a TLS context",
                partial(open_context, *own),
                seconds=left(),
            )
        except (OSError, ValueError) as error:
            which = own[0] if own else "none"
            raise EndpointTrouble(f"the client certificate {which} cannot be used: {_why(error)}") from error
        return await fetch_chain(host, port, watched.server_name or host, context, left())

    async def _file(self, watched: WatchedCertificate, deadline: float) -> bytes:
        assert watched.file is not None
        seconds = deadline - asyncio.get_running_loop().time()
        content = await self._files.read(watched.file, most=_LONGEST_FILE, seconds=seconds)
        if not content.whole:
            raise FileTrouble(f"{watched.file} is longer than {_LONGEST_FILE} bytes: check that it is the right file")
        return content.data

    async def forget(self, resource: str) -> bool:
        """Stop missing a certificate that is gone for good."""
        holders = [name for name, held in self._known.items() if resource in held]
        self._known = {name: held - {resource} for name, held in self._known.items()}
        return bool(holders)

    def calls_a_day(self) -> Mapping[str, float]:
        """Handshakes and file reads a day."""
        endpoints = sum(each.endpoint is not None for each in self._settings.certificates)
        times = _DAY / self.every
        return {"TLS handshake": endpoints * times, "file": (len(self._settings.certificates) - endpoints) * times}
