"""The engine's identity survives restarts, and is never invented anew when it can't be read."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from hsm_agent.state.snmp_engine import FILE_NAME, EngineStateError, settled_engine_id, start_engine
from tests.peers.rights import needs_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIGURED = bytes.fromhex("80001f880474657374")


def test_first_start_makes_a_random_engine_id(tmp_path: Path) -> None:
    engine = start_engine(tmp_path, engine_id=None, now=7.0)

    assert engine.engine_id[:5].hex() == "80001f8805"
    assert len(engine.engine_id) == 17
    assert engine.boots == 1
    assert engine.started == 7.0


def test_two_agents_have_different_engine_ids(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()

    engines = {start_engine(place, engine_id=None, now=0).engine_id for place in (tmp_path, tmp_path / "other")}

    assert len(engines) == 2


def test_restart_keeps_the_engine_id_and_raises_the_boots(tmp_path: Path) -> None:
    first, second, third = (start_engine(tmp_path, engine_id=None, now=0) for _ in range(3))

    assert first.engine_id == second.engine_id == third.engine_id
    assert [first.boots, second.boots, third.boots] == [1, 2, 3]


def test_boots_are_on_disk_before_the_engine_is_given_out(tmp_path: Path) -> None:
    engine = start_engine(tmp_path, engine_id=None, now=0)

    stored = json.loads((tmp_path / FILE_NAME).read_text())
    assert stored == {"engine_id": engine.engine_id.hex(), "boots": {engine.engine_id.hex(): 1}}
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_configured_engine_id_has_boots_of_its_own_and_the_random_one_is_kept(tmp_path: Path) -> None:
    random = start_engine(tmp_path, engine_id=None, now=0)
    configured = [start_engine(tmp_path, engine_id=CONFIGURED, now=0) for _ in range(2)]

    back = start_engine(tmp_path, engine_id=None, now=0)

    assert [(engine.engine_id, engine.boots) for engine in configured] == [(CONFIGURED, 1), (CONFIGURED, 2)]
    assert (back.engine_id, back.boots) == (random.engine_id, 2)


def test_the_engine_id_is_settled_before_the_first_start_without_spending_boots(tmp_path: Path) -> None:
    place = tmp_path / "state"
    settled = settled_engine_id(place)
    engine = start_engine(place, engine_id=None, now=0)

    assert settled == engine.engine_id == settled_engine_id(place)
    assert engine.boots == 1
    assert start_engine(place, engine_id=None, now=0).boots == 2
    assert place.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in place.iterdir()] == [FILE_NAME]


def test_an_engine_id_that_cannot_be_stored_is_not_told(tmp_path: Path) -> None:
    assert settled_engine_id(tmp_path / "no" / "parents") is None


@needs_root
def test_what_root_settles_belongs_to_the_agents_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    settled_engine_id(tmp_path)
    settled_engine_id(tmp_path / "below")

    for path in (tmp_path / FILE_NAME, tmp_path / "below", tmp_path / "below" / FILE_NAME):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (12345, 12345)
        assert not found.st_mode & 0o077


@needs_root
def test_what_root_settles_in_its_own_directory_can_be_read_by_who_is_given_it(tmp_path: Path) -> None:
    settled_engine_id(tmp_path)

    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o644


@needs_root
def test_root_reads_what_the_owner_of_the_directory_stored(tmp_path: Path) -> None:
    engine = start_engine(tmp_path, engine_id=None, now=0)
    for path in (tmp_path, tmp_path / FILE_NAME):
        os.chown(path, 12345, -1)

    assert settled_engine_id(tmp_path) == engine.engine_id


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b'{"engine_id": "80001f8805aa", "boots": {"80001f8805aa": "many"}}', id="boots in words"),
        pytest.param(b'{"engine_id": "xyz", "boots": {}}', id="no engine ID"),
        pytest.param(b'{"engine_id": "80001f8805aa"}', id="boots missing"),
        pytest.param(b'{"engine_id": "80001f8805aa", "boots": {"80001f8805aa": -5}}', id="negative boots"),
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(EngineStateError, match=str(path)):
        start_engine(tmp_path, engine_id=None, now=0)

    assert path.read_bytes() == content


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    start_engine(tmp_path, engine_id=None, now=0)
    (tmp_path / FILE_NAME).chmod(0o622)

    with pytest.raises(EngineStateError, match="others can write it; run: chmod 600"):
        start_engine(tmp_path, engine_id=None, now=0)


@needs_root
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    start_engine(tmp_path, engine_id=None, now=0)
    os.chown(tmp_path / FILE_NAME, 12345, -1)

    # The agent's own user is not root in real life; a file of root's is one that an administrator restored.
    with pytest.raises(EngineStateError, match="owned by user 12345"):
        start_engine(tmp_path, engine_id=None, now=0)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / FILE_NAME)

    with pytest.raises(EngineStateError, match="not a regular file"):
        start_engine(tmp_path, engine_id=None, now=0)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(EngineStateError):
        start_engine(tmp_path, engine_id=None, now=0)


def test_an_engine_that_used_up_its_boots_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(json.dumps({"engine_id": "80001f8805aabbccdd", "boots": {"80001f8805aabbccdd": 2**31 - 2}}))
    path.chmod(0o600)

    with pytest.raises(EngineStateError, match="used up its boots"):
        start_engine(tmp_path, engine_id=None, now=0)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineStateError, match="cannot store the engine's boots"):
        start_engine(tmp_path / "missing", engine_id=None, now=0)
