"""What several SNMP settings are made of: SNMPv3 users, peers, listening addresses, networks, engine IDs."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hsm_agent.settings.secret import Secret
from hsm_agent.settings.types import Strict
from hsm_agent.text import MAX_PORT, host_port
from hsm_agent.wire.snmp.usm import MIN_SECRET_OCTETS, AuthProtocol, PrivacyProtocol, User
from hsm_agent.wire.snmp.v3 import MAX_ENGINE_ID_OCTETS, MAX_NAME_OCTETS, MIN_ENGINE_ID_OCTETS

T = TypeVar("T")

_IPV4_CHARACTERS = frozenset("0123456789.")
MAX_RETRIES = 20

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))


def listen_address(text: str) -> tuple[str, int]:
    """Address and port of `udp:127.0.0.1:1161` or `udp6:[::1]:1161`. Raises ValueError."""
    scheme, _, rest = text.partition(":")
    found = host_port(rest) if scheme in {"udp", "udp6"} else None
    is_v6 = scheme == "udp6"
    # A name is none of both: where it leads to may change while the agent runs.
    if found is None or found.in_brackets != is_v6 or not (is_v6 or _IPV4_CHARACTERS.issuperset(found.host)):
        raise ValueError(f"not a place to listen: {text!r} (write udp:127.0.0.1:1161 or udp6:[::1]:1161)")
    try:
        ipaddress.IPv6Address(found.host.partition("%")[0]) if is_v6 else ipaddress.IPv4Address(found.host)
    except ValueError as error:
        raise ValueError(f"not an IP address: {found.host!r}") from error
    if found.port > MAX_PORT:
        raise ValueError(f"not a port: {found.port}")
    return found.host, found.port


def _listen(text: str) -> str:
    listen_address(text)
    return text


def _engine_id(value: object) -> object:
    if not isinstance(value, str):
        return value
    digits = value.removeprefix("0x")
    if not re.fullmatch(r"([0-9A-Fa-f]{2})+", digits):
        raise ValueError("not an engine ID: write it in hex, in quotes")
    octets = bytes.fromhex(digits)
    if not MIN_ENGINE_ID_OCTETS <= len(octets) <= MAX_ENGINE_ID_OCTETS or octets.count(octets[0]) == len(octets):
        raise ValueError(
            f"not an engine ID: it has {MIN_ENGINE_ID_OCTETS} to {MAX_ENGINE_ID_OCTETS} octets, not all the same"
        )
    return octets


def _network(value: object) -> object:
    return ipaddress.ip_network(value) if isinstance(value, str) else value


ListenAddress = Annotated[str, AfterValidator(_listen)]
"""Where to listen, as listen_address reads it."""
EngineId = Annotated[bytes, BeforeValidator(_engine_id)]
"""An SNMP engine ID, written in hex."""
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], Field(alias="from", min_length=1)]
"""Networks that may speak, under the key `from`."""


def reject_duplicates(what: str, values: list[T]) -> None:
    """Raise ValueError that names the key if two of a list are the same."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{what}.{index}: the same as {what}.{values.index(value)}")


def _user_name(text: str) -> str:
    if not text.isprintable() or not 0 < len(text.encode()) <= MAX_NAME_OCTETS:
        raise ValueError(f"not a user name: it has 1 to {MAX_NAME_OCTETS} printable octets")
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


AnswersFrom = Literal["same", "any"]
"""Whether a v2c answer may come from another address than the one that was asked. v3 answers prove who sent them."""


class SnmpPeerSettings(Strict):
    """In whose name one peer is addressed, as a manager or as a sender of notifications."""

    version: Literal["v2c", "v3"]
    community: Secret | None = None
    user: SnmpUser | None = None
    answers_from: AnswersFrom = "same"

    @model_validator(mode="after")
    def _the_version_has_its_own_keys(self) -> Self:
        if self.version == "v3":
            if self.user is None:
                raise ValueError("user: required for version v3 (name, auth, and privacy to encrypt)")
            if self.community is not None:
                raise ValueError("community: not for version v3 (it has users)")
            if self.answers_from == "same" and "answers_from" in self.model_fields_set:
                why = "its answers are authenticated, and taken from any address"
                raise ValueError(f"answers_from: not `same` for version v3 ({why})")
            return self
        if self.community is None:
            raise ValueError("community: required for version v2c (a secret: {file: PATH})")
        if self.user is not None:
            raise ValueError("user: not for version v2c (it has communities)")
        return self


def trap_receiver_line(engine_id: bytes | None, user: SnmpUser) -> str:
    """The line of snmptrapd.conf that lets it take this user's notifications; the pass-phrases are left to fill in.

    With our engine ID for traps, whose authority is the agent; None for informs, whose authority is the receiver.
    """
    words = ["createUser"]
    if engine_id is not None:
        words.append(f"-e 0x{engine_id.hex()}")
    words.append(f'{_quoted(user.name)} {user.auth.protocol.value} "<authentication pass-phrase>"')
    if user.privacy is not None:
        words.append(f'{_NET_SNMP_PRIVACY[user.privacy.protocol]} "<privacy pass-phrase>"')
    return " ".join(words)


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


_NET_SNMP_PRIVACY = {
    PrivacyProtocol.AES128: "AES",
    PrivacyProtocol.AES192: "AES-192",
    PrivacyProtocol.AES256: "AES-256",
}
