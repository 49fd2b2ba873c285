"""The source `kind: certificate`. Here: from certificates to readings. Pure; the clock is an argument."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hsm_agent.collect.series import Fact, KnownSeries, unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.model import Reading
    from hsm_agent.net.certificates import Certificate

LEFT = "certificate_seconds_left"
INFO = "certificate_info"
CHAIN = "chain"
_NO_SERIES: KnownSeries[Fact] = KnownSeries()
_MOST_MISSING = 4000
"""Missing series that are remembered of each file: one whose certificates keep changing would fill the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedCertificates:
    """What one endpoint or file gave: certificates, errors, or both (a bundle with a bad block)."""

    resource: str
    certificates: tuple[Certificate, ...] = ()
    errors: tuple[str, ...] = ()
    is_endpoint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateReadings:
    """The readings, the errors, the known series by endpoint or file, and the resources that are gone."""

    readings: tuple[Reading, ...]
    errors: tuple[str, ...]
    known: Mapping[str, KnownSeries[Fact]]
    gone: tuple[str, ...]


def parse_fetched(
    source: str, fetched: Sequence[FetchedCertificates], known: Mapping[str, KnownSeries[Fact]], now: float
) -> CertificateReadings:
    """Readings of all endpoints and files; `known` are the series that each had before."""
    facts: list[Fact] = []
    series: dict[str, KnownSeries[Fact]] = {}
    gone: list[str] = []
    for each in fetched:
        before = known.get(each.resource, _NO_SERIES)
        found = [fact for name, one in named(each).items() for fact in _facts(name, one, now)]
        present = {fact.key for fact in found}
        missing = sorted(before.missing(present), key=lambda fact: fact.resource)
        facts += found
        if each.errors:
            # One that cannot be parsed any more is not gone; nor is one behind an endpoint that refuses.
            facts += [unavailable(fact, each.errors[0]) for fact in missing]
            if not found and not missing:
                facts.append(Fact(LEFT, None, each.errors[0], resource=each.resource))
        else:
            gone += dict.fromkeys(fact.resource for fact in missing)
            before = _NO_SERIES
        # Labels of a certificate that cannot be read are not its content any more.
        series[each.resource] = before.updated((replace(fact, labels=()) for fact in found), most_missing=_MOST_MISSING)
    errors = tuple(
        line if line.startswith(each.resource) else f"{each.resource}: {line}"
        for each in fetched
        for line in each.errors
    )
    readings = tuple(fact.reading(source, now) for fact in facts)
    return CertificateReadings(readings=readings, errors=errors, known=series, gone=tuple(gone))


def named(fetched: FetchedCertificates) -> dict[str, Certificate]:
    """Each certificate under a name that stays when it is renewed.

    An endpoint's leaf has the endpoint's name, and a file's only certificate the file's. Of the chain behind a leaf the
    one that ends first is `/chain`. In a bundle it is the subject; where two have the same, the serial too.
    """
    certificates = fetched.certificates
    if fetched.is_endpoint:
        leaf, rest = certificates[:1], [each for each in certificates[1:] if each not in certificates[:1]]
        found = dict(zip([fetched.resource], leaf, strict=False))
        if rest:
            found[f"{fetched.resource}/{CHAIN}"] = min(rest, key=lambda each: each.not_after)
        return found
    if len(certificates) == 1 and not fetched.errors:
        return {fetched.resource: certificates[0]}
    unique = {each.fingerprint: each for each in certificates}.values()
    subjects = Counter(each.subject for each in unique)
    return {
        f"{fetched.resource}/{each.subject}{f' {each.serial}' if subjects[each.subject] > 1 else ''}": each
        for each in unique
    }


def _facts(resource: str, certificate: Certificate, now: float) -> tuple[Fact, Fact]:
    until = dt.datetime.fromtimestamp(certificate.not_after, dt.UTC)
    labels = {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "sha256": certificate.fingerprint,
        "not_after": f"{until:%Y-%m-%dT%H:%M:%SZ}",
    }
    content = tuple(sorted(labels.items()))
    return (
        Fact(LEFT, certificate.not_after - now, resource=resource),
        Fact(INFO, 1, labels=content, resource=resource),
    )
