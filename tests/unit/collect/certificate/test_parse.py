from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.collect.certificate import FetchedCertificates, named, parse_fetched
from hsm_agent.net.certificates import Certificate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.collect.series import Fact, KnownSeries

NOW = 1_700_000_000.0
DAY = 86400.0


def certificate(subject: str, days: float, serial: str = "1") -> Certificate:
    return Certificate(
        subject=subject,
        issuer="CA",
        serial=serial,
        fingerprint=f"{subject}{days}{serial}",
        not_before=0.0,
        not_after=NOW + days * DAY,
    )


def test_a_leaf_has_the_endpoints_name_and_the_chain_its_nearest_end() -> None:
    leaf, near, far = certificate("hsm", 30), certificate("Issuing CA", 20), certificate("Root", 2000)
    found = parse_fetched(
        "c", [FetchedCertificates(resource="hsm:443", certificates=(leaf, far, near), is_endpoint=True)], {}, NOW
    )

    assert {r.resource: r.value for r in found.readings if r.metric == "certificate_seconds_left"} == {
        "hsm:443": 30 * DAY,
        "hsm:443/chain": 20 * DAY,
    }
    assert found.errors == found.gone == ()


def test_a_leaf_that_is_sent_twice_is_no_chain() -> None:
    leaf = certificate("hsm", 30)

    assert set(named(FetchedCertificates(resource="hsm:443", certificates=(leaf, leaf), is_endpoint=True))) == {
        "hsm:443"
    }


def test_a_files_only_certificate_has_the_files_name_whatever_it_is_renewed_to() -> None:
    old = named(FetchedCertificates(resource="client.pem", certificates=(certificate("a", -1),)))
    new = named(FetchedCertificates(resource="client.pem", certificates=(certificate("b", 365, "2"),)))

    assert set(old) == set(new) == {"client.pem"}


def test_a_bundle_is_named_by_subjects_and_where_they_collide_by_serials_too() -> None:
    bundle = (certificate("Root", 9, "a1"), certificate("Root", 900, "b2"), certificate("Other", 5))

    assert set(named(FetchedCertificates(resource="ca.pem", certificates=bundle))) == {
        "ca.pem/Root a1",
        "ca.pem/Root b2",
        "ca.pem/Other",
    }


def test_an_expired_one_has_less_than_nothing_left_and_its_content_is_in_the_info() -> None:
    found = parse_fetched(
        "c", [FetchedCertificates(resource="x.pem", certificates=(certificate("hsm", -2, "ff"),))], {}, NOW
    )
    left, info = found.readings

    assert left.value == -2 * DAY
    assert left.labels == ()
    assert dict(info.labels) | {"sha256": ""} == {
        "subject": "hsm", "issuer": "CA", "serial": "ff", "not_after": "2023-11-12T22:13:20Z", "sha256": "",
    }  # fmt: skip


def test_what_was_read_before_and_cannot_be_now_is_unavailable_with_the_reason() -> None:
    first = parse_fetched(
        "c", [FetchedCertificates(resource="ca.pem", certificates=(certificate("A", 1), certificate("B", 2)))], {}, NOW
    )
    then = parse_fetched(
        "c", [FetchedCertificates(resource="ca.pem", errors=("ca.pem does not exist",))], first.known, NOW
    )
    back = parse_fetched(
        "c", [FetchedCertificates(resource="ca.pem", certificates=(certificate("A", 1),))], then.known, NOW
    )

    assert {(r.resource, r.metric, r.value, r.reason) for r in then.readings} == {
        (resource, metric, None, "ca.pem does not exist")
        for resource in ("ca.pem/A", "ca.pem/B")
        for metric in ("certificate_seconds_left", "certificate_info")
    }
    assert (then.errors, then.gone) == (("ca.pem does not exist",), ())
    assert back.gone == ("ca.pem/A", "ca.pem/B")  # it is no bundle any more, and has the file's name


def test_what_was_never_read_is_unavailable_under_its_own_name() -> None:
    found = parse_fetched(
        "c", [FetchedCertificates(resource="hsm:443", errors=("refused",), is_endpoint=True)], {}, NOW
    )

    assert [(r.resource, r.metric, r.reason) for r in found.readings] == [
        ("hsm:443", "certificate_seconds_left", "refused")
    ]


def test_a_bad_block_does_not_rename_its_neighbour() -> None:
    fetched = FetchedCertificates(
        resource="ca.pem", certificates=(certificate("A", 1),), errors=("certificate 2 of 2 cannot be parsed",)
    )
    both = FetchedCertificates(resource="ca.pem", certificates=(certificate("A", 1), certificate("B", 2)))
    found = parse_fetched("c", [fetched], parse_fetched("c", [both], {}, NOW).known, NOW)

    assert {(r.resource, r.value is None) for r in found.readings} == {("ca.pem/A", False), ("ca.pem/B", True)}
    assert found.gone == ()


def test_a_chain_that_is_not_sent_any_more_is_gone() -> None:
    fetched = FetchedCertificates(resource="hsm:443", certificates=(certificate("hsm", 1),), is_endpoint=True)

    with_chain = replace(fetched, certificates=(certificate("hsm", 1), certificate("CA", 9)))
    known = parse_fetched("c", [with_chain], {}, NOW).known

    assert parse_fetched("c", [fetched], known, NOW).gone == ("hsm:443/chain",)


def test_a_bundle_that_keeps_changing_while_a_block_is_bad_does_not_fill_the_memory() -> None:
    known: Mapping[str, KnownSeries[Fact]] = {}
    for turn in range(5):
        bundle = tuple(certificate(f"{turn}.{number}", 1) for number in range(800))
        fetched = FetchedCertificates(
            resource="ca.pem", certificates=bundle, errors=("certificate 101 cannot be parsed",)
        )
        known = parse_fetched("c", [fetched], known, NOW).known

    assert len(known["ca.pem"].facts) == 4000 + 1600
    assert ("ca.pem/3.0", "certificate_info", ()) in known["ca.pem"].facts
    assert ("ca.pem/0.0", "certificate_info", ()) not in known["ca.pem"].facts


def test_labels_of_a_certificate_that_cannot_be_read_any_more_are_left_out() -> None:
    read = FetchedCertificates(resource="x.pem", certificates=(certificate("hsm", 1),))
    unread = FetchedCertificates(resource="x.pem", errors=("x.pem does not exist",))
    found = parse_fetched("c", [unread], parse_fetched("c", [read], {}, NOW).known, NOW)

    assert [reading.labels for reading in found.readings] == [(), ()]
