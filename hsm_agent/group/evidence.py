"""What can be known from one host of a cluster that does not answer it. Pure.

An endpoint *works*, or is *down* (it serves nobody: it refuses or resets connections, has no leader or no space), or
says nothing that proves anything: silence, out of reach, our own certificate or password refused. Where a majority is
down no quorum can exist, whatever this host sees of the network; else there may be one on the other side of a cut.
A firewall that answers in the place of a server counterfeits *down*.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from hsm_agent.net.etcd_messages import CertificateExpired, EndpointDown, EtcdRefused, EtcdUnavailable, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.net.etcd_messages import EtcdTrouble

_DIFFERENCE_SECONDS = 60.0
"""By which our clock may differ from the leader's last beat, and be believed."""
_STORED_SECONDS = 86400.0
"""How much later than the time that was stored last it may be, where no beat was seen since the start."""


class Standing(Enum):
    """What one question to one endpoint, and its answer, prove."""

    WORKS = "works"
    DOWN = "down"
    UNPROVEN = "proves nothing"


class Quorum(Enum):
    """Whether etcd can commit anything now."""

    SERVES = "serves"
    """An endpoint works for us."""
    IMPOSSIBLE = "impossible"
    """A majority of the endpoints is down."""
    UNKNOWN = "unknown"


def standing_of(trouble: EtcdTrouble | None, *, clock_is_sound: bool) -> Standing:
    """What the outcome of a question to one endpoint proves; None: it was answered.

    A refusal is etcd's at work, but for one of who we are, which says nothing of what it does for others. A server's
    certificate that has expired proves that nobody is served only while our own clock is sound.
    """
    if isinstance(trouble, EtcdUnavailable):
        found = [standing_of(each, clock_is_sound=clock_is_sound) for each in trouble.troubles.values()]
        return found[0] if len(found) == 1 else Standing.UNPROVEN
    if trouble is None or (isinstance(trouble, EtcdRefused) and not isinstance(trouble, NotPermitted)):
        return Standing.WORKS
    is_proof = isinstance(trouble, EndpointDown) and (clock_is_sound or not isinstance(trouble, CertificateExpired))
    return Standing.DOWN if is_proof else Standing.UNPROVEN


def quorum_of(standings: Mapping[str, Standing]) -> Quorum:
    """Of the standing of every endpoint that is configured."""
    found = list(standings.values())
    if Standing.WORKS in found:
        return Quorum.SERVES
    return Quorum.IMPOSSIBLE if 2 * found.count(Standing.DOWN) > len(found) else Quorum.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A moment by two clocks in seconds: the wall's, and the one that counts on while the host sleeps."""

    wall: float
    boot: float


def is_sound(now: Instant, *, seen: Instant | None, stored: float) -> bool:
    """Whether our wall clock may be believed when it finds that a certificate has expired.

    `seen`: the leader's wall clock at the beat seen last, and when that was; None where none was seen since the start.
    `stored`: the latest wall time that this agent has stored; 0 where there is none.
    """
    if now.wall < stored:
        return False
    if seen is not None:
        return abs((now.wall - seen.wall) - (now.boot - seen.boot)) <= _DIFFERENCE_SECONDS
    return now.wall - stored <= _STORED_SECONDS


class Outage:
    """For how long there is no quorum, and what can be known of it. `now` is the clock that counts on in sleep."""

    def __init__(self, *, after_seconds: float, now: float) -> None:
        """`after_seconds`: how long etcd has to be without success before anything follows from that."""
        self._after_seconds = after_seconds
        self._succeeded_at = now
        self._proved = Quorum.SERVES

    def succeeded(self, now: float) -> None:
        """An endpoint works: the outage is over."""
        self._succeeded_at = max(self._succeeded_at, now)
        self._proved = Quorum.SERVES

    def asked(self, standings: Mapping[str, Standing], now: float) -> None:
        """Every endpoint was asked, side by side."""
        self._proved = quorum_of(standings)
        if self._proved is Quorum.SERVES:
            self.succeeded(now)

    def verdict(self, now: float) -> Quorum:
        """What the endpoints proved last, if the last success is `after_seconds` ago; else SERVES.

        Also SERVES where none was asked since: a host that wakes knows nothing yet.
        """
        return self._proved if now - self._succeeded_at >= self._after_seconds else Quorum.SERVES
