"""What is known of a trail that is followed, as it is kept, and the readings that are made of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.collect.rotated_set import FilePosition  # noqa: TC001 - the codec evaluates the annotation
from hsm_agent.collect.trails.chain import Break, ChainState, TrailVerdict
from hsm_agent.collect.trails.counts import TrailCounts
from hsm_agent.metrics.tables import UNVERIFIABLE
from hsm_agent.model import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hsm_agent.model import Labels


_MOST_REBOOTS = 1 << 32
"""A counter of more is no counter of an HSM's."""


@dataclass(slots=True, kw_only=True)
class TrailCheckpoint:
    """What is known of a trail. `position` is None before its first octet was read.

    `broken` is the first break since an operator has last seen one, `broken_file` the file it is in. `seen` holds the
    breaks of the file that is read now, as texts: one that was forgotten is not told again when the file is verified
    again. `followed_since`: UTC seconds, 0 before the first readings. `folder` is where the trail lies. `modified` is
    when the file was written to last, UTC seconds, as it was seen when entries were taken from it.
    """

    format: str
    folder: str = ""
    position: FilePosition | None = None
    modified: float = 0.0
    chain: ChainState = field(default_factory=ChainState)
    counts: TrailCounts = field(default_factory=TrailCounts)
    broken: Break | None = None
    broken_file: str = ""
    seen: list[str] = field(default_factory=list)
    gaps: int = 0
    bad_lines_before: int = 0
    is_published: bool = False
    followed_since: float = 0.0

    @property
    def verdict(self) -> TrailVerdict:
        """A break stays until it is forgotten."""
        if self.broken is not None:
            return TrailVerdict.BROKEN
        return TrailVerdict.UNVERIFIABLE if self.chain.unverifiable_line else TrailVerdict.INTACT

    @property
    def bad_lines(self) -> int:
        """Lines that were no entry, of all files."""
        return self.bad_lines_before + self.chain.bad_lines

    def forget_break(self) -> bool:
        """An operator has seen the break. False if there is none."""
        was_broken = self.broken is not None
        self.broken, self.broken_file = None, ""
        self.chain.broken = None
        return was_broken


def trail_readings(
    source: str, resource: str, point: TrailCheckpoint, *, now: float, silent_after: float | None, missing: str = ""
) -> Iterator[Reading]:
    """What a trail tells now. `missing` says why there is no entry yet."""
    reading = partial(Reading, source=source, resource=resource, time=now)
    counts = point.counts
    counts.end_at(now)
    if point.format == "cloudhsm":
        # The first value is 0: gaps that are found at once are gaps, too, and a rule on changes tells of them.
        yield reading(metric="trail_sequence_gaps_total", value=point.gaps if point.is_published else 0)
        yield reading(metric="trail_zeroized_total", value=counts.zeroized_total)
        since = counts.last_backup if counts.last_backup is not None else counts.first_entry
        if since is not None:
            yield reading(metric="trail_backup_age_seconds", value=max(0.0, now - since))
        reboots = point.chain.newest.partition("/")[2]
        if reboots and int(reboots, 16) < _MOST_REBOOTS:
            yield reading(metric="trail_reboots", value=int(reboots, 16))
    else:
        yield _chain_reading(reading, point, missing)
        yield reading(metric="trail_pin_locked_total", value=counts.pin_locked_total)
    point.is_published = True
    point.followed_since = point.followed_since or now
    yield reading(metric="trail_bad_lines_total", value=point.bad_lines, note=point.chain.bad_line)
    yield reading(metric="trail_failed_logins_total", value=counts.failed_logins_total)
    most, session = counts.most_failed_logins(now)
    yield reading(metric="trail_session_failed_logins", value=most, note=f"session {session}" if session else "")
    # A trail without any entry is silent since it is followed.
    since = counts.last_entry if counts.last_entry is not None else (point.followed_since or now)
    yield reading(metric="trail_age_seconds", value=max(0.0, now - since), limit=silent_after)
    for metric, values, names in (
        ("trail_events_total", counts.events, ("operation", "result")),
        ("trail_keys_generated_total", counts.generations, ("mechanism",)),
        ("trail_user_changes_total", counts.user_changes, ("operation",)),
    ):
        for key, number in values.items():
            labels: Labels = tuple(zip(names, key.split("\t"), strict=True))
            yield reading(metric=metric, value=number, labels=labels)


def _chain_reading(reading: Callable[..., Reading], point: TrailCheckpoint, missing: str) -> Reading:
    if point.verdict is TrailVerdict.UNVERIFIABLE:
        line = point.chain.unverifiable_line
        return reading(
            metric="trail_chain_intact",
            value=None,
            reason=f"{UNVERIFIABLE}: line {line} has format_version 1, its hashes need a key",
        )
    if point.verdict is TrailVerdict.BROKEN:
        return reading(metric="trail_chain_intact", value=0, note=f"{point.broken_file} {point.broken}")
    if not point.chain.entries:
        return reading(metric="trail_chain_intact", value=None, reason=missing or "no entry yet")
    return reading(metric="trail_chain_intact", value=1)


_AGES = frozenset({"trail_age_seconds", "trail_backup_age_seconds"})


def differs(before: Reading | None, now: Reading) -> bool:
    """Whether a reading is to be published before `every` is over; ages change all the time."""
    if before is None:
        return True
    if now.metric in _AGES and before.value is not None and now.value is not None:
        return now.value < before.value
    return (before.value, before.reason, before.note) != (now.value, now.reason, now.note)
