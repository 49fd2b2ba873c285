"""Stores a listener's alarms, the clocks of its senders' engines and the notifications it has applied.

An alarm that was raised is still raised after a restart. A notification that was applied before the restart is
recognised as a duplicate after it.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hsm_agent.collect.traps.duplicates import InformKey, KnownNotifications
from hsm_agent.collect.traps.held_alarms import AlarmKey, AlarmRecord, SentAt
from hsm_agent.collect.traps.trap_maps import AlarmLevel
from hsm_agent.state import files as state_file
from hsm_agent.threads import Lane
from hsm_agent.wire.snmp.engine import RemoteClock
from hsm_agent.wire.snmp.trap_receiver import TrapOrigin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

T = TypeVar("T")

FILE_NAME = "alarms.json"
_DISK_SECONDS = 5.0
Clocks = dict[bytes, tuple[int, int, float]]
"""By engine ID: the last boots and time, and when they were received (UTC seconds)."""


class ListenerState(NamedTuple):
    """The stored state of a listener. `evicted` are alarms whose state is unknown."""

    alarms: Mapping[AlarmKey, AlarmRecord]
    clocks: Clocks
    duplicates: KnownNotifications = KnownNotifications()
    evicted: tuple[AlarmKey, ...] = ()


class StateUnreadableError(Exception):
    """The file exists and can't be used; the text is one line."""


class ListenerStateFile:
    """One small file in the listener's own directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        # Also where a cancelled save leaves its thread writing: the lane waits for that before the next one.
        self._disk = Lane(str(self._path))
        self.damaged = 0
        """Entries that could not be read: with any, not all raised alarms are known."""

    async def load(self) -> ListenerState | None:
        """The stored state; None without any. Raises StateUnreadableError, or StuckError."""
        return await self._disk.call(self._read, seconds=_DISK_SECONDS)

    async def save(self, state: ListenerState) -> None:
        """Replace the stored state; it is on disk when this returns. Raises OSError."""
        frozen = state._replace(alarms=dict(state.alarms))  # the thread must not see later changes
        await self._disk.call(partial(self._write, frozen), seconds=_DISK_SECONDS)

    def _read(self) -> ListenerState | None:
        try:
            found = state_file.read_json(self._path)
            if found is None:
                return None
            state = ListenerState(
                dict(self._sound(_record, found["alarms"])),
                dict(self._sound(_clock, found["engines"].items())),
                # Files of older versions lack the following two.
                _notifications(found.get("heard", {})),
                tuple(self._sound(_key, found.get("pushed_out", ()))),
            )
        except OSError as error:
            raise StateUnreadableError(f"{self._path} is not usable: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise StateUnreadableError(f"{self._path} is not usable, {self._set_aside()}: {error}") from error
        if self.damaged:
            log.warning("%s: %d entries are damaged and left out, %s", self._path, self.damaged, self._set_aside())
        return state

    def _sound(self, parse: Callable[[Any], T], found: Iterable[Any]) -> Iterator[T]:
        """Each entry that can be parsed; the others are counted."""
        for one in found:
            try:
                yield parse(one)
            except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
                self.damaged += 1

    def _write(self, state: ListenerState) -> None:
        messages, informs = state.duplicates
        document = {
            "alarms": [{**key._asdict(), **asdict(record)} for key, record in state.alarms.items()],
            "engines": {engine_id.hex(): list(clock) for engine_id, clock in state.clocks.items()},
            "heard": {
                "messages": [[one.engine_id.hex(), one.boots, one.time, one.digest.hex()] for one in messages],
                "informs": [[one.sender, one.request_id, one.content.hex(), at] for one, at in informs],
            },
            "pushed_out": [key._asdict() for key in state.evicted],
        }
        state_file.write_json(self._path, document)

    def _set_aside(self) -> str:
        try:
            return f"set aside as {state_file.set_aside(self._path).name}"
        except OSError as error:
            return f"and cannot be set aside ({error.strerror})"


def _key(one: Mapping[str, Any]) -> AlarmKey:
    return AlarmKey(str(one["address"]), str(one["component"]), str(one["alarm"]))


def _clock(one: tuple[str, Any]) -> tuple[bytes, tuple[int, int, float]]:
    engine_id, (boots, time, at) = one
    return bytes.fromhex(engine_id), (int(boots), int(time), float(at))


def _record(one: Mapping[str, Any]) -> tuple[AlarmKey, AlarmRecord]:
    ends_at, sent = one["ends_at"], one.get("sent")
    return _key(one), AlarmRecord(
        level=AlarmLevel(one["level"]),
        note=str(one["note"]),
        last=float(one["last"]),
        ends_at=None if ends_at is None else float(ends_at),
        authentic=bool(one.get("authentic", False)),
        sent=None if sent is None else SentAt(str(sent[0]), int(sent[1]), int(sent[2])),
    )


def _notifications(found: Mapping[str, Any]) -> KnownNotifications:
    return KnownNotifications(
        tuple(
            TrapOrigin(bytes.fromhex(engine_id), int(boots), int(time), bytes.fromhex(digest))
            for engine_id, boots, time, digest in found.get("messages", ())
        ),
        tuple(
            (InformKey(str(sender), int(request_id), bytes.fromhex(content)), float(at))
            for sender, request_id, content, at in found.get("informs", ())
        ),
    )


def restored_clocks(clocks: Clocks, *, wall: float, monotonic: float) -> dict[bytes, RemoteClock]:
    """Stored clocks as clocks of this process."""
    return {
        engine_id: RemoteClock(
            boots=boots, time=time, latest_received=time, learnt=monotonic - max(0.0, wall - at), authentic=True
        )
        for engine_id, (boots, time, at) in clocks.items()
    }


def stored_clocks(clocks: Mapping[bytes, RemoteClock], *, wall: float, monotonic: float) -> Clocks:
    """Clocks of this process as they are stored."""
    return {
        engine_id: (clock.boots, clock.latest_received, wall - (monotonic - clock.learnt))
        for engine_id, clock in clocks.items()
    }
