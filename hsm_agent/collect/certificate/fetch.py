"""The certificates a TLS server shows, by a handshake and nothing more. Nobody is trusted: what is expired is read too.

No byte of an application's protocol is sent; the connection is cut as soon as the certificates are there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import LONGEST_TIMEOUT_SECONDS
from hsm_agent.net.address import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hsm_agent.net.address import SocketAddress

_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305: try the next address of a name that long after the last
_LEGACY_SERVER_CONNECT = 0x4  # SSL_OP_LEGACY_SERVER_CONNECT, which Python names from 3.12 on
_MORE = "check that it speaks TLS on this port, and whether it wants a client certificate (`client`)"


class EndpointTrouble(Exception):
    """No certificate could be had. The text is one line that names the endpoint and says what to check."""


def open_context(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """For looking only: any certificate, version and cipher the library knows. Raises OSError, ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Old appliances are those whose certificates need watching most; nothing is told to them.
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.options |= _LEGACY_SERVER_CONNECT
    if certificate is not None:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
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
        raise EndpointTrouble(f"{place}: the TLS handshake failed ({reason(error)}): {_MORE}") from error
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
            ssl_handshake_timeout=LONGEST_TIMEOUT_SECONDS,  # whoever asks has a shorter one
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


def reason(error: ssl.SSLError) -> str:
    """What OpenSSL says, in words."""
    return (error.reason or "no reason given").replace("_", " ").lower()
