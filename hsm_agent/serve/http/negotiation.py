"""What a client prefers: media types and content codings with their quality (RFC 9110 sections 12.4.2, 12.5). Pure.

A header is looked at up to a bound, however long a client made it. What can't be read in it counts as not said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_LOOKED_AT = 8190
_MOST_OFFERS = 100
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


class Offer(NamedTuple):
    """One element of the header: in lower case, with its parameters but for `q`."""

    name: str
    parameters: dict[str, str]
    quality: float


def offers(header: str) -> list[Offer]:
    """The elements of an Accept or Accept-Encoding header."""
    found = []
    for element in header[:_MOST_LOOKED_AT].split(",")[:_MOST_OFFERS]:
        name, *rest = (part.strip() for part in element.split(";"))
        quality = 1.0
        parameters = {}
        for part in rest:
            key, _, value = part.partition("=")
            key, value = key.strip().lower(), value.strip().strip('"')
            if key != "q":
                parameters[key] = value
            elif _QUALITY.fullmatch(value):
                quality = float(value)
        if name:
            found.append(Offer(name.lower(), parameters, quality))
    return found


class Preference(NamedTuple):
    """How much a representation is wanted, and how exactly it was named: 0 not at all, 1 `*/*`, 2 `type/*`, 3, 4."""

    quality: float
    exactness: int


def preference(found: Iterable[Offer], media_type: str, version: str) -> Preference:
    """What the most exact element that matches says of a media type in a version; quality 0 where none does."""
    best = Preference(0.0, 0)
    for offer in found:
        exactness = _exactness(offer, media_type, version)
        if exactness > best.exactness or (exactness == best.exactness and exactness and offer.quality > best.quality):
            best = Preference(offer.quality, exactness)
    return best


def _exactness(offer: Offer, media_type: str, version: str) -> int:
    if offer.name == "*/*":
        return 1
    if offer.name == f"{media_type.partition('/')[0]}/*":
        return 2
    if offer.name != media_type:
        return 0
    if "version" not in offer.parameters:
        return 3
    return 4 if offer.parameters["version"] == version else 0


def wants_gzip(header: str) -> bool:
    """Whether gzip is acceptable, and not less than no coding at all."""
    said = {offer.name: offer.quality for offer in offers(header)}
    gzip = max((said[name] for name in ("gzip", "x-gzip") if name in said), default=said.get("*", 0.0))
    return gzip > 0 and gzip >= said.get("identity", 0.0)
