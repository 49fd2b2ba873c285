"""Settings of an SNMPv3 user, for notifications and for the responder alike."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from hsm_agent.secret import Secret
from hsm_agent.settings import Strict
from hsm_agent.wire.snmp_v3 import MAX_NAME
from hsm_agent.wire.usm import MIN_SECRET_OCTETS, AuthProtocol, PrivacyProtocol, User


def _user_name(text: str) -> str:
    if not text.isprintable() or not 0 < len(text.encode()) <= MAX_NAME:
        raise ValueError(f"not a user name: it has 1 to {MAX_NAME} printable octets")
    return text


def _pass_phrase(secret: Secret) -> Secret:
    if len(secret.reveal().encode()) < MIN_SECRET_OCTETS:
        raise ValueError(f"the pass-phrase is too short: SNMPv3 wants {MIN_SECRET_OCTETS} octets or more")
    return secret


PassPhrase = Annotated[Secret, AfterValidator(_pass_phrase)]
"""A secret that keys can be derived from (RFC 3414 section 11.2)."""


class SnmpAuth(Strict):
    """How a user proves who it is."""

    protocol: AuthProtocol
    secret: PassPhrase


class SnmpPrivacy(Strict):
    """How a user's messages are encrypted."""

    protocol: PrivacyProtocol
    secret: PassPhrase


class SnmpUser(Strict):
    """A user. With `privacy` its messages are always encrypted, without it always in clear, and always authentic."""

    name: Annotated[str, AfterValidator(_user_name)]
    auth: SnmpAuth
    privacy: SnmpPrivacy | None = Field(default=None)

    def user(self) -> User:
        """The user with its master keys: takes a few milliseconds."""
        return User.from_secrets(
            name=self.name,
            auth=self.auth.protocol,
            auth_secret=self.auth.secret.reveal(),
            privacy=self.privacy.protocol if self.privacy else None,
            privacy_secret=self.privacy.secret.reveal() if self.privacy else "",
        )


def trap_receiver_line(engine_id: bytes | None, user: SnmpUser) -> str:
    """The line of snmptrapd.conf that lets it take this user's notifications; the pass-phrases are left to fill in.

    With our engine ID for traps, whose authority is the agent; None for informs, whose authority is the receiver.
    """
    parts = ["createUser"]
    if engine_id is not None:
        parts.append(f"-e 0x{engine_id.hex()}")
    parts.append(f'{_quoted(user.name)} {user.auth.protocol.value} "<authentication pass-phrase>"')
    if user.privacy is not None:
        parts.append(f'{_NET_SNMP_PRIVACY[user.privacy.protocol]} "<privacy pass-phrase>"')
    return " ".join(parts)


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


_NET_SNMP_PRIVACY = {
    PrivacyProtocol.AES128: "AES",
    PrivacyProtocol.AES192: "AES-192",
    PrivacyProtocol.AES256: "AES-256",
}
