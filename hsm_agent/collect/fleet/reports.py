"""Reading the reports of all agents out of etcd, a page at a time.

One that is too long for an answer takes no other along: its page is asked for in halves, and of a single key that is
still too long the value is left where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hsm_agent.collect.fleet.sightings import Stored
from hsm_agent.net.etcd_messages import AnswerTooLong, prefix_end
from hsm_agent.wire.agent_report import MOST_REPORT_BYTES, PREFIX, NoReportError, key_of, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hsm_agent.net.etcd_messages import Found, KeyValue

MOST_AGENTS = 2000
"""How many keys are looked at."""
PAGE = 100
_BEGIN = PREFIX.encode()
_END = prefix_end(_BEGIN)


class Reports(Protocol):
    """What holds the reports: a client of etcd."""

    async def range(self, key: bytes, *, end: bytes = b"", limit: int = 1000, keys_only: bool = False) -> Found:
        """Raises EtcdTrouble, AnswerTooLong among them."""

    async def close(self) -> None:
        """Close its connections."""


@dataclass(slots=True)
class Listing:
    """What was found under the names that are wanted. `is_whole`: there are no more."""

    found: dict[str, Stored] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    is_whole: bool = True
    requests: int = 0


async def listed(etcd: Reports, wants: Callable[[str], bool], expected: Iterable[str]) -> Listing:
    """All reports that are wanted; where there are too many keys, the expected ones and the first of the others.

    Raises EtcdTrouble.
    """
    listing, seen, begin, size = Listing(), 0, _BEGIN, PAGE
    while True:
        try:
            page = await _page(etcd, listing, begin, size)
        except AnswerTooLong:
            if size <= 1:
                raise
            size //= 2
            continue
        for entry in page.entries:
            _note(listing, entry, wants)
        seen += len(page.entries)
        if not page.more or not page.entries:
            return listing
        begin, size = page.entries[-1].key + b"\0", min(PAGE, 2 * size)
        if seen >= MOST_AGENTS:
            break
    listing.is_whole = False
    listing.errors.append(f"more than {MOST_AGENTS} keys below {PREFIX}: of the others only expected agents are read")
    for name in expected:
        if name not in listing.found:
            for entry in (await _one(etcd, listing, key_of(name).encode())).entries:
                _note(listing, entry, wants)
    return listing


async def _page(etcd: Reports, listing: Listing, begin: bytes, size: int) -> Found:
    """Some reports from a key on. Raises AnswerTooLong where fewer may do."""
    if size <= 1:
        return await _one(etcd, listing, begin, _END)
    listing.requests += 1
    return await etcd.range(begin, end=_END, limit=size)


async def _one(etcd: Reports, listing: Listing, begin: bytes, end: bytes = b"") -> Found:
    """The first report from a key on; without its value if that is too long."""
    listing.requests += 1
    try:
        return await etcd.range(begin, end=end, limit=1)
    except AnswerTooLong:
        listing.requests += 1
        return await etcd.range(begin, end=end, limit=1, keys_only=True)


def _note(listing: Listing, entry: KeyValue, wants: Callable[[str], bool]) -> None:
    """Take over what an entry has of a wanted agent. One without a value is none that can be read."""
    try:
        name = name_of(entry.key)
    except NoReportError as error:
        listing.errors.append(f"below {PREFIX} there is {error}")
        return
    if wants(name):
        is_right = 0 < len(entry.value) <= MOST_REPORT_BYTES
        trouble = "" if is_right else f"empty, or longer than {MOST_REPORT_BYTES} octets"
        listing.found[name] = Stored(value=entry.value, revision=entry.mod_revision, trouble=trouble)
