"""The SNMP engine's identity on disk: its engine ID, made once, and its boots, raised and stored at each start.

Nothing here invents a new identity when the old one can't be read: receivers would silently drop every v3 trap, and
a boots counter that falls back opens old messages to replay (RFC 3414 section 2.2).
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from hsm_agent.settings.types import Strict
from hsm_agent.state import files as state_file
from hsm_agent.wire.snmp.engine import MAX_BOOTS, Engine

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "snmp-engine.json"
_RANDOM_PREFIX = bytes.fromhex("80001f8805")  # RFC 3411 section 5: an enterprise's own form, octets of its own making
_RANDOM_OCTETS = 12
_MOST_CHARACTERS = 1024 * 1024


class EngineStateError(Exception):
    """The stored identity can't be read, written or used; the text says what to do."""


class _State(Strict):
    """The file: the engine ID made at random, and the boots of every engine ID this agent ever had."""

    engine_id: str = Field(pattern=r"^([0-9a-f]{2}){5,32}$")
    boots: dict[str, int]


def start_engine(directory: Path, *, engine_id: bytes | None, now: float) -> Engine:
    """The engine with its boots raised by one and stored; `now` is the engine's start on the monotonic clock.

    `engine_id` is the configured one, None for the stored random one. Blocks on the disk: call it before the first
    packet and not on the event loop. Raises EngineStateError.
    """
    path = directory / FILE_NAME
    state = _read(path) or _new_state()
    chosen = engine_id.hex() if engine_id is not None else state.engine_id
    boots = state.boots.get(chosen, 0) + 1
    # RFC 3414 section 2.2.2: an engine that reached the maximum must be given a new engine ID.
    if not 1 <= boots < MAX_BOOTS:
        raise EngineStateError(f"{path}: engine {chosen} used up its boots; set another serve.snmp.engine_id")
    _write(path, _State(engine_id=state.engine_id, boots={**state.boots, chosen: boots}))
    return Engine(engine_id=bytes.fromhex(chosen), boots=boots, started=now)


def held_engine(*, engine_id: bytes | None, now: float) -> Engine:
    """An engine that must not speak SNMPv3, for as long as its boots can't be stored; v1 and v2c need none."""
    chosen = bytes.fromhex(_new_state().engine_id) if engine_id is None else engine_id
    return Engine(engine_id=chosen, boots=0, started=now)


def settled_engine_id(directory: Path) -> bytes | None:
    """The random engine ID that start_engine will use; where there is none yet it is made and stored now.

    Receivers of v3 traps must know it before the first start. None where it can't be stored: the start will make it.
    Raises EngineStateError.
    """
    path = directory / FILE_NAME
    try:
        state = _read(path) or _first(path)
    except OSError:
        return None
    return bytes.fromhex(state.engine_id) if state else None


def _new_state() -> _State:
    return _State(engine_id=(_RANDOM_PREFIX + secrets.token_bytes(_RANDOM_OCTETS)).hex(), boots={})


def _first(path: Path) -> _State | None:
    """Store a new engine ID without boots, or find the one that an agent stored in this moment. Raises OSError."""
    folder, state = _open_directory(path.parent.resolve()), _new_state()
    try:
        owner = os.fstat(folder)
        # In a directory of root's an agent that is given the directory later must be able to read the file; it then
        # replaces it by its own.
        given_to = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None
        mode = 0o600 if given_to is None or owner.st_uid else 0o644
        created = state_file.create(folder, path.name, _octets(state), mode=mode, owner=given_to)
    finally:
        os.close(folder)
    return state if created else _read(path)


def _open_directory(directory: Path) -> int:
    """A descriptor of it, made private if it is missing, as the agent would, and given to its folder's owner.

    The folder's owner can put a link in its place at any moment: what root gives away is the open directory, and
    only if it is the one that was just made.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    above = os.open(directory.parent, flags)
    try:
        try:
            os.mkdir(directory.name, 0o700, dir_fd=above)
            made = True
        except FileExistsError:
            made = False
        descriptor = os.open(directory.name, flags | os.O_NOFOLLOW, dir_fd=above)
        owner = os.fstat(above)
    finally:
        os.close(above)
    if made and os.geteuid() == 0 and _is_new(descriptor):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def _is_new(directory: int) -> bool:
    """Whether it is as root's mkdir leaves it: there is nothing in it that anybody could want."""
    found = os.fstat(directory)
    content = os.listdir(directory)
    return (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o700) and not content


def _read(path: Path) -> _State | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineStateError(f"{path}: {error.strerror}") from error
    try:
        _check_owner(path, os.fstat(descriptor))
        with os.fdopen(descriptor, encoding="utf-8", closefd=False) as file:
            return _State.model_validate_json(file.read(_MOST_CHARACTERS))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise EngineStateError(f"{path}: {error}") from error
    except ValidationError as error:
        raise EngineStateError(
            f"{path}: not what the agent wrote ({error.errors()[0]['msg']}); restore it from a backup, or remove it and"
            " tell every SNMPv3 receiver the new engine ID"
        ) from error
    finally:
        os.close(descriptor)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise EngineStateError(f"{path}: not a regular file")
    # The directory's owner could replace the file anyway: root may look at what the agent's user keeps there.
    if found.st_uid not in {0, os.geteuid(), path.parent.stat().st_uid}:
        raise EngineStateError(f"{path}: owned by user {found.st_uid}, not by the agent's")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EngineStateError(f"{path}: others can write it; run: chmod 600 {path}")


def _write(path: Path, state: _State) -> None:
    try:
        state_file.write(path, _octets(state))
    except OSError as error:
        raise EngineStateError(f"{path}: cannot store the engine's boots: {error.strerror}") from error


def _octets(state: _State) -> bytes:
    return json.dumps(state.model_dump()).encode() + b"\n"
