"""The alarms of a listener, the clocks of its senders' engines and what was heard of them on disk: a restart forgets
none of it.

An alarm that was asserted is still asserted after a restart, and its end ends it. A notification that was heard before
the restart is not judged again after it.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hsm_agent.collect.traps import parsed_text as heard
from hsm_agent.collect.traps.held_alarms import Key, Sent, Standing
from hsm_agent.collect.traps.parsed_text import InformKey, MessageKey
from hsm_agent.collect.traps.trap_maps import Level
from hsm_agent.state import files as state_file
from hsm_agent.threads import Lane, StuckError
from hsm_agent.wire.snmp.clock import RemoteClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

T = TypeVar("T")

FILE_NAME = "alarms.json"
_DISK_SECONDS = 5.0
Clocks = dict[bytes, tuple[int, int, float]]
"""By engine ID: boots and time as heard last, and when that was, in UTC seconds."""


class Remembered(NamedTuple):
    """What a listener must know again after a restart. `pushed_out` are alarms that gave way to others."""

    alarms: Mapping[Key, Standing]
    clocks: Clocks
    heard: heard.Kept = heard.Kept()
    pushed_out: tuple[Key, ...] = ()


class MemoryUnreadableError(Exception):
    """The file is there and can't be used; the text is one line."""


class TrapMemory:
    """One small file in the listener's own directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        # A poll that is cancelled leaves its thread writing while the closing writes again.
        self._turn = threading.Lock()
        self._disk = Lane(str(self._path))
        self.damaged = 0
        """Entries that could not be read: not all that was raised is known then."""

    async def load(self) -> Remembered | None:
        """What was kept; None if nothing ever was. Raises MemoryUnreadableError."""
        try:
            return await self._disk.call(self._read, seconds=_DISK_SECONDS)
        except StuckError as error:
            raise MemoryUnreadableError(str(error)) from error

    async def keep(self, remembered: Remembered) -> None:
        """Replace what was kept; on disk when it returns. Raises OSError."""
        kept = remembered._replace(alarms=dict(remembered.alarms))
        await self._disk.call(partial(self._write, kept), seconds=_DISK_SECONDS)

    def _read(self) -> Remembered | None:
        try:
            found = state_file.read_json(self._path)
            if found is None:
                return None
            remembered = Remembered(
                dict(self._sound(_standing, found["alarms"])),
                dict(self._sound(_clock, found["engines"].items())),
                # What an older version wrote has neither of the following.
                _heard(found.get("heard", {})),
                tuple(self._sound(_key, found.get("pushed_out", ()))),
            )
        except OSError as error:
            raise MemoryUnreadableError(f"{self._path} is not usable: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise MemoryUnreadableError(f"{self._path} is not usable, {self._set_aside()}: {error}") from error
        if self.damaged:
            log.warning("%s: %d entries are damaged and left out, %s", self._path, self.damaged, self._set_aside())
        return remembered

    def _sound(self, parse: Callable[[Any], T], found: Iterable[Any]) -> Iterator[T]:
        """Each entry that can be read; the others are counted."""
        for one in found:
            try:
                yield parse(one)
            except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
                self.damaged += 1

    def _write(self, remembered: Remembered) -> None:
        messages, informs = remembered.heard
        document = {
            "alarms": [_row(key, standing) for key, standing in remembered.alarms.items()],
            "engines": {engine_id.hex(): list(clock) for engine_id, clock in remembered.clocks.items()},
            "heard": {
                "messages": [[one.engine_id.hex(), one.boots, one.time, one.digest.hex()] for one in messages],
                "informs": [[one.sender, one.request_id, one.content.hex(), at] for one, at in informs],
            },
            "pushed_out": [key._asdict() for key in remembered.pushed_out],
        }
        with self._turn:
            state_file.write_json(self._path, document)

    def _set_aside(self) -> str:
        try:
            return f"set aside as {state_file.set_aside(self._path).name}"
        except OSError as error:
            return f"and cannot be set aside ({error.strerror})"


def _row(key: Key, standing: Standing) -> dict[str, Any]:
    return {
        **key._asdict(),
        "level": int(standing.level),
        "note": standing.note,
        "last": standing.last,
        "ends_at": standing.ends_at,
        "authentic": standing.authentic,
        "sent": standing.sent,
    }


def _key(one: Mapping[str, Any]) -> Key:
    return Key(str(one["address"]), str(one["component"]), str(one["alarm"]))


def _clock(one: tuple[str, Any]) -> tuple[bytes, tuple[int, int, float]]:
    engine_id, (boots, time, at) = one
    return bytes.fromhex(engine_id), (int(boots), int(time), float(at))


def _standing(one: Mapping[str, Any]) -> tuple[Key, Standing]:
    ends_at, sent = one["ends_at"], one.get("sent")
    return _key(one), Standing(
        level=Level(one["level"]),
        note=str(one["note"]),
        last=float(one["last"]),
        ends_at=None if ends_at is None else float(ends_at),
        authentic=bool(one.get("authentic", False)),
        sent=None if sent is None else Sent(str(sent[0]), int(sent[1]), int(sent[2])),
    )


def _heard(found: Mapping[str, Any]) -> heard.Kept:
    return heard.Kept(
        tuple(
            MessageKey(bytes.fromhex(engine_id), int(boots), int(time), bytes.fromhex(digest))
            for engine_id, boots, time, digest in found.get("messages", ())
        ),
        tuple(
            (InformKey(str(sender), int(request_id), bytes.fromhex(content)), float(at))
            for sender, request_id, content, at in found.get("informs", ())
        ),
    )


def revived(clocks: Clocks, *, wall: float, monotonic: float) -> dict[bytes, RemoteClock]:
    """The clocks as they go on in this process."""
    return {
        engine_id: RemoteClock(
            boots=boots, time=time, latest_received=time, learnt=monotonic - max(0.0, wall - at), authentic=True
        )
        for engine_id, (boots, time, at) in clocks.items()
    }


def stored(clocks: Mapping[bytes, RemoteClock], *, wall: float, monotonic: float) -> Clocks:
    """The clocks as they are kept."""
    return {
        engine_id: (clock.boots, clock.latest_received, wall - (monotonic - clock.learnt))
        for engine_id, clock in clocks.items()
    }
