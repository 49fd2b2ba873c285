"""What a `tls:` part may say, and what it makes of the files it names."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hsm_agent.net.tls import TlsSettings
from tests.peers import pki as certificates

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.pki import Pki

FINGERPRINT = "0f" * 32


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return certificates.make(tmp_path_factory.mktemp("pki"))


def settings(**given: Any) -> TlsSettings:
    return TlsSettings.model_validate({key: str(value) if key in _PATHS else value for key, value in given.items()})


_PATHS = {"ca", "certificate", "key", "crl"}


def refusal(**given: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        settings(**given)
    return str(caught.value.errors()[0]["msg"])


def test_by_name_the_ca_and_the_name_are_checked(pki: Pki) -> None:
    context = settings(ca=pki.ca).context

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert settings(ca=pki.ca, minimum="1.3").context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_by_fingerprint_the_name_does_not_matter_and_a_ca_does_if_there_is_one(pki: Pki) -> None:
    alone = settings(verify="fingerprint", fingerprints=[FINGERPRINT])
    with_ca = settings(verify="fingerprint", fingerprints=[FINGERPRINT], ca=pki.ca)

    assert (alone.context.verify_mode, alone.context.check_hostname) == (ssl.CERT_NONE, False)
    assert (with_ca.context.verify_mode, with_ca.context.check_hostname) == (ssl.CERT_REQUIRED, False)


@pytest.mark.parametrize(
    "written",
    [
        FINGERPRINT,
        FINGERPRINT.upper(),
        ":".join(["0F"] * 32),
        "SHA256:" + FINGERPRINT,
        "sha-256:" + ":".join(["0f"] * 32),
    ],
)
def test_fingerprints_in_every_usual_spelling(written: str) -> None:
    assert settings(verify="fingerprint", fingerprints=[written]).fingerprints == (FINGERPRINT,)


def test_only_a_known_certificate_is_trusted(pki: Pki) -> None:
    known = settings(verify="fingerprint", fingerprints=[FINGERPRINT, pki.server.fingerprint])

    def der(path: Path) -> bytes:
        return ssl.PEM_cert_to_DER_cert(path.read_text(encoding="ascii"))

    assert known.trusts(der(pki.server.certificate))
    assert not known.trusts(der(pki.other_server.certificate))
    assert not known.trusts(None)
    assert not known.trusts(b"")


def test_what_is_missing_or_too_much_is_named(pki: Pki) -> None:
    assert refusal() == "Value error, ca: required with verify: name"
    assert "fingerprints: only with verify: fingerprint" in refusal(ca=pki.ca, fingerprints=[FINGERPRINT])
    assert "fingerprints: at least one is required" in refusal(verify="fingerprint")
    assert "certificate: required where there is a key" in refusal(ca=pki.ca, key=pki.agent.key)
    assert "not a SHA-256 fingerprint" in refusal(verify="fingerprint", fingerprints=["0f" * 20])


def test_files_that_cannot_be_used_are_named_with_their_key(pki: Pki, tmp_path: Path) -> None:
    nothing, rubbish = tmp_path / "nothing.pem", tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish", encoding="ascii")
    rubbish.chmod(0o600)
    own = {"certificate": pki.agent.certificate, "key": pki.agent.key}

    assert refusal(ca=nothing) == f"Value error, ca: {nothing}: No such file or directory"
    assert refusal(ca=rubbish) == f"Value error, ca: {rubbish}: not a PEM certificate"
    assert f"key: {nothing}: No such file" in refusal(ca=pki.ca, **(own | {"key": nothing}))
    assert f"certificate: {nothing}: No such file" in refusal(ca=pki.ca, **(own | {"certificate": nothing}))
    assert f"key: {rubbish} (with certificate {pki.agent.certificate}): not a PEM" in refusal(
        ca=pki.ca, **(own | {"key": rubbish})
    )
    assert "the key does not belong to the certificate" in refusal(ca=pki.ca, **(own | {"key": pki.server.key}))


def test_a_key_that_others_can_read_is_refused(pki: Pki, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(pki.agent.key.read_bytes())
    key.chmod(0o644)

    assert f"key: {key}: others can read or write it" in refusal(ca=pki.ca, certificate=pki.agent.certificate, key=key)


def test_certificate_and_key_may_be_one_file(pki: Pki, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(pki.agent.certificate.read_bytes() + pki.agent.key.read_bytes())

    assert settings(ca=pki.ca, certificate=both).certificate == both


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(pki: Pki, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    plain = serialization.load_pem_private_key(pki.agent.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.touch(mode=0o600)
    locked.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )

    assert "unencrypted key" in refusal(ca=pki.ca, certificate=pki.agent.certificate, key=locked)


def test_settings_are_equal_only_if_the_files_are(pki: Pki, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(pki.ca.read_bytes())
    first, same = settings(ca=ca), settings(ca=ca)
    ca.write_bytes(pki.rogue_ca.read_bytes())
    renewed = settings(ca=ca)

    assert first == same
    assert first != renewed


def test_a_revocation_list_is_read_with_its_end(pki: Pki, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pki.crl.read_bytes() + pki.old_crl.read_bytes())

    with_list = settings(ca=pki.ca, crl=pki.crl)
    assert with_list.context.verify_flags & ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    assert with_list.crl_ends is not None
    assert with_list.crl_ends > time.time()
    assert settings(ca=pki.ca, crl=both).crl_ends == settings(ca=pki.ca, crl=pki.old_crl).crl_ends
    assert settings(ca=pki.ca).crl_ends is None
    assert with_list != settings(ca=pki.ca, crl=both)


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


def test_a_revocation_list_that_was_renewed_is_read_anew_and_only_then(pki: Pki, tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_bytes(pki.old_crl.read_bytes())
    ours, before = settings(ca=pki.ca, crl=crl), settings(ca=pki.ca, crl=crl)
    context = ours.context

    assert not ours.renew()
    _replace(crl, pki.crl.read_bytes())
    assert ours.renew()
    assert ours.context is not context
    assert ours.crl_ends == settings(ca=pki.ca, crl=pki.crl).crl_ends
    assert not ours.renew()
    assert ours == settings(ca=pki.ca, crl=crl) != before
    assert not settings(ca=pki.ca).renew()


def test_a_renewed_list_that_cannot_be_read_is_told_once_and_the_old_one_stays(pki: Pki, tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_bytes(pki.crl.read_bytes())
    ours = settings(ca=pki.ca, crl=crl)
    context, ends = ours.context, ours.crl_ends

    def refused(said: str) -> None:
        with pytest.raises(ValueError, match=said):
            ours.renew()
        assert not ours.renew()
        assert (ours.context, ours.crl_ends) == (context, ends)

    _replace(crl, b"cut")
    refused("not a certificate revocation list")
    crl.unlink()
    refused("No such file")
    crl.write_bytes(pki.old_crl.read_bytes())
    assert ours.renew()
    assert ours.crl_ends != ends


def test_a_revocation_list_that_is_none_is_named(pki: Pki, tmp_path: Path) -> None:
    nothing, spoilt = tmp_path / "nothing.pem", tmp_path / "spoilt.pem"
    spoilt.write_bytes(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")

    assert refusal(crl=pki.crl, verify="fingerprint", fingerprints=[FINGERPRINT]) == "Value error, crl: only with a ca"
    assert refusal(ca=pki.ca, crl=nothing) == f"Value error, crl: {nothing}: No such file or directory"
    for path in (spoilt, pki.ca):
        assert (
            refusal(ca=pki.ca, crl=path) == f"Value error, crl: {path}: not a certificate revocation list in PEM form"
        )
