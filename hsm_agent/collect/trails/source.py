"""The source `kind: audit_trail`: audit trails in files, followed as they are written, verified and counted.

The files are looked at once a second, and read on a thread: a file system that hangs holds up nothing else.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from hsm_agent.collect.aws.client import AwsSettings
from hsm_agent.collect.aws.log_group import LogGroupCollector
from hsm_agent.collect.base import Collector, CollectorContext, Poll, SourceFailure, SourceSettings
from hsm_agent.collect.checkpoint_file import CheckpointFile
from hsm_agent.collect.followed_file import STEP_SECONDS
from hsm_agent.collect.rotated_set import UnreadableFileError, refuse_special, rotation
from hsm_agent.collect.trails.checkpoint import TrailCheckpoint, differs, trail_readings
from hsm_agent.collect.trails.formats import Format
from hsm_agent.collect.trails.reader import TrailReader
from hsm_agent.settings.types import Deadline, Duration, Interval, LocalPath
from hsm_agent.text import glob_matches, one_line
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from hsm_agent.model import Reading

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often the files are looked at; a reading appears within two of these."""
MOST_TRAILS = 64
_STEP_SHARE = 0.4
"""Of the timeout: what one look may take before its readings are given, so that a large file is read in parts."""
GONE_AFTER_SECONDS = 10.0
"""A trail that was there and is not is an error from then on; while it is rotated there may be no file for a moment."""
RETIRED_AFTER_SECONDS = 86400.0
"""A CloudHSM's stream ends when the HSM is replaced; its file is then not missed any more."""


class AuditTrailSettings(SourceSettings):
    """Trails of one format: in files of one folder, or in a log group."""

    kind: Literal["audit_trail"]
    format: Format
    path: LocalPath | None = None
    log_group: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    aws: AwsSettings | None = None
    every: Interval = 60.0
    timeout: Annotated[Deadline, Field(le=60.0)] = 10.0
    silent_after: Annotated[Duration, Field(gt=0)] | None = None
    """From this time without a line on, the trail is silent."""
    verify_every: Annotated[Duration, Field(ge=60.0)] = 3600.0
    """How often the file is verified from its first line again."""

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        if (self.path is None) == (self.log_group is None):
            raise ValueError("name exactly one of path, log_group")
        if self.path is not None and any(sign in str(self.path.parent) for sign in "*?["):
            raise ValueError("path: only the file's name may be a glob, not its folder")
        if self.log_group is not None and self.format != "cloudhsm":
            raise ValueError("log_group: only with format: cloudhsm")
        if (self.log_group is None) != (self.aws is None):
            raise ValueError("aws: needed with log_group, and only there")
        return self

    def build(self, context: CollectorContext) -> Collector:
        """The collector of this source."""
        if self.log_group is not None and self.aws is not None:
            return LogGroupCollector(self, self.aws, self.log_group, context, silent_after=self.silent_after)
        assert self.path is not None
        return AuditTrailCollector(self, self.path, context)

    def about(self) -> Iterator[str]:
        """What is followed, and who could write it."""
        if self.path is None:
            yield f"{self.format} in log group {self.log_group}"
            return
        yield f"{self.format} in {self.path}"
        try:
            trails = trails_of(self.path)
        except OSError as error:
            yield f"WARNING: {self.path.parent} cannot be read: {error.strerror}"
            return
        if len(trails) > MOST_TRAILS:
            yield f"WARNING: {_too_many(self.path, len(trails))}"
        for path in trails[:MOST_TRAILS]:
            if warning := writable_warning(path):
                yield f"WARNING: {warning}"

    def metrics_produced(self) -> Mapping[str, str]:
        """What trails of this format tell."""
        found = dict.fromkeys(("trail_events_total", "trail_bad_lines_total", "trail_age_seconds"), "")
        found["trail_failed_logins_total"] = found["trail_session_failed_logins"] = ""
        if self.format == "cloudhsm":
            found["trail_sequence_gaps_total"] = found["trail_backup_age_seconds"] = ""
            found["trail_zeroized_total"] = found["trail_reboots"] = ""
            found["trail_user_changes_total"] = "once a user was changed"
        else:
            found["trail_chain_intact"] = found["trail_pin_locked_total"] = ""
        found["trail_keys_generated_total"] = "once a key was generated"
        return found


