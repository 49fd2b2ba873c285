from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from hsm_agent.net.certificates import fingerprint
from hsm_agent.serve.http.web_config import WatchedWebConfig, WebConfigError, load_web_config

if TYPE_CHECKING:
    from pathlib import Path

HASH = "$2y$04$" + "a" * 53


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def folder(tmp_path: Path, authority: trustme.CA) -> Path:
    """A folder with a CA, a certificate and its key."""
    write_identity(tmp_path, authority)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


def write_identity(folder: Path, authority: trustme.CA) -> None:
    leaf = authority.issue_cert("127.0.0.1")
    (folder / "agent.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    (folder / "agent.key").touch(mode=0o600)
    (folder / "agent.key").write_bytes(leaf.private_key_pem.bytes())


def write(folder: Path, text: str) -> Path:
    path = folder / "web.yml"
    path.write_text(text)
    return path


def with_tls(more: str = "") -> str:
    return f"tls_server_config:\n  cert_file: agent.pem\n  key_file: agent.key\n{more}"


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(WebConfigError) as caught:
        load_web_config(write(folder, text))
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(folder), "")


@pytest.mark.parametrize("text", ["", "{}", "basic_auth_users: {}"])
def test_a_file_that_asks_for_nothing_is_plain_http_for_everybody(folder: Path, text: str) -> None:
    found = load_web_config(write(folder, text))

    assert found.context is None
    assert found.users == {}


def test_tls_is_1_2_or_newer_and_asks_for_no_certificate_unless_told(folder: Path) -> None:
    context = load_web_config(write(folder, with_tls())).context

    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE


def test_tls_1_3_can_be_demanded(folder: Path) -> None:
    context = load_web_config(write(folder, with_tls("  min_version: TLS13\n"))).context

    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("RequestClientCert", ssl.CERT_NONE),
        ("VerifyClientCertIfGiven", ssl.CERT_OPTIONAL),
        ("RequireAndVerifyClientCert", ssl.CERT_REQUIRED),
    ],
)
def test_client_certificates_are_verified_as_named(folder: Path, name: str, mode: ssl.VerifyMode) -> None:
    text = with_tls(f"  client_auth_type: {name}\n  client_ca_file: ca.pem\n")

    context = load_web_config(write(folder, text)).context

    assert context is not None
    assert context.verify_mode is mode


