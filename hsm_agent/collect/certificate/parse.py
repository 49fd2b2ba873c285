"""From certificates to readings. Pure; the clock is an argument."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.model import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.net.certificates import Certificate

LEFT = "certificate_seconds_left"
INFO = "certificate_info"
CHAIN = "chain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at one endpoint or file brought: certificates, errors, or both (a bundle with a bad block)."""

    resource: str
    certificates: tuple[Certificate, ...] = ()
    errors: tuple[str, ...] = ()
    is_endpoint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The readings, the errors, what each look is known to hold from now on, and what it does not hold any more."""

    readings: tuple[Reading, ...]
    errors: tuple[str, ...]
    known: Mapping[str, frozenset[str]]
    gone: tuple[str, ...]


def interpret(source: str, looks: Sequence[Look], known: Mapping[str, frozenset[str]], now: float) -> Judged:
    """Readings of all looks; `known` are the resources each had before."""
    readings: list[Reading] = []
    holds: dict[str, frozenset[str]] = {}
    gone: list[str] = []
    for look in looks:
        before = known.get(look.resource, frozenset())
        present = named(look)
        for resource, certificate in present.items():
            readings += _readings(source, resource, certificate, now)
        missing = before - set(present)
        if look.errors:
            # One that cannot be parsed any more is not gone; nor is one behind an endpoint that refuses.
            for resource in sorted(missing or (set() if present else {look.resource})):
                readings += _unavailable(source, resource, look.errors[0], now, was_known=resource in missing)
            holds[look.resource] = before | set(present)
        else:
            gone += sorted(missing)
            holds[look.resource] = frozenset(present)
    errors = tuple(
        line if line.startswith(look.resource) else f"{look.resource}: {line}" for look in looks for line in look.errors
    )
    return Judged(readings=tuple(readings), errors=errors, known=holds, gone=tuple(gone))


def named(look: Look) -> dict[str, Certificate]:
    """Each certificate under a name that stays when it is renewed.

    An endpoint's leaf has the look's own name, and so has a file's only certificate. Of the chain behind a leaf the one
    that ends first is `/chain`. In a bundle it is the subject; where two have the same, the serial too.
    """
    certificates = look.certificates
    if look.is_endpoint:
        leaf, rest = certificates[:1], [each for each in certificates[1:] if each not in certificates[:1]]
        found = dict(zip([look.resource], leaf, strict=False))
        if rest:
            found[f"{look.resource}/{CHAIN}"] = min(rest, key=lambda each: each.not_after)
        return found
    if len(certificates) == 1 and not look.errors:
        return {look.resource: certificates[0]}
    unique = {each.fingerprint: each for each in certificates}.values()
    subjects = Counter(each.subject for each in unique)
    return {
        f"{look.resource}/{each.subject}{f' {each.serial}' if subjects[each.subject] > 1 else ''}": each
        for each in unique
    }


def _readings(source: str, resource: str, certificate: Certificate, now: float) -> list[Reading]:
    until = dt.datetime.fromtimestamp(certificate.not_after, dt.UTC)
    labels = {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "sha256": certificate.fingerprint,
        "not_after": f"{until:%Y-%m-%dT%H:%M:%SZ}",
    }
    left = Reading(source=source, resource=resource, metric=LEFT, value=certificate.not_after - now, time=now)
    content = tuple(sorted(labels.items()))
    return [left, Reading(source=source, resource=resource, metric=INFO, value=1, time=now, labels=content)]


def _unavailable(source: str, resource: str, reason: str, now: float, *, was_known: bool) -> list[Reading]:
    return [
        Reading(source=source, resource=resource, metric=metric, value=None, time=now, reason=reason)
        for metric in ((LEFT, INFO) if was_known else (LEFT,))
    ]
