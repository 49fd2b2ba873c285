from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme

from hsm_agent.net.certificates import parse, pem_blocks

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = b"-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def leaf() -> trustme.LeafCert:
    until = datetime(2020, 5, 17, 12, 0, tzinfo=UTC)
    return trustme.CA().issue_cert("hsm.example.net", common_name="hsm.example.net", not_after=until)


def test_an_expired_certificate_is_read_like_any_other(leaf: trustme.LeafCert) -> None:
    (found,) = parse(leaf.cert_chain_pems[0].bytes()).certificates

    assert found.subject == "hsm.example.net"
    assert found.not_after == datetime(2020, 5, 17, 12, 0, tzinfo=UTC).timestamp()
    assert found.not_before < found.not_after + timedelta(days=1).total_seconds()
    assert len(found.fingerprint) == 64
    assert int(found.serial, 16) > 0


def test_der_says_the_same_as_pem(leaf: trustme.LeafCert) -> None:
    pem = leaf.cert_chain_pems[0].bytes()

    assert parse(ssl.PEM_cert_to_DER_cert(pem.decode())) == parse(pem)


def test_a_name_without_common_name_is_shown_whole() -> None:
    (found,) = parse(trustme.CA(organization_name="Acme", organization_unit_name="HSM").cert_pem.bytes()).certificates

    assert found.subject == found.issuer
    assert "Acme" in found.subject


def test_a_broken_block_costs_only_itself(leaf: trustme.LeafCert) -> None:
    whole = leaf.cert_chain_pems[0].bytes()
    found = parse(BROKEN + whole)

    assert [each.subject for each in found.certificates] == ["hsm.example.net"]
    assert len(found.errors) == 1
    assert found.errors[0].startswith("certificate 1 of 2 cannot be parsed: ")


@pytest.mark.parametrize("data", [b"", b"hello\n", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"])
def test_what_holds_no_certificate_says_so(data: bytes) -> None:
    assert parse(data).errors == ("it holds no certificate in PEM or DER form",)


def test_half_a_der_file_is_an_error(leaf: trustme.LeafCert) -> None:
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    found = parse(der[:100])

    assert found.certificates == ()
    assert found.errors[0].startswith("certificate 1 of 1 cannot be parsed: ")


def test_a_key_beside_a_certificate_stays_behind(leaf: trustme.LeafCert) -> None:
    both = leaf.private_key_and_cert_chain_pem.bytes()

    assert b"PRIVATE KEY" not in pem_blocks(both)
    assert parse(pem_blocks(both)) == parse(both)


def test_control_characters_of_a_subject_reach_nobody(tmp_path: Path) -> None:
    (found,) = parse(trustme.CA(organization_name="Acme\nCRITICAL forged").cert_pem.bytes()).certificates

    assert found.subject.isprintable()


@pytest.mark.parametrize("whole_first", [True, False])
def test_a_certificate_without_an_end_costs_only_itself_and_is_told(
    leaf: trustme.LeafCert, *, whole_first: bool
) -> None:
    whole = leaf.cert_chain_pems[0].bytes()
    cut = whole[: len(whole) // 2]
    found = parse(whole + cut if whole_first else cut + b"\n" + whole)

    assert [each.subject for each in found.certificates] == ["hsm.example.net"]
    assert found.errors == ("1 certificate more begins here without an end",)


class Counted(bytes):
    """Counts the octets that are looked at."""

    looked = 0

    def find(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        found = super().find(wanted, start, len(self) if end is None else end)
        self.looked += (len(self) if found < 0 else found) - start
        return found

    def rfind(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        last = len(self) if end is None else end
        found = super().rfind(wanted, start, last)
        self.looked += last - max(found, start)
        return found


@pytest.mark.parametrize(
    "unit",
    [
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n-----END RSA-----\n",
        b"-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n",
    ],
    ids=["begins only", "ends only", "ends of something else", "every other one has an end"],
)
def test_looking_for_certificates_costs_what_the_file_is_long(unit: bytes) -> None:
    cost = []
    for count in (100, 1000):
        data = Counted(unit * count)
        pem_blocks(data)
        cost.append(data.looked)

    assert cost[0] > 0
    assert cost[1] <= 11 * cost[0]
