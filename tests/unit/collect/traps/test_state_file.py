"""What a restart must not forget."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.traps.duplicates import InformKey, KnownNotifications
from hsm_agent.collect.traps.held_alarms import AlarmKey, AlarmRecord, SentAt
from hsm_agent.collect.traps.state_file import (
    ListenerState,
    ListenerStateFile,
    StateUnreadableError,
    restored_clocks,
    stored_clocks,
)
from hsm_agent.collect.traps.trap_maps import AlarmLevel
from hsm_agent.wire.snmp.engine import RemoteClock
from hsm_agent.wire.snmp.trap_receiver import TrapOrigin

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = {
    AlarmKey("192.0.2.1", "", "fan"): AlarmRecord(level=AlarmLevel.WARNING, note="Lüfter", last=1_700_000_000.5),
    AlarmKey("192.0.2.1", "PSU 1", "psu"): AlarmRecord(level=AlarmLevel.CLEARED, note="", last=1.0, ends_at=99.25),
    AlarmKey("192.0.2.2", "", "fan"): AlarmRecord(
        level=AlarmLevel.CRITICAL, note="v3", last=2.0, authentic=True, sent=SentAt("80aa", 3, 1000)
    ),
}
CLOCKS = {b"\x80engine": (3, 1000, 1_700_000_000.0)}
HEARD = KnownNotifications(
    (TrapOrigin(b"\x80engine", 3, 990, b"\x01digest"),), ((InformKey("192.0.2.1", -7, b"content"), 1_700_000_000.5),)
)
ALL = ListenerState(KNOWN, CLOCKS, HEARD, (AlarmKey("192.0.2.9", "2", "fan"),))


async def test_what_is_kept_is_known_to_the_next_process(tmp_path: Path) -> None:
    await ListenerStateFile(tmp_path).save(ALL)

    assert await ListenerStateFile(tmp_path).load() == ALL
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_two_that_write_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    memory = ListenerStateFile(tmp_path)
    many = {
        AlarmKey("192.0.2.1", str(n), "fan"): AlarmRecord(level=AlarmLevel.WARNING, note="x" * 90, last=1.0)
        for n in range(500)
    }

    both = (ListenerState(many, CLOCKS), ALL)
    await asyncio.gather(*(memory.save(one) for one in both * 3))

    assert await memory.load() in both


async def test_what_an_older_version_kept_is_understood(tmp_path: Path) -> None:
    old = {"address": "a", "component": "", "alarm": "fan", "level": 1, "note": "", "last": 1.0, "ends_at": None}
    (tmp_path / "alarms.json").write_text(json.dumps({"alarms": [old], "engines": {"80": [1, 2, 3.0]}}))

    found = await ListenerStateFile(tmp_path).load()

    known = {AlarmKey("a", "", "fan"): AlarmRecord(level=AlarmLevel.WARNING, note="", last=1.0)}
    assert found == ListenerState(known, {b"\x80": (1, 2, 3.0)})


async def test_before_the_first_time_nothing_is_known(tmp_path: Path) -> None:
    assert await ListenerStateFile(tmp_path).load() is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"alarms": 5, "engines": {}}', b"\xff\xfe", b"[" * 100000, b'{"alarms": [], "engines": []}',
     b'{"alarms": [], "engines": {}, "heard": []}', b'{"alarms": [], "engines": {}, "heard": {"informs": [[1]]}}'],
)  # fmt: skip
async def test_a_spoilt_file_is_not_taken_for_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "alarms.json").write_bytes(content)

    with pytest.raises(StateUnreadableError, match="not usable"):
        await ListenerStateFile(tmp_path).load()
    assert len(list(tmp_path.glob("alarms.json.damaged-*"))) == 1


@pytest.mark.parametrize(
    ("alarm", "engine"),
    [
        ({"address": "a"}, {}),
        ([1, 2], {}),
        ({"last": "noon"}, {}),
        ({"last": 10**400}, {}),
        ({"level": 3}, {}),
        (None, {"xx": [1, 2, 3]}),
        (None, {"80": [1]}),
        (None, {"80": [1, 2, 10**400]}),
    ],
)
async def test_a_damaged_entry_costs_no_other(tmp_path: Path, alarm: object, engine: dict[str, object]) -> None:
    await ListenerStateFile(tmp_path).save(ListenerState(KNOWN, CLOCKS))
    stored_text = json.loads((tmp_path / "alarms.json").read_text())
    if alarm is not None:
        whole = {**stored_text["alarms"][0], **alarm} if isinstance(alarm, dict) and "address" not in alarm else alarm
        stored_text["alarms"].insert(0, whole)
    stored_text["engines"] |= engine
    (tmp_path / "alarms.json").write_text(json.dumps(stored_text))

    memory = ListenerStateFile(tmp_path)

    assert await memory.load() == ListenerState(KNOWN, CLOCKS)
    assert memory.damaged == 1
    assert len(list(tmp_path.glob("alarms.json.damaged-*"))) == 1


async def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await ListenerStateFile(tmp_path / "missing").save(ALL)


def test_a_clock_goes_on_through_a_restart() -> None:
    before = {b"\x80engine": RemoteClock(boots=3, time=1000, latest_received=1000, learnt=50.0, authentic=True)}

    kept = stored_clocks(before, wall=1_700_000_100.0, monotonic=60.0)
    after = restored_clocks(kept, wall=1_700_000_700.0, monotonic=5.0)

    assert kept == {b"\x80engine": (3, 1000, 1_700_000_090.0)}
    clock = after[b"\x80engine"]
    assert clock.time_at(5.0) == 1610
    assert clock.is_late(3, 1000, 5.0)
    assert not clock.is_late(3, 1600, 5.0)
    assert not clock.learn(3, 1000, 5.0)


def test_a_wall_clock_that_was_set_back_turns_no_clock_back() -> None:
    assert restored_clocks(CLOCKS, wall=1_600_000_000.0, monotonic=5.0)[b"\x80engine"].time_at(5.0) == 1000
