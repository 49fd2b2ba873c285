"""wire.usm: the published keys, the keys net-snmp derives, digests and ciphers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.wire.snmp.usm import AuthProtocol, Keys, PrivacyProtocol, User, extended_key, localized_key, master_key

RFC_ENGINE = bytes.fromhex("000000000000000000000002")
ENGINE = bytes.fromhex("80001f8805000102030405060708")


def test_the_sha1_key_of_rfc_3414_a_3_2() -> None:
    master = master_key(AuthProtocol.SHA, b"maplesyrup")

    assert master.hex() == "9fb5cc0381497b3793528939ff788d5d79145211"
    assert localized_key(AuthProtocol.SHA, master, RFC_ENGINE).hex() == "6695febc9288e36282235fc7151f128497b38f3f"


def test_the_changed_sha1_key_of_rfc_3414_a_5_2() -> None:
    master = master_key(AuthProtocol.SHA, b"newsyrup")

    assert localized_key(AuthProtocol.SHA, master, RFC_ENGINE).hex() == "78e2dcce79d59403b58c1bbaa5bff46391f1cd25"


# As snmptrapd 5.9.3 stores them for: createUser -e 0x80001f8805000102030405060708 u PROTOCOL "maplesyrup" AES… "syrup-of-maple"
NET_SNMP_KEYS = {
    AuthProtocol.SHA: (
        "8f8240392d85a3256bd1c441de012acf38cc8314",
        "4f42bde9f0003dd5173e9b3d34c9d81a9e356bb735befd7a9665c8b014c1b29e",
    ),
    AuthProtocol.SHA224: (
        "a18f52ffc638a64e462002ebb483606d8861761534b709f807691b4a",
        "3ea4552fa020e263489fbb921e50f8a3dc7f73f8c1144c5ee22f323fbaacab64",
    ),
    AuthProtocol.SHA256: (
        "031a2dd99375a78998276ed82c55d552d40ef8c008c73d706266f93f451ad585",
        "4cfa559eef05ae9a031f1ef561037747ebef3dc257c8edf00615ae3c19899867",
    ),
    AuthProtocol.SHA384: (
        "e846f4691987ee8eddb21a39315e7615fdd1128a1a4a749ea0b4ac52de689b868e23dc3b072fd0ea13ecfa61b55fa561",
        "48af587712df980981836932e7c725d0433fee11e2d386d45f3566a66021f1d9",
    ),
    AuthProtocol.SHA512: (
        (
            "29a4d4ae9dd30c588b7373b3cb97977e5b7b18e33612aa829f13e55b953fcd14"
            "d1d71b1c442b7f8ed447c173edc95d37795f7bf9a320a51ac8a8572126b5164b"
        ),
        "3a31f52361696729fd111b026edb754a1a7979e8ef73449d31a2249e14d18532",
    ),
}


@pytest.mark.parametrize("privacy", list(PrivacyProtocol))
@pytest.mark.parametrize("auth", list(AuthProtocol))
def test_keys_are_those_net_snmp_derives(auth: AuthProtocol, privacy: PrivacyProtocol) -> None:
    user = User.from_secrets(
        name="u", auth=auth, auth_secret="maplesyrup", privacy=privacy, privacy_secret="syrup-of-maple"
    )

    keys = user.localize(ENGINE)

    auth_key, longest_privacy_key = NET_SNMP_KEYS[auth]
    assert keys.auth_key.hex() == auth_key
    assert keys.privacy_key.hex() == longest_privacy_key[: privacy.key_octets * 2]


def test_a_key_is_extended_by_the_hash_of_all_there_is() -> None:
    key = localized_key(AuthProtocol.SHA, master_key(AuthProtocol.SHA, b"maplesyrup"), RFC_ENGINE)

    extended = extended_key(AuthProtocol.SHA, key, 50)

    assert len(extended) == 50
    assert extended[:20] == key
    assert extended_key(AuthProtocol.SHA, extended[:40], 50) == extended


def test_a_user_without_privacy_has_no_privacy_key() -> None:
    keys = User.from_secrets(name="u", auth=AuthProtocol.SHA256, auth_secret="maplesyrup").localize(ENGINE)

    assert keys.privacy is None
    assert keys.privacy_key == b""


@pytest.mark.parametrize("secret", ["", "seven77"])
def test_short_pass_phrases_are_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="8 octets or more"):
        User.from_secrets(name="u", auth=AuthProtocol.SHA256, auth_secret=secret)


def test_secrets_are_in_no_repr() -> None:
    user = User.from_secrets(
        name="u",
        auth=AuthProtocol.SHA256,
        auth_secret="maplesyrup",
        privacy=PrivacyProtocol.AES128,
        privacy_secret="syrup-of-maple",
    )
    keys = user.localize(ENGINE)

    shown = repr(user) + repr(keys)

    assert shown.count("=") == 6
    for secret in (user.auth_master, user.privacy_master, keys.auth_key, keys.privacy_key):
        assert repr(secret) not in shown


def _keys(auth: AuthProtocol, privacy: PrivacyProtocol | None = None) -> Keys:
    return Keys(
        user_name=b"u",
        auth=auth,
        auth_key=bytes(range(20)),
        privacy=privacy,
        privacy_key=bytes(range(privacy.key_octets)) if privacy else b"",
    )


@pytest.mark.parametrize("auth", list(AuthProtocol))
def test_a_signed_message_verifies_and_any_other_does_not(auth: AuthProtocol) -> None:
    keys = _keys(auth)
    octets = auth.digest_octets
    signed = keys.sign(b"before" + bytes(octets) + b"after", 6)
    digest = signed[6 : 6 + octets]

    assert keys.verify(signed, 6, digest)
    assert not keys.verify(signed[:-1] + b"R", 6, digest)
    assert not keys.verify(signed, 6, bytes((digest[0] ^ 1, *digest[1:])))


@pytest.mark.parametrize("octets", [0, 1, 11, 13, 20])
def test_digests_of_another_length_never_verify(octets: int) -> None:
    keys = _keys(AuthProtocol.SHA)
    signed = keys.sign(b"before" + bytes(20) + b"after", 6)

    assert not keys.verify(signed, 6, signed[6 : 6 + octets])


@given(
    st.sampled_from(list(PrivacyProtocol)),
    st.binary(max_size=300),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**31 - 1),
    st.binary(min_size=8, max_size=8),
)
def test_what_was_encrypted_decrypts(
    privacy: PrivacyProtocol, plain: bytes, boots: int, time: int, salt: bytes
) -> None:
    keys = _keys(AuthProtocol.SHA256, privacy)

    encrypted = keys.encrypt(plain, boots, time, salt)

    assert len(encrypted) == len(plain)
    assert keys.decrypt(encrypted, boots, time, salt) == plain


def test_aes_128_in_cfb_of_nist_sp_800_38a_f_3_13() -> None:
    keys = Keys(
        user_name=b"u",
        auth=AuthProtocol.SHA,
        auth_key=b"",
        privacy=PrivacyProtocol.AES128,
        privacy_key=bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"),
    )
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")

    encrypted = keys.encrypt(plain, 0x00010203, 0x04050607, bytes.fromhex("08090a0b0c0d0e0f"))

    assert encrypted.hex() == "3b3fd92eb72dad20333449f8e83cfb4a"
