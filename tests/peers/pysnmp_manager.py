"""pysnmp's manager side as an independent peer, over asyncio. Needs no pytest."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports names that its own companion calls deprecated
    from pysnmp.hlapi.v3arch import asyncio as hlapi

if TYPE_CHECKING:
    from types import TracebackType

AUTH: dict[AuthProtocol, Any] = {
    AuthProtocol.SHA: hlapi.USM_AUTH_HMAC96_SHA,
    AuthProtocol.SHA224: hlapi.USM_AUTH_HMAC128_SHA224,
    AuthProtocol.SHA256: hlapi.USM_AUTH_HMAC192_SHA256,
    AuthProtocol.SHA384: hlapi.USM_AUTH_HMAC256_SHA384,
    AuthProtocol.SHA512: hlapi.USM_AUTH_HMAC384_SHA512,
}
PRIVACY: dict[PrivacyProtocol | None, Any] = {
    None: hlapi.USM_PRIV_NONE,
    PrivacyProtocol.AES128: hlapi.USM_PRIV_CFB128_AES,
    PrivacyProtocol.AES192: hlapi.USM_PRIV_CFB192_AES_BLUMENTHAL,
    PrivacyProtocol.AES256: hlapi.USM_PRIV_CFB256_AES_BLUMENTHAL,
}

Walked = dict[str, tuple[str, bytes]]
"""Dotted names with a leading dot; the type's name and the value's octets or decimal text."""


class PysnmpManager:
    """Walks one agent. `async with`."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._engine = hlapi.SnmpEngine()

    async def walk_v2c(self, community: str, root: tuple[int, ...]) -> Walked:
        """Everything below a root."""
        return await self._walk(hlapi.CommunityData(community, mpModel=1), root, "")

    async def walk_v3(
        self,
        user: str,
        auth: AuthProtocol,
        auth_secret: str,
        privacy: PrivacyProtocol | None,
        privacy_secret: str,
        root: tuple[int, ...],
        *,
        context: str = "",
    ) -> Walked:
        """Everything below a root, as this user."""
        data = hlapi.UsmUserData(
            user,
            auth_secret,
            privacy_secret if privacy else None,
            authProtocol=AUTH[auth],
            privProtocol=PRIVACY[privacy],
        )
        return await self._walk(data, root, context)

    async def _walk(self, credentials: Any, root: tuple[int, ...], context: str) -> Walked:
        target = await hlapi.UdpTransportTarget.create(self._address, timeout=5, retries=1)
        found: Walked = {}
        async for error, status, _index, varbinds in hlapi.bulk_walk_cmd(
            self._engine,
            credentials,
            target,
            hlapi.ContextData(contextName=context.encode()),
            0,
            25,
            hlapi.ObjectType(hlapi.ObjectIdentity(root)),
            lexicographicMode=False,
            lookupMib=False,
        ):
            if error or status:
                raise RuntimeError(f"pysnmp: {error or status.prettyPrint()}")
            for name, value in varbinds:
                octets = value.asOctets() if hasattr(value, "asOctets") else str(value).encode()
                found[f".{name}"] = (type(value).__name__, bytes(octets))
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close_dispatcher()