def test_users_are_read(folder: Path) -> None:
    text = f"basic_auth_users:\n  prometheus: {HASH}\n"

    assert load_web_config(write(folder, text)).users == {"prometheus": HASH}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "tls_server_confg: {}",
            "/web.yml: tls_server_confg: unknown key, did you mean 'tls_server_config'?",
            id="typo",
        ),
        pytest.param(
            with_tls("  cipher_suites: []\n"),
            "/web.yml: tls_server_config.cipher_suites: unknown key",
            id="a key of the toolkit we have not",
        ),
        pytest.param(
            "tls_server_config:\n  cert_file: agent.pem\n",
            "/web.yml: tls_server_config.key_file: required key is missing",
            id="no key",
        ),
        pytest.param(
            with_tls("  min_version: TLS11\n"), "/web.yml: tls_server_config.min_version: input", id="old TLS"
        ),
        pytest.param(
            with_tls("  client_auth_type: RequireAnyClientCert\n"),
            "/web.yml: tls_server_config.client_auth_type: RequireAnyClientCert lets any self-made certificate in",
            id="certificates nobody checks",
        ),
        pytest.param(
            with_tls("  client_auth_type: RequireAndVerifyClientCert\n"),
            "/web.yml: tls_server_config.client_auth_type: RequireAndVerifyClientCert needs client_ca_file",
            id="nothing to verify against",
        ),
        pytest.param(
            with_tls("  client_ca_file: ca.pem\n"),
            "/web.yml: tls_server_config.client_ca_file: set without",
            id="a CA nobody uses",
        ),
        pytest.param(
            with_tls("  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: web.yml\n"),
            "/web.yml: tls_server_config.client_ca_file: /web.yml: ",
            id="a CA that is none",
        ),
        pytest.param(
            "tls_server_config: {cert_file: none.pem, key_file: agent.key}",
            "/web.yml: tls_server_config: /none.pem with /agent.key: No such file",
            id="no certificate there",
        ),
        pytest.param(
            "tls_server_config: {cert_file: agent.pem, key_file: none.key}",
            "/web.yml: tls_server_config.key_file: /none.key: No such file",
            id="no key there",
        ),
        pytest.param(
            "basic_auth_users: {bob: secret}", "/web.yml: basic_auth_users: 'bob': not a bcrypt hash", id="no hash"
        ),
        pytest.param(
            f"basic_auth_users: {{bob: $2y$16${'a' * 53}}}",
            "/web.yml: basic_auth_users: 'bob': bcrypt cost 16 is not within 4 to 15",
            id="a hash that takes too long",
        ),
        pytest.param(
            f"basic_auth_users: {{'b:b': {HASH}}}", "/web.yml: basic_auth_users: 'b:b': not a user name", id="a colon"
        ),
        pytest.param("basic_auth_users: {bob: 1}", "/web.yml: basic_auth_users.bob: must be text", id="not text"),
        pytest.param(
            f"basic_auth_users:\n  bob: {HASH}\n  bob: {HASH}\n",
            "/web.yml: line 3: bob: the key is given twice",
            id="twice",
        ),
        pytest.param("- a\n", "/web.yml: the file is not a mapping", id="a list"),
        pytest.param("a: [", "/web.yml: line 1: expected", id="not YAML"),
        pytest.param("? [a]\n: b\n", "/web.yml: line 1: found unhashable key", id="a list as key"),
        pytest.param("a: \x01", "/web.yml: not a YAML document: unacceptable character", id="control characters"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_in_one_line(folder: Path, text: str, expected: str) -> None:
    assert refusal(folder, text).startswith(expected)


def test_no_hash_is_ever_in_a_message(folder: Path) -> None:
    assert "aaaa" not in refusal(folder, f"basic_auth_users: {{bob: x{HASH}}}")


def test_a_key_others_can_read_is_refused(folder: Path) -> None:
    (folder / "agent.key").chmod(0o644)

    assert "tls_server_config.key_file: /agent.key: others can read or write it" in refusal(folder, with_tls())


def test_a_file_others_can_write_is_refused(folder: Path) -> None:
    path = write(folder, "")
    path.chmod(0o646)

    with pytest.raises(WebConfigError, match="can be written by others"):
        load_web_config(path)


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(WebConfigError, match=r"none\.yml: No such file"):
        load_web_config(folder / "none.yml")


def test_an_encrypted_key_is_refused_rather_than_asked_for(folder: Path) -> None:
    key = load_pem_private_key((folder / "agent.key").read_bytes(), None)
    (folder / "agent.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    )

    assert "the key is encrypted" in refusal(folder, with_tls())


def test_a_key_of_another_certificate_is_refused(folder: Path, authority: trustme.CA) -> None:
    (folder / "agent.key").write_bytes(authority.issue_cert("elsewhere").private_key_pem.bytes())

    assert "key values mismatch" in refusal(folder, with_tls())


async def test_a_renewed_certificate_counts_from_the_next_connection(folder: Path, authority: trustme.CA) -> None:
    watched = WatchedWebConfig(write(folder, with_tls()), look_every_seconds=0)
    await watched.reload()
    before = await watched.current_context()

    assert await watched.current_context() is before

    write_identity(folder, authority)
    assert await watched.current_context() is not before


async def test_a_bad_change_is_refused_once_and_the_old_one_stays(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(folder, with_tls(f"basic_auth_users:\n  prometheus: {HASH}\n"))
    watched = WatchedWebConfig(path, look_every_seconds=0)
    await watched.reload()
    before = watched.current

    path.write_text("basic_auth_users: {")
    for _ in range(3):
        await watched.current_context()

    assert watched.current is before
    assert len([record for record in caplog.records if "refused" in record.message]) == 1
    with pytest.raises(WebConfigError):
        await watched.reload()
    assert watched.current is before


async def test_files_are_not_looked_at_for_every_connection(folder: Path) -> None:
    path = write(folder, "")
    watched = WatchedWebConfig(path)
    await watched.reload()
    await watched.current_context()

    path.write_text(f"basic_auth_users: {{prometheus: {HASH}}}")
    await watched.current_context()

    assert watched.current.users == {}


async def test_without_a_file_it_is_plain_http_for_ever() -> None:
    watched = WatchedWebConfig(None)
    await watched.reload()

    assert await watched.current_context() is None


def test_what_cannot_be_looked_at_counts_as_changed(folder: Path) -> None:
    path = write(folder, with_tls())
    before = load_web_config(path).fingerprint

    (folder / "agent.key").unlink()

    assert fingerprint((path, folder / "agent.pem", folder / "agent.key")) != before
