"""The text that the canary signs, and the verification of the signature. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives import hashes

MechanismName = Literal[
    "ECDSA", "ECDSA-SHA256", "ECDSA-SHA384", "ECDSA-SHA512", "EDDSA",
    "RSA-PKCS", "SHA256-RSA-PKCS", "SHA384-RSA-PKCS", "SHA512-RSA-PKCS",
    "SHA256-RSA-PKCS-PSS", "SHA384-RSA-PKCS-PSS", "SHA512-RSA-PKCS-PSS", "SHA256-HMAC",
]  # fmt: skip

_SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017 section 9.2, note 1
_CURVES = {
    "06082a8648ce3d030107": ("secp256r1", 256),
    "06052b81040022": ("secp384r1", 384),
    "06052b81040023": ("secp521r1", 521),
    "06052b8104000a": ("secp256k1", 256),
    "06092b2403030208010107": ("brainpoolP256r1", 256),
    "06092b240303020801010b": ("brainpoolP384r1", 384),
    "06092b240303020801010d": ("brainpoolP512r1", 512),
}
"""CKA_EC_PARAMS of named curves (RFC 5480, RFC 5639): cryptography's name and bits."""
_ED25519, _ED448 = 64, 114
_HMAC_BYTES = 32
_RSA_BYTES = (96, 2048)
_ECDSA_BYTES = (40, 144)
_OCTET_STRING = b"\x04"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`problem` is empty for a good signature; `verified` says whether there was a public key to say so by."""

    problem: str = ""
    verified: bool = False


def message(source: str, when: float) -> bytes:
    """The text that is signed: it cannot be mistaken for anything but a test."""
    return f"hsm-agent canary {source} at {when:.3f}: this signature says nothing".encode()


def to_sign(mechanism: MechanismName, text: bytes) -> bytes:
    """What the token is given: the text, or its SHA-256 where the mechanism does not hash."""
    if mechanism == "ECDSA":
        return hashlib.sha256(text).digest()
    if mechanism == "RSA-PKCS":
        return _SHA256_DIGEST_INFO + hashlib.sha256(text).digest()
    return text


def check(mechanism: MechanismName, text: bytes, signature: bytes, public: Mapping[str, str]) -> Verdict:
    """Length first; then, where the public key is known, the signature itself."""
    if not signature.strip(b"\0"):
        return Verdict(problem=f"the token returned {len(signature)} bytes of nothing in place of a signature")
    if "RSA" in mechanism:
        return _check_rsa(mechanism, text, signature, public)
    if mechanism == "EDDSA":
        return _check_eddsa(text, signature, public)
    if mechanism == "SHA256-HMAC":
        return _wrong_length(signature, _HMAC_BYTES) or Verdict()
    return _check_ecdsa(mechanism, text, signature, public)


def _wrong_length(signature: bytes, wanted: int) -> Verdict | None:
    if len(signature) == wanted:
        return None
    return Verdict(problem=f"the signature has {len(signature)} bytes, {wanted} belong to this key")


def _implausible(signature: bytes, bounds: tuple[int, int], *, even: bool) -> Verdict:
    low, high = bounds
    if low <= len(signature) <= high and not (even and len(signature) % 2):
        return Verdict()
    return Verdict(problem=f"the signature has {len(signature)} bytes, which no key of this mechanism makes")


def _verify(verification: Callable[[], None]) -> Verdict:
    """The result of a verification; one that could not be made says nothing against the signature."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415 - 50 ms, seldom needed

    try:
        verification()
    except InvalidSignature:
        return Verdict(problem="the signature does not verify with the public key")
    except (ValueError, KeyError, UnsupportedAlgorithm):
        # A token need not give a whole public key, nor one of a size or on a curve that the library was built with.
        return Verdict()
    return Verdict(verified=True)


def _check_rsa(mechanism: str, text: bytes, signature: bytes, public: Mapping[str, str]) -> Verdict:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

    modulus = bytes.fromhex(public.get("modulus", "")).lstrip(b"\0")
    if not modulus:
        return _implausible(signature, _RSA_BYTES, even=False)
    if (wrong := _wrong_length(signature, len(modulus))) is not None:
        return wrong
    digest = _hash(mechanism)
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size) if mechanism.endswith("PSS") else padding.PKCS1v15()

    def verification() -> None:
        numbers = rsa.RSAPublicNumbers(int(public.get("exponent", ""), 16), int.from_bytes(modulus, "big"))
        numbers.public_key().verify(signature, text, scheme, digest)

    return _verify(verification)


def _check_ecdsa(mechanism: str, text: bytes, signature: bytes, public: Mapping[str, str]) -> Verdict:
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: PLC0415

    name, bits = _CURVES.get(public.get("curve", ""), ("", 0))
    if not bits:
        return _implausible(signature, _ECDSA_BYTES, even=True)
    half = (bits + 7) // 8
    if (wrong := _wrong_length(signature, 2 * half)) is not None:
        return wrong
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    kinds = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1, ec.SECP256K1)
    more = (ec.BrainpoolP256R1, ec.BrainpoolP384R1, ec.BrainpoolP512R1)
    curve: dict[str, type[ec.EllipticCurve]] = {str(kind.name): kind for kind in (*kinds, *more)}

    def verification() -> None:
        point = octets(bytes.fromhex(public.get("point", "")))
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve[name](), point)
        key.verify(utils.encode_dss_signature(r, s), text, ec.ECDSA(_hash(mechanism)))

    return _verify(verification)


def _check_eddsa(text: bytes, signature: bytes, public: Mapping[str, str]) -> Verdict:
    from cryptography.hazmat.primitives.asymmetric import ed448, ed25519  # noqa: PLC0415

    if len(signature) not in {_ED25519, _ED448}:
        return Verdict(problem=f"the signature has {len(signature)} bytes, which no key of this mechanism makes")
    kind = ed25519.Ed25519PublicKey if len(signature) == _ED25519 else ed448.Ed448PublicKey
    # Some tokens give the point in a form of their own.
    return _verify(
        lambda: kind.from_public_bytes(octets(bytes.fromhex(public.get("point", "")))).verify(signature, text)
    )


def _hash(mechanism: str) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    from cryptography.hazmat.primitives import hashes as kinds  # noqa: PLC0415

    if "SHA384" in mechanism:
        return kinds.SHA384()
    return kinds.SHA512() if "SHA512" in mechanism else kinds.SHA256()


def octets(point: bytes) -> bytes:
    """CKA_EC_POINT without the DER of an OCTET STRING around it, which most tokens put there and some do not."""
    if point[:1] != _OCTET_STRING:
        return point
    for length in (b"", b"\x81"):  # of up to 127 bytes and of up to 255
        header = len(length) + 2
        if point[1:header] == length + (len(point) - header).to_bytes(2, "big", signed=True)[1:]:
            return point[header:]
    return point
