"""The source `kind: certificate`: when the certificates of TLS endpoints and in files expire.

Nothing is verified: an expired, self-signed or strange certificate is what it is for. At an endpoint there is a
handshake and nothing more: no byte of an application's protocol is sent, and the connection is cut as soon as the
certificates are there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hsm_agent.collect.base import (
    LONGEST_TIMEOUT_SECONDS,
    Collector,
    CollectorContext,
    Poll,
    SourceFailure,
    SourceSettings,
    first_of,
)
from hsm_agent.collect.certificate import FetchedCertificates, parse_fetched
from hsm_agent.collect.file_reader import FileReader, FileTrouble
from hsm_agent.net import certificates
from hsm_agent.net.address import resolve
from hsm_agent.settings.types import Interval, LocalPath, Strict, refuse_doubles
from hsm_agent.text import MAX_PORT, host_port
from hsm_agent.threads import Lane, Lanes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.collect.series import Fact, KnownSeries
    from hsm_agent.net.address import SocketAddress

_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305: try the next address of a name that long after the last
_LEGACY_SERVER_CONNECT = 0x4  # SSL_OP_LEGACY_SERVER_CONNECT, which Python names from 3.12 on
_MORE = "check that it speaks TLS on this port, and whether it wants a client certificate (`client`)"


class EndpointTrouble(Exception):
    """No certificate could be had. The text is one line that names the endpoint and says what to check."""


def open_context(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """For looking only: any certificate, version and cipher the library knows. Raises ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Old appliances are those whose certificates need watching most; the agent sends them no data.
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.options |= _LEGACY_SERVER_CONNECT
    if certificate is not None:
        certificates.load_own(context, certificate, key)
    return context


