"""The certificates a TLS server shows, by a handshake and nothing more. Nobody is trusted: what is expired is read too.

No byte of an application's protocol is sent; the connection is cut as soon as the certificates are there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

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


async def fetch_chain(
    host: str, port: int, server_name: str, context: ssl.SSLContext, seconds: float, names: asyncio.Semaphore
) -> bytes:
    """What the server shows, leaf first, as PEM. Raises EndpointTrouble within that time.

    `names` bounds how many names are asked for at once: each takes one of a few threads that others need, and a name
    server that is away keeps it beyond our own patience.
    """
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            async with names:
                await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            _, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=server_name, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS
            )
    except TimeoutError as error:
        raise EndpointTrouble(
            f"{place}: no TLS handshake within {seconds:.2g} s: check address, port, firewall, and that it speaks TLS"
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
        return _shown(writer.get_extra_info("ssl_object"))
    finally:
        writer.transport.abort()


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