def trails_of(pattern: Path) -> list[Path]:
    """The trails that a path or a glob names, each by the name that its file has while it is written.

    Raises OSError where the folder can't be read; a file that is not there yet is a trail all the same. Names that
    cannot be shown as they are do not count: whoever makes such a file wants to be mistaken.
    """
    if not any(sign in pattern.name for sign in "*?["):
        return [pattern]
    try:
        names = [each.name for each in pattern.parent.iterdir()]
    except FileNotFoundError:
        return []
    stems = {rotation(pattern.with_name(name))[0] for name in names if glob_matches(name, pattern.name)}
    return sorted(stem for stem in stems if one_line(stem.name) == stem.name)


def _too_many(pattern: Path, number: int) -> str:
    return f"{number} trails match {pattern}, and only the first {MOST_TRAILS} are followed"


def writable_warning(path: Path) -> str:
    """What to say of a trail that this process could write; empty where it can't, or is root, who always can."""
    if os.geteuid() == 0:
        return ""
    try:
        status = path.stat()
    except OSError:
        return ""
    mode = status.st_mode
    by_owner = status.st_uid == os.geteuid() and mode & stat.S_IWUSR
    by_group = status.st_gid in {os.getegid(), *os.getgroups()} and mode & stat.S_IWGRP
    if not (by_owner or by_group or mode & stat.S_IWOTH):
        return ""
    return f"{path} can be written by the agent's own user: whoever takes over the agent could change the trail"


