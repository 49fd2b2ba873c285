"""What is counted of the entries of a trail. Pure: the time is given.

Labels come from the trail, which a hostile writer may fill: the number of label sets is bounded, and what is beyond is
counted as `other`. Counts never fall, but for those of a window.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.collect.trails.chain import Entry

MOST_LABEL_SETS = 200
MOST_SESSIONS = 256
MOST_IN_SESSION = 32
OTHER = "other"
WINDOW_SECONDS = 600.0
_LONGEST_LABEL = 64
_LOGINS = frozenset({"Login", "CN_LOGIN"})
_GENERATIONS = ("GenerateKey", "CN_GENERATE_KEY", "CN_GEN_PSWD_ENC_KEY", "CN_GEN_KEY_ENC_KEY")
_NO_FAILED_LOGIN = frozenset({"CKR_USER_ALREADY_LOGGED_IN", "CKR_USER_ANOTHER_ALREADY_LOGGED_IN"})
_USER_CHANGES = frozenset(
    {
        "CN_CREATE_USER",
        "CN_CREATE_CO",
        "CN_DELETE_USER",
        "CN_CHANGE_PSWD",
        "CN_CREATE_APPLIANCE_USER",
        "InitPIN",
        "SetPIN",
    }
)
_ZEROIZE = "CN_ZEROIZE"
_BACKUP = "CN_BACKUP_END"
_LOCKED = "CKR_PIN_LOCKED"


@dataclass(slots=True, kw_only=True)
class TrailCounts:
    """Counts of one trail since it is followed, as its checkpoint keeps them.

    `events` is by operation and result, `generations` by mechanism, `user_changes` by operation; keys are joined by a
    tab. `failed_logins` holds the times of failed logins within the window, by session.
    """

    events: dict[str, int] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    user_changes: dict[str, int] = field(default_factory=dict)
    failed_logins: dict[str, list[float]] = field(default_factory=dict)
    failed_logins_total: int = 0
    pin_locked_total: int = 0
    zeroized_total: int = 0
    first_entry: float | None = None
    last_entry: float | None = None
    last_backup: float | None = None

    def add(self, entries: Sequence[Entry], now: float) -> None:
        """Count entries. `now` is UTC seconds: an entry's time counts as no later than that."""
        tally = Counter(map(_KIND, entries))
        times = [when for when in map(_TIME, entries) if when is not None]
        if times:
            if self.first_entry is None:
                self.first_entry = min(times[0], now)
            latest = min(max(times), now)
            self.last_entry = latest if self.last_entry is None else max(self.last_entry, latest)
        special = {
            (operation, result)
            for operation, result in tally
            if operation in _SPECIAL or operation.startswith(_GENERATIONS) or result == _LOCKED
        }
        if special:
            for each in entries:
                if _KIND(each) in special:
                    self._special(each, now)
        for kind, number in tally.items():
            _count(self.events, kind, number)

    def _special(self, each: Entry, now: float) -> None:
        if each.result == _LOCKED:
            self.pin_locked_total += 1
        if each.operation in _LOGINS and not each.is_success and each.result not in _NO_FAILED_LOGIN:
            self._failed_login(each, now)
        if not each.is_success:
            return
        if each.operation.startswith(_GENERATIONS):
            _count(self.generations, (each.mechanism or each.operation,), 1)
        elif each.operation in _USER_CHANGES:
            _count(self.user_changes, (each.operation,), 1)
        elif each.operation == _ZEROIZE:
            self.zeroized_total += 1
        elif each.operation == _BACKUP:
            self.last_backup = now if each.time is None else min(each.time, now)

    def _failed_login(self, each: Entry, now: float) -> None:
        self.failed_logins_total += 1
        session = _label(each.session)
        if session not in self.failed_logins and len(self.failed_logins) >= MOST_SESSIONS:
            session = OTHER
        times = self.failed_logins.setdefault(session, [])
        times.append(now if each.time is None else min(each.time, now))
        del times[:-MOST_IN_SESSION]

    def end_at(self, now: float) -> None:
        """Take times that are not over yet for the present: the clock was set back since they were noted."""
        if self.last_entry is not None and self.last_entry > now:
            self.last_entry = now
        if self.last_backup is not None and self.last_backup > now:
            self.last_backup = now
        for times in self.failed_logins.values():
            times[:] = [min(when, now) for when in times]

    def most_failed_logins(self, now: float) -> tuple[int, str]:
        """The most failed logins of one session within the window, and the session."""
        self.failed_logins = {
            session: kept
            for session, times in self.failed_logins.items()
            if (kept := [when for when in times if when > now - WINDOW_SECONDS])
        }
        most = max(self.failed_logins.items(), key=lambda item: len(item[1]), default=("", []))
        return len(most[1]), most[0]


_KIND = attrgetter("operation", "result")
_TIME = attrgetter("time")
_SPECIAL = _LOGINS | _USER_CHANGES | {_ZEROIZE, _BACKUP}


def _count(counts: dict[str, int], labels: tuple[str, ...], number: int) -> None:
    key = "\t".join(map(_label, labels))
    if key not in counts and len(counts) >= MOST_LABEL_SETS:
        key = "\t".join(OTHER for _ in labels)
    counts[key] = counts.get(key, 0) + number


def _label(text: str) -> str:
    return one_line(text[:_LONGEST_LABEL]).replace("\t", " ") or OTHER