async def fetch_chain(host: str, port: int, server_name: str, context: ssl.SSLContext, seconds: float) -> bytes:
    """What the server shows, leaf first, as PEM. Raises EndpointTrouble within that time."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            found = await resolve(host, port, socket.SOCK_STREAM)
            transport = await _first_of(found, context, server_name)
    except TimeoutError as error:
        raise EndpointTrouble(
            f"{place}: no TLS handshake within {round(seconds, 1):g} s: check address, port, firewall, and that it "
            "speaks TLS"
        ) from error
    except socket.gaierror as error:
        raise EndpointTrouble(f"{place}: the name cannot be resolved ({error.strerror}): check it and DNS") from error
    except ssl.SSLError as error:
        reason = (error.reason or "no reason given").replace("_", " ").lower()
        raise EndpointTrouble(f"{place}: the TLS handshake failed ({reason}): {_MORE}") from error
    except ConnectionRefusedError as error:
        raise EndpointTrouble(f"{place} refuses the connection: check that the service runs, and the port") from error
    except ConnectionResetError as error:
        raise EndpointTrouble(f"{place} ended the connection in the handshake: {_MORE}") from error
    except OSError as error:
        raise EndpointTrouble(
            f"{place} cannot be reached: {error.strerror or error}: check address and route"
        ) from error
    except ValueError as error:
        raise EndpointTrouble(f"{place}: not a name TLS can ask for: {server_name!r}") from error
    try:
        return _shown(transport.get_extra_info("ssl_object"))
    finally:
        transport.abort()


async def _first_of(
    found: Sequence[tuple[int, SocketAddress]], context: ssl.SSLContext, server_name: str
) -> asyncio.Transport:
    """A connection to the address that answers first: each is tried when the one before it failed, or soon after.

    Raises what the last one that failed said.
    """
    waiting = list(found)
    tries: set[asyncio.Task[asyncio.Transport]] = set()
    under_way: set[asyncio.Task[asyncio.Transport]] = set()
    winner: asyncio.Transport | None = None
    failure: BaseException = OSError("it has no address")
    try:
        while winner is None and (waiting or under_way):
            if waiting:
                attempt = asyncio.create_task(_connect(*waiting.pop(0), context, server_name))
                tries.add(attempt)
                under_way.add(attempt)
            patience = _NEXT_ADDRESS_SECONDS if waiting else None
            done, under_way = await asyncio.wait(under_way, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                trouble = each.exception()
                winner, failure = (winner or each.result(), failure) if trouble is None else (winner, trouble)
    finally:
        await _let_go(tries, winner)
    if winner is None:
        raise failure
    return winner


async def _connect(family: int, remote: SocketAddress, context: ssl.SSLContext, server_name: str) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.setblocking(False)
        await loop.sock_connect(plain, remote)
        transport, _ = await loop.create_connection(
            asyncio.Protocol,
            sock=plain,
            ssl=context,
            server_hostname=server_name,
            ssl_handshake_timeout=LONGEST_TIMEOUT_SECONDS,  # the callers have shorter deadlines
        )
    except BaseException:
        plain.close()
        raise
    return transport


async def _let_go(tries: set[asyncio.Task[asyncio.Transport]], winner: asyncio.Transport | None) -> None:
    for each in tries:
        each.cancel()
    for outcome in await asyncio.gather(*tries, return_exceptions=True):
        if isinstance(outcome, asyncio.Transport) and outcome is not winner:
            outcome.abort()


def _shown(connection: Any) -> bytes:
    """The chain; the leaf alone where this Python has no way to the rest."""
    # Public from Python 3.13 on; before that it is only at the object below.
    unverified_chain = getattr(getattr(connection, "_sslobj", None), "get_unverified_chain", tuple)
    chain: Any = unverified_chain()
    if chain:
        return "\n".join(each.public_bytes() for each in chain).encode()
    return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"").encode()


_DAY = 86400.0
_MOST_FILE_BYTES = 4 * 1024 * 1024
_PARSE_SECONDS = 60.0
_RETRY_SECONDS = 300.0
"""What could not be read is looked at again after that long, rather than in an hour."""


class ClientCertificate(Strict):
    """What the agent shows to a server that asks who calls."""

    certificate: LocalPath
    key: LocalPath | None = None

    @model_validator(mode="after")
    def _usable(self) -> Self:
        certificates.check_own_key(self.certificate, self.key)
        open_context(self.certificate, self.key)
        return self


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
        found = host_port(self.endpoint or "")
        if found is None or not 0 < found.port <= MAX_PORT:
            raise ValueError(f"endpoint: not a host and port: {self.endpoint!r} (write host:443 or [2001:db8::1]:443)")
        return found.host, found.port

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
        refuse_doubles("certificates", [each.resource for each in self.certificates], "certificates")
        return self

    def build(self, context: CollectorContext) -> Collector:
        del context
        return CertificateCollector(self)

    def metrics_produced(self) -> Mapping[str, str]:
        return {"certificate_seconds_left": "", "certificate_info": ""}

    def about(self) -> Iterator[str]:
        count = len(self.certificates)
        yield f"{count} endpoint{'s' * (count != 1)} or file{'s' * (count != 1)}"
        for each in self.certificates:
            yield f"{each.resource}: {each.endpoint or each.file}" if each.name else each.resource


class CertificateCollector(Collector):
    """Fetches all certificates at once. Between polls no connection stays open."""

    kind = "certificate"

    def __init__(self, settings: CertificateSettings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._files = FileReader()
        self._contexts = Lanes()
        self._parsing = Lane(f"source {settings.name}: reading certificates")
        self._known: Mapping[str, KnownSeries[Fact]] = {}

    async def poll(self) -> Poll:
        """Fetch every certificate. Raises SourceFailure where none could be read."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.timeout
        fetched = await asyncio.gather(*(self._fetch(each, deadline) for each in self._settings.certificates))
        found = parse_fetched(self.name, fetched, self._known, time.time())
        if not any(each.certificates for each in fetched):
            raise SourceFailure(f"no certificate could be read: {first_of(found.errors)}")
        self._known = found.known
        handshakes = sum(each.is_endpoint for each in fetched)
        return Poll(
            readings=found.readings,
            next_in_seconds=min(self.every_seconds, _RETRY_SECONDS) if found.errors else self.every_seconds,
            errors=found.errors,
            calls={"TLS handshake": handshakes, "file": len(fetched) - handshakes},
            complete=not found.errors,
            gone=found.gone,
        )

    async def _fetch(self, watched: WatchedCertificate, deadline: float) -> FetchedCertificates:
        is_endpoint = watched.endpoint is not None
        try:
            data = await (self._handshake if is_endpoint else self._file)(watched, deadline)
        except (EndpointTrouble, FileTrouble) as trouble:
            return FetchedCertificates(resource=watched.resource, errors=(str(trouble),), is_endpoint=is_endpoint)
        parsed = await self._parsing.call(partial(certificates.parse, data), seconds=_PARSE_SECONDS)
        errors = tuple(line if is_endpoint else f"{watched.file}: {line}" for line in parsed.errors)
        # Where one of a chain cannot be parsed, the first of the others need not be the leaf.
        found = () if is_endpoint and errors else parsed.certificates
        return FetchedCertificates(
            resource=watched.resource, certificates=found, errors=errors, is_endpoint=is_endpoint
        )

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
            raise EndpointTrouble(f"the client certificate cannot be used: {error}") from error
        return await fetch_chain(host, port, watched.server_name or host, context, left())

    async def _file(self, watched: WatchedCertificate, deadline: float) -> bytes:
        assert watched.file is not None
        seconds = deadline - asyncio.get_running_loop().time()
        content = await self._files.read(watched.file, most_bytes=_MOST_FILE_BYTES, seconds=seconds)
        if not content.whole:
            raise FileTrouble(
                f"{watched.file} is longer than {_MOST_FILE_BYTES} bytes: check that it is the file meant"
            )
        return content.data

    async def forget(self, resource: str) -> bool:
        was_known = any(key[0] == resource for series in self._known.values() for key in series.facts)
        self._known = {name: series.without({resource}) for name, series in self._known.items()}
        return was_known

    def calls_a_day(self) -> Mapping[str, float]:
        """Handshakes and file reads a day."""
        endpoints = sum(each.endpoint is not None for each in self._settings.certificates)
        times = _DAY / self.every_seconds
        return {"TLS handshake": endpoints * times, "file": (len(self._settings.certificates) - endpoints) * times}
