"""Settings, and what files bring. Endpoints: tests/loopback/test_certificate_endpoint.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from hsm_agent.collect.base import AnySource, CollectorContext, SourceFailure
from hsm_agent.collect.certificate.source import CertificateSettings
from tests.peers import pki

if TYPE_CHECKING:
    from pathlib import Path


def settings(*certificates: dict[str, Any], **keys: Any) -> CertificateSettings:
    tree = {"name": "certs", "kind": "certificate", "certificates": list(certificates), **keys}
    found = TypeAdapter[AnySource](AnySource).validate_python(tree)
    assert isinstance(found, CertificateSettings)
    return found


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        ({}, "name exactly one of endpoint, file"),
        ({"file": "/x", "endpoint": "h:1"}, "name exactly one of endpoint, file"),
        ({"endpoint": "hsm.example.net"}, "endpoint: not a host and port"),
        ({"endpoint": "2001:db8::1:443"}, "endpoint: not a host and port"),
        ({"endpoint": "h:0"}, "endpoint: not a host and port"),
        ({"endpoint": "h:65536"}, "endpoint: not a host and port"),
        ({"endpoint": "https://h:443"}, "endpoint: not a host and port"),
        ({"file": "/x", "server_name": "h"}, "server_name: only with endpoint"),
        ({"endpoint": "h:1", "client": {"certificate": "/nowhere.pem"}}, "certificate: /nowhere.pem: No such file"),
    ],
)
def test_what_says_too_little_or_too_much_is_refused(certificate: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(certificate)


def test_a_client_key_that_others_can_read_or_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    made = pki.make(tmp_path)
    client = {"certificate": str(made.agent.certificate), "key": str(made.other_agent.key)}
    with pytest.raises(ValidationError, match="key"):
        settings({"endpoint": "h:1", "client": client})
    made.agent.key.chmod(0o644)
    with pytest.raises(ValidationError, match="others can read or write it"):
        settings({"endpoint": "h:1", "client": {**client, "key": str(made.agent.key)}})


def test_two_of_one_name_are_refused_until_one_is_given_another() -> None:
    with pytest.raises(ValidationError, match=r"certificates\.1\.name: .*a\.pem"):
        settings({"file": "/x/a.pem"}, {"file": "/y/a.pem"})

    found = settings({"file": "/x/a.pem"}, {"file": "/y/a.pem", "name": "y"}, {"endpoint": "[::1]:443"})
    assert [*found.about()] == ["3 endpoints or files", "a.pem", "y: /y/a.pem", "[::1]:443"]
    assert found.certificates[2].address() == ("::1", 443)


async def test_files_are_read_in_both_forms_and_a_missing_one_is_isolated(tmp_path: Path) -> None:
    made = pki.make(tmp_path)
    missing = tmp_path / "missing.pem"
    found = settings(
        {"file": str(made.expired_server.certificate)}, {"file": str(made.ca), "name": "ca"}, {"file": str(missing)}
    )
    collector = found.build(CollectorContext(state_directory=tmp_path))
    poll = await collector.poll()

    left = {r.resource: r.value for r in poll.readings if r.metric == "certificate_seconds_left"}
    assert left["expired-server.pem"] is not None
    assert left["expired-server.pem"] < 0 < (left["ca"] or 0)
    assert left["missing.pem"] is None
    (error,) = poll.errors
    assert error.startswith(f"missing.pem: {missing} does not exist")
    assert (poll.next_in_seconds, poll.complete, dict(poll.calls)) == (300.0, False, {"TLS handshake": 0, "file": 3})
    assert collector.calls_a_day() == {"TLS handshake": 0, "file": 72}


async def test_a_file_that_vanishes_is_unavailable_until_it_is_forgotten(tmp_path: Path) -> None:
    made = pki.make(tmp_path)
    collector = settings({"file": str(made.ca)}, {"file": str(made.rogue_ca)}).build(
        CollectorContext(state_directory=tmp_path)
    )
    await collector.poll()
    made.ca.unlink()
    poll = await collector.poll()

    assert [(r.resource, r.metric) for r in poll.readings if r.value is None] == [
        ("ca.pem", "certificate_seconds_left"),
        ("ca.pem", "certificate_info"),
    ]
    assert await collector.forget("ca.pem")
    assert not await collector.forget("ca.pem")


async def test_nothing_that_can_be_read_is_a_failure_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate\n")
    (tmp_path / "long.pem").write_bytes(b"0" * (4 * 1024 * 1024 + 1))
    collector = settings({"file": str(tmp_path / "x.pem")}, {"file": str(tmp_path / "long.pem")}).build(
        CollectorContext(state_directory=tmp_path)
    )
    with pytest.raises(SourceFailure, match=r"no certificate could be read: x.pem: .*PEM or DER form \(and 1 more\)"):
        await collector.poll()
    await collector.close()
    assert collector.pids() == ()
