from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm_agent.collect.canary.verify import MechanismName, Verdict, check, message, octets, to_sign

TEXT = message("canary", 1_700_000_000.0)
P256 = "06082a8648ce3d030107"
EC = ec.generate_private_key(ec.SECP256R1())
POINT = EC.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
PUBLIC = {"curve": P256, "point": (b"\x04\x41" + POINT).hex()}
RSA = rsa.generate_private_key(65537, 2048)
MODULUS = RSA.public_key().public_numbers().n.to_bytes(256, "big")
RSA_PUBLIC = {"modulus": MODULUS.hex(), "exponent": "010001"}


def raw(der: bytes) -> bytes:
    r, s = utils.decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_what_is_signed_says_what_it_is() -> None:
    assert TEXT == b"hsm-agent canary canary at 1700000000.000: this signature says nothing"
    assert to_sign("ECDSA", TEXT) == hashlib.sha256(TEXT).digest()
    assert to_sign("RSA-PKCS", TEXT).endswith(hashlib.sha256(TEXT).digest())
    assert to_sign("SHA256-RSA-PKCS", TEXT) == TEXT


@pytest.mark.parametrize(
    ("mechanism", "digest"),
    [("ECDSA", hashes.SHA256()), ("ECDSA-SHA256", hashes.SHA256()), ("ECDSA-SHA512", hashes.SHA512())],
)
def test_ecdsa(mechanism: MechanismName, digest: hashes.HashAlgorithm) -> None:
    signature = raw(EC.sign(TEXT, ec.ECDSA(digest)))

    assert check(mechanism, TEXT, signature, PUBLIC) == Verdict(verified=True)
    assert check(mechanism, TEXT, signature, PUBLIC | {"point": POINT.hex()}).verified
    assert (
        check(mechanism, TEXT + b"x", signature, PUBLIC).problem == "the signature does not verify with the public key"
    )
    assert check(mechanism, TEXT, signature[:-1], PUBLIC).problem == (
        "the signature has 63 bytes, 64 belong to this key"
    )
    assert check(mechanism, TEXT, signature, {"curve": P256}) == Verdict()
    assert check(mechanism, TEXT, signature, {"curve": P256, "point": "04"}) == Verdict()
    assert check(mechanism, TEXT, signature, {}) == Verdict()
    assert "which no key of this mechanism makes" in check(mechanism, TEXT, b"\x01" * 65, {}).problem


@pytest.mark.parametrize(
    ("mechanism", "digest", "salt"),
    [
        ("RSA-PKCS", hashes.SHA256(), 0),
        ("SHA384-RSA-PKCS", hashes.SHA384(), 0),
        ("SHA256-RSA-PKCS-PSS", hashes.SHA256(), 32),
        ("SHA512-RSA-PKCS-PSS", hashes.SHA512(), 64),
    ],
)
def test_rsa(mechanism: MechanismName, digest: hashes.HashAlgorithm, salt: int) -> None:
    scheme = padding.PSS(padding.MGF1(digest), salt) if salt else padding.PKCS1v15()
    signature = RSA.sign(TEXT, scheme, digest)

    assert check(mechanism, TEXT, signature, RSA_PUBLIC) == Verdict(verified=True)
    assert check(mechanism, TEXT, signature, RSA_PUBLIC | {"modulus": f"00{MODULUS.hex()}"}).verified
    assert "does not verify" in check(mechanism, TEXT + b"x", signature, RSA_PUBLIC).problem
    assert "255 bytes, 256 belong" in check(mechanism, TEXT, signature[1:], RSA_PUBLIC).problem
    assert check(mechanism, TEXT, signature, {"modulus": MODULUS.hex()}) == Verdict()
    assert check(mechanism, TEXT, signature, {}) == Verdict()
    assert "which no key" in check(mechanism, TEXT, b"\x01" * 9, {}).problem


def test_eddsa() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = {"point": (b"\x04\x20" + key.public_key().public_bytes_raw()).hex()}
    signature = key.sign(TEXT)

    assert check("EDDSA", TEXT, signature, public) == Verdict(verified=True)
    assert "does not verify" in check("EDDSA", TEXT + b"x", signature, public).problem
    assert check("EDDSA", TEXT, signature, {}) == Verdict()
    assert "which no key" in check("EDDSA", TEXT, signature[1:], public).problem


def test_hmac_is_judged_by_its_length() -> None:
    assert check("SHA256-HMAC", TEXT, b"\x01" * 32, {}) == Verdict()
    assert "31 bytes, 32 belong" in check("SHA256-HMAC", TEXT, b"\x01" * 31, {}).problem


@pytest.mark.parametrize("signature", [b"", bytes(64)])
def test_nothing_is_no_signature(signature: bytes) -> None:
    assert "bytes of nothing" in check("ECDSA", TEXT, signature, {}).problem


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (b"\x04\x41" + POINT, POINT),
        (POINT, POINT),
        (b"\x04\x81\x85" + b"\x04" * 133, b"\x04" * 133),
        (b"\x04", b"\x04"),
        (b"", b""),
    ],
)
def test_a_point_comes_with_a_wrapping_or_without(given: bytes, wanted: bytes) -> None:
    assert octets(given) == wanted