class AuditTrailCollector(Collector):
    """Follows the trails; publishes what changed at once, and everything after `every`."""

    kind = "audit_trail"

    def __init__(
        self,
        settings: AuditTrailSettings,
        path: Path,
        context: CollectorContext,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(settings)
        self._settings = settings
        self._path = path
        self._file = CheckpointFile(context.state_directory, "trails", settings.name, TrailCheckpoint)
        self._lane = Lane(str(path))
        self._monotonic = monotonic
        self._wall = wall
        self._readers: dict[str, TrailReader] | None = None
        self._published: dict[object, Reading] = {}
        self._full_at = 0.0
        self._verify_at = 0.0
        self._gone_since: dict[str, float] = {}
        self._waiting: frozenset[str] = frozenset()
        self._troubles: list[str] = []
        """What the last look could not do, beside trails that could not be read at all."""

    async def poll(self) -> Poll:
        """Read on. Raises SourceFailure where no trail can be read."""
        began = self._monotonic()
        try:
            readings, failures, more = await self._lane.call(self._look, seconds=self._settings.timeout)
        except (OSError, StuckError) as error:
            raise SourceFailure(f"{self._path}: {getattr(error, 'strerror', None) or error}") from error
        if failures and len(failures) == len(self._readers or ()):
            raise SourceFailure(failures[0], retry_in_seconds=LOOK_SECONDS * 5)
        now = self._monotonic()
        is_full = now >= self._full_at
        if is_full:
            self._full_at = now + self.every_seconds
        fresh = [each for each in readings if is_full or differs(self._published.get(each.series), each)]
        gone = {series[1] for series in self._published} - {each.resource for each in readings}  # type: ignore[index]
        self._published = {each.series: each for each in readings}
        return Poll(
            readings=tuple(fresh),
            # A folder with very many files takes long to look at: that is done a fifth of the time at most.
            next_in_seconds=0.0 if more else max(LOOK_SECONDS, 4 * (now - began)),
            errors=(*failures, *self._troubles),
            remarks=self._waited_for(),
            calls={"file": len(self._readers or ())},
            complete=is_full,
            gone=tuple(sorted(gone)),
        )

    def _waited_for(self) -> tuple[str, ...]:
        """The files that are not there yet; each is logged once."""
        missing = {reader.path.name for reader in (self._readers or {}).values() if not reader.is_there}
        found = tuple(f"{self._path.with_name(name)} is not there yet: waiting for it" for name in sorted(missing))
        found = found if self._readers else (f"no file is called {self._path} yet: waiting for one",)
        for each in found:
            if each not in self._waiting:
                log.warning("source %s: %s", self.name, each)
        self._waiting = frozenset(found)
        return found

    def _look(self) -> tuple[list[Reading], list[str], bool]:
        """On the thread: every trail read on, what is known of it now, and an error for each that cannot be read."""
        if self._readers is None:
            self._readers = self._restored()
        trails, self._troubles = trails_of(self._path), []
        if len(trails) > MOST_TRAILS:
            self._troubles.append(_too_many(self._path, len(trails)))
        for path in trails[:MOST_TRAILS]:
            if path.name not in self._readers and len(self._readers) < MOST_TRAILS:
                self._readers[path.name] = self._reader(path, None)
        failures, more = [], False
        seconds = min(STEP_SECONDS, self._settings.timeout * _STEP_SHARE / max(1, len(self._readers)))
        is_verified = True
        for reader in self._readers.values():
            try:
                has_more = reader.step(seconds)
                more |= has_more
                if self._monotonic() >= self._verify_at:
                    # New entries come first.
                    is_verified &= not has_more and reader.verify_again(seconds)
                self._see_that_it_is_there(reader)
            except (OSError, UnreadableFileError) as error:
                failures.append(f"{reader.path}: {getattr(error, 'strerror', None) or error}")
            self._troubles += [reader.trouble] if reader.trouble else []
        if is_verified and self._monotonic() >= self._verify_at:
            self._verify_at = self._monotonic() + self._settings.verify_every
        self._retire()
        try:
            self._store()
        except OSError as error:
            self._troubles.append(f"the checkpoint cannot be kept: {error.strerror}")
        now = self._wall()
        return [each for reader in self._readers.values() for each in self._readings(reader, now)], failures, more

    def _see_that_it_is_there(self, reader: TrailReader) -> None:
        """Raises UnreadableFileError for what is no file, and for a trail that is gone; OSError."""
        if reader.is_there:
            self._gone_since.pop(reader.path.name, None)
            return
        refuse_special(reader.path)
        since = self._gone_since.setdefault(reader.path.name, self._monotonic())
        # The stream of an HSM that was replaced ends, and its file may be removed.
        is_missed = reader.path == self._path or self._settings.format != "cloudhsm"
        if is_missed and reader.checkpoint.position is not None and self._monotonic() - since >= GONE_AFTER_SECONDS:
            raise UnreadableFileError("it is gone, with its rotated files: see who removed it")

    def _reader(self, path: Path, checkpoint: TrailCheckpoint | None) -> TrailReader:
        clocks = {"wall": self._wall, "monotonic": self._monotonic}
        return TrailReader(path, self._settings.format, checkpoint, **clocks)

    def _restored(self) -> dict[str, TrailReader]:
        """The readers of the trails that were followed before; of another path's trails nothing is taken over."""
        is_glob = any(sign in self._path.name for sign in "*?[")
        return {
            name: self._reader(self._path.with_name(name), checkpoint)
            for name, checkpoint in self._file.load().items()
            if checkpoint.format == self._settings.format
            and checkpoint.folder in {"", str(self._path.parent)}
            and (is_glob or name == self._path.name)
        }

    def _store(self) -> None:
        self._file.store({name: reader.checkpoint for name, reader in (self._readers or {}).items()})

    def _retire(self) -> None:
        """Forget a trail that a glob brought and whose files are gone for a day."""
        assert self._readers is not None
        now = self._monotonic()
        for name, since in list(self._gone_since.items()):
            if self._path.with_name(name) != self._path and now - since >= RETIRED_AFTER_SECONDS:
                del self._readers[name], self._gone_since[name]

    async def forget(self, resource: str) -> bool:
        """An operator has seen the break of a trail: it is not shown any more."""
        return await self._lane.call(partial(self._forget, resource), seconds=self._settings.timeout)

    def _forget(self, resource: str) -> bool:
        reader = (self._readers or {}).get(resource)
        if reader is None or not reader.checkpoint.forget_break():
            return False
        self._store()
        return True

    def _readings(self, reader: TrailReader, now: float) -> Iterator[Reading]:
        missing = "" if reader.is_there else "the file is not there yet"
        silent_after = self._settings.silent_after
        return trail_readings(
            self.name, reader.path.name, reader.checkpoint, now=now, silent_after=silent_after, missing=missing
        )
