"""The cryptography of the User-based Security Model: keys, digests, encryption.

RFC 3414 with SHA-1, RFC 7860 with SHA-2, RFC 3826 with AES-128, and AES-192 and AES-256 with the key extension of
draft-blumenthal-aes-usm-04 that net-snmp and most managers use. No MD5 and no DES: both are broken.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.decrepit.ciphers.modes import CFB
    from cryptography.hazmat.primitives.ciphers import Cipher

MIN_SECRET_OCTETS = 8  # RFC 3414 section 11.2
SALT_OCTETS = 8
_STRETCHED_OCTETS = 1048576  # RFC 3414 section 2.6


class AuthProtocol(Enum):
    """An authentication protocol by its name in the configuration (RFC 3414 section 7, RFC 7860 section 4)."""

    SHA = "SHA"
    SHA224 = "SHA-224"
    SHA256 = "SHA-256"
    SHA384 = "SHA-384"
    SHA512 = "SHA-512"

    @property
    def hash_name(self) -> str:
        """The hash function as hashlib knows it."""
        return _HASHES[self][0]

    @property
    def digest_octets(self) -> int:
        """Length of the truncated digest in a message."""
        return _HASHES[self][1]


_HASHES = {
    AuthProtocol.SHA: ("sha1", 12),
    AuthProtocol.SHA224: ("sha224", 16),
    AuthProtocol.SHA256: ("sha256", 24),
    AuthProtocol.SHA384: ("sha384", 32),
    AuthProtocol.SHA512: ("sha512", 48),
}


class PrivacyProtocol(Enum):
    """A privacy protocol by its name in the configuration."""

    AES128 = "AES-128"
    AES192 = "AES-192"
    AES256 = "AES-256"

    @property
    def key_octets(self) -> int:
        """Length of the key."""
        return _KEY_OCTETS[self]


_KEY_OCTETS = {PrivacyProtocol.AES128: 16, PrivacyProtocol.AES192: 24, PrivacyProtocol.AES256: 32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A user's keys at one engine. No `privacy` means authNoPriv; there is no user without authentication."""

    user_name: bytes
    auth: AuthProtocol
    auth_key: bytes = field(repr=False)
    privacy: PrivacyProtocol | None = None
    privacy_key: bytes = field(default=b"", repr=False)

    def sign(self, message: bytes, offset: int) -> bytes:
        """The message with its digest at `offset`, where zeros are (RFC 3414 section 6.3.1)."""
        digest = self._digest(message)
        return message[:offset] + digest + message[offset + len(digest) :]

    def verify(self, message: bytes, offset: int, digest: bytes) -> bool:
        """Whether the digest that stands at `offset` is right; in constant time (RFC 3414 section 6.3.2)."""
        octets = self.auth.digest_octets
        if len(digest) != octets:  # an empty or short digest would match too easily
            return False
        blank = message[:offset] + bytes(octets) + message[offset + octets :]
        return hmac.compare_digest(self._digest(blank), digest)

    def _digest(self, message: bytes) -> bytes:
        return hmac.digest(self.auth_key, message, self.auth.hash_name)[: self.auth.digest_octets]

    def encrypt(self, plain: bytes, boots: int, time: int, salt: bytes) -> bytes:
        """RFC 3826 section 3.1.3."""
        encryptor = self._cipher(boots, time, salt).encryptor()
        return encryptor.update(plain) + encryptor.finalize()

    def decrypt(self, encrypted: bytes, boots: int, time: int, salt: bytes) -> bytes:
        """RFC 3826 section 3.1.4. A wrong key gives noise, not an error."""
        decryptor = self._cipher(boots, time, salt).decryptor()
        return decryptor.update(encrypted) + decryptor.finalize()

    def _cipher(self, boots: int, time: int, salt: bytes) -> Cipher[CFB]:
        # RFC 3826 section 3.1.2.1: 128 bits, unique for each message as long as no salt is drawn twice in one second of
        # one boot. They need not be secret: the receiver takes all three from the message.
        vector = boots.to_bytes(4, "big") + time.to_bytes(4, "big") + salt
        return load_aes()(self.privacy_key, vector)


@lru_cache(maxsize=1)
def load_aes() -> Callable[[bytes, bytes], Cipher[CFB]]:
    """Makes the cipher of a key and an initialisation vector. The first call loads a library: 20 ms, and 7 MB."""
    # "decrepit" for new designs; RFC 3826 leaves no choice
    from cryptography.hazmat.decrepit.ciphers.modes import CFB  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415

    return lambda key, vector: Cipher(AES(key), CFB(vector))


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user with the master keys of the pass-phrases; localizing them to an engine is cheap."""

    name: str
    auth: AuthProtocol
    auth_master: bytes = field(repr=False)
    privacy: PrivacyProtocol | None = None
    privacy_master: bytes = field(default=b"", repr=False)

    @classmethod
    def from_secrets(
        cls,
        *,
        name: str,
        auth: AuthProtocol,
        auth_secret: str,
        privacy: PrivacyProtocol | None = None,
        privacy_secret: str = "",
    ) -> User:
        """Stretch the pass-phrases: about 2 ms each, so at start and not for each message.

        The privacy key, too, is made with the hash of the authentication protocol (RFC 3826 section 1.2).
        """
        return cls(
            name=name,
            auth=auth,
            auth_master=master_key(auth, auth_secret.encode()),
            privacy=privacy,
            privacy_master=master_key(auth, privacy_secret.encode()) if privacy else b"",
        )

    def localize(self, engine_id: bytes) -> Keys:
        """The user's keys at an engine."""
        key = b""
        if self.privacy is not None:
            key = localized_key(self.auth, self.privacy_master, engine_id)
            key = extended_key(self.auth, key, self.privacy.key_octets)
        return Keys(
            user_name=self.name.encode(),
            auth=self.auth,
            auth_key=localized_key(self.auth, self.auth_master, engine_id),
            privacy=self.privacy,
            privacy_key=key,
        )


def master_key(auth: AuthProtocol, secret: bytes) -> bytes:
    """Password to key, Ku (RFC 3414 section 2.6): the hash of a mebibyte of repetitions."""
    if len(secret) < MIN_SECRET_OCTETS:
        raise ValueError(f"an SNMPv3 pass-phrase has {MIN_SECRET_OCTETS} octets or more")
    # A mebibyte, so that each guess at a pass-phrase takes time. In one piece, which hashlib takes in one call.
    repetitions = _STRETCHED_OCTETS // len(secret) + 1
    return hashlib.new(auth.hash_name, (secret * repetitions)[:_STRETCHED_OCTETS]).digest()


def localized_key(auth: AuthProtocol, master: bytes, engine_id: bytes) -> bytes:
    """Kul (RFC 3414 section 2.6): useless at any other engine."""
    return hashlib.new(auth.hash_name, master + engine_id + master).digest()


def extended_key(auth: AuthProtocol, key: bytes, octets: int) -> bytes:
    """A localized key made as long as the cipher needs it (draft-blumenthal-aes-usm-04 section 3.1.2.1)."""
    # SHA-1 gives 20 octets, AES-256 needs 32. Each round hashes all of the key so far, as net-snmp does. The variant of
    # draft-reeder-snmpv3-usm-3desede-00, which some devices use, makes a password of it instead: other keys.
    while len(key) < octets:
        key += hashlib.new(auth.hash_name, key).digest()
    return key[:octets]
