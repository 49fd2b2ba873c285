"""Commands as processes: what they print, how they end, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.collect.base import CollectorContext, SourceFailure
from hsm_agent.collect.command.source import CommandCollector, CommandSettings
from tests.peers.appliance import Appliance
from tests.peers.ports import free_port
from tests.peers.processes import alive, until
from tests.peers.require import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hsm_agent.collect.base import Poll

ROOT = Path(__file__).resolve().parents[2]
LATE_SECONDS = 0.05


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    return Appliance(tmp_path / "appliance")


@contextlib.asynccontextmanager
async def source(*runs: dict[str, Any], **keys: Any) -> AsyncIterator[CommandCollector]:
    settings = {"name": "luna", "kind": "command", "runs": list(runs), "every": "50ms", "timeout": "5s", **keys}
    collector = CommandCollector(CommandSettings.model_validate(settings))
    try:
        yield collector
    finally:
        await collector.close()


def values(poll: Poll, metric: str) -> dict[str, float | int | None]:
    return {reading.resource: reading.value for reading in poll.readings if reading.metric == metric}


async def test_several_commands_one_after_the_other(appliance: Appliance) -> None:
    runs = [
        appliance.run("slow"),
        appliance.run("slow", "partition_show", "lunash-partition-show"),
        appliance.run("print", "audit_show", "lunash-audit-show"),
        appliance.run("print", "sensors", "lunash-sensors"),
        appliance.run("print", "sysstat", "lunash-sysstat"),
    ]
    async with source(*runs) as luna:
        poll = await luna.poll()

    assert poll.errors == ()
    assert values(poll, "token_objects") == {"payments": 212, "archive": 6}
    assert values(poll, "sensor_celsius") == {"system": 41, "CPU Temp": 47.0, "System Temp": 91.5}
    assert values(poll, "audit_used_percent") == {"": pytest.approx(25.0)}
    assert values(poll, "hsm_operational") == {"": 1}
    assert poll.calls == {"appliance": 5}
    assert poll.slowest_call_seconds is not None
    assert poll.slowest_call_seconds > 0.3
    assert appliance.most_at_once() == 1


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("fail", "ended with exit status 255: Authorized use only … \ufffd[31mPermission denied (publickey)."),
        ("refuse", "ended with exit status 1: Error: 'hsm show' is not allowed now."),
        ("quiet", "ended with exit status 3"),
        ("binary", "this is not what hsm show prints: it says: "),
    ],
)
async def test_a_command_that_fails_fails_the_source(appliance: Appliance, what: str, said: str) -> None:
    async with source(appliance.run(what), every="60s") as luna:
        with pytest.raises(SourceFailure) as caught:
            await luna.poll()

    assert caught.value.retry_in_seconds is not None
    assert (
        50 < caught.value.retry_in_seconds <= 60
    )  # a login that fails is not repeated in haste: it may lock the account
    text = str(caught.value)
    assert said in text
    assert text.isprintable()
    assert text.startswith(f"appliance {what} hsm_show")


async def test_a_command_that_hangs_is_killed_in_time_and_recovers(appliance: Appliance) -> None:
    async with source(appliance.run("hang"), timeout="500ms") as luna:
        began = time.monotonic()
        with pytest.raises(SourceFailure, match=r"did not end within 0.5 s and was killed: check the device"):
            await luna.poll()
        took = time.monotonic() - began
        assert luna.pids() == ()
        assert not alive(appliance.pids("start")[0])

    assert took < 2


async def test_one_that_hangs_takes_nothing_from_the_others(appliance: Appliance) -> None:
    runs = [
        appliance.run("hang", "sysstat", "lunash-sysstat"),
        appliance.run("print"),
        appliance.run("fail", "audit_show", "lunash-audit-show"),
    ]
    async with source(*runs, timeout="2s") as luna:
        poll = await luna.poll()

    assert values(poll, "hsm_tampered") == {"": 0}
    assert ["did not end within" in error for error in poll.errors] == [True, False]
    assert "exit status 255" in poll.errors[1]


async def test_what_was_read_before_has_no_value_while_its_command_fails(appliance: Appliance, tmp_path: Path) -> None:
    sample = tmp_path / "now.txt"
    sample.write_bytes((ROOT / "tests" / "data" / "shell" / "sysstat.txt").read_bytes())
    runs: list[dict[str, Any]] = [{"command": ["cat", str(sample)], "parser": "lunash-sysstat"}, appliance.run("print")]
    async with source(*runs) as luna:
        before = await luna.poll()
        sample.unlink()
        after = await luna.poll()

    (lost,) = [reading for reading in after.readings if reading.metric == "hsm_operational"]
    assert values(before, "hsm_operational") == {"": 1}
    assert lost.value is None
    assert "No such file or directory" in lost.reason
    assert values(after, "hsm_tampered") == {"": 0}


async def test_endless_output_is_cut_off(appliance: Appliance) -> None:
    async with source(appliance.run("endless"), output_limit="64KiB") as luna:
        began = time.monotonic()
        with pytest.raises(SourceFailure, match="printed more than 65536 bytes and was killed"):
            await luna.poll()
        took = time.monotonic() - began

    assert took < 3
    assert not alive(appliance.pids("start")[0])


async def test_an_output_of_just_the_limit_is_read(tmp_path: Path) -> None:
    text = "System Status: ISO\nSystem Status Code: 0\n"
    run = {"command": ["printf", "%s", text], "parser": "lunash-sysstat"}
    async with source(run, output_limit=str(len(text))) as luna:
        assert values(await luna.poll(), "hsm_trouble") == {"": 0}
    async with source(run, output_limit=str(len(text) - 1)) as luna:
        with pytest.raises(SourceFailure, match="printed more than"):
            await luna.poll()


async def test_what_a_command_leaves_behind_is_killed(appliance: Appliance) -> None:
    async with source(appliance.run("leave")) as luna:
        poll = await luna.poll()

    assert values(poll, "hsm_tampered") == {"": 0}  # and no child is left: see conftest


async def test_an_agent_that_stops_in_the_middle_of_a_run_leaves_nothing(appliance: Appliance) -> None:
    async with source(appliance.run("tree")) as luna:
        polling = asyncio.create_task(luna.poll())
        await until(lambda: len(appliance.pids("child")) == 2)
        (keeper,) = luna.pids()
        pids = [keeper, *appliance.pids("start"), *appliance.pids("child")]
        assert all(map(alive, pids))
        polling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await polling

        assert not any(map(alive, pids))
        assert luna.pids() == ()


_AGENT = """
import asyncio, json, sys
from hsm_agent.collect.command.source import CommandCollector, CommandSettings

asyncio.run(CommandCollector(CommandSettings.model_validate(json.loads(sys.argv[1]))).poll())
"""


async def test_nothing_outlives_an_agent_that_is_killed(appliance: Appliance) -> None:
    settings = {"name": "luna", "kind": "command", "runs": [appliance.run("tree")], "timeout": "60s"}
    agent = subprocess.Popen([sys.executable, "-c", _AGENT, json.dumps(settings)], cwd=ROOT)
    await until(lambda: len(appliance.pids("child")) == 2, seconds=15)
    pids = [*appliance.pids("start"), *appliance.pids("child")]
    assert all(map(alive, pids))

    agent.send_signal(signal.SIGKILL)
    agent.wait(5)
    await until(lambda: not any(map(alive, pids)))


async def test_a_command_gets_a_clean_environment_no_terminal_and_nothing_to_read(
    appliance: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_SECRET", "do not pass on")
    pattern = r"^(?P<resource>.*\S) *(?P<custom_length>)$"  # a reading without a value shows the line
    run = {**appliance.run("self"), "parser": "regex", "patterns": [pattern, r"stat \d+ \d+ (?P<custom_terminal>\d+)"]}
    with Path("/dev/null").open(encoding="ascii") as inheritable:
        os.set_inheritable(inheritable.fileno(), True)
        async with source(run, environment={"GIVEN": "yes"}) as luna:
            poll = await luna.poll()

    lines = [reading.resource for reading in poll.readings if reading.metric == "custom_length"]
    assert {line.split("=")[0] for line in lines if "=" in line} == {"PATH", "LC_ALL", "GIVEN"}
    assert "fd 0 /dev/null" in lines
    assert [
        line for line in lines if re.match(r"fd (?!0 |1 |2 |10 )", line) and not line.endswith(" gone")
    ] == []  # 10 is the shell's own script
    assert values(poll, "custom_terminal") == {"": 0}
    assert "/" in lines


async def test_the_event_loop_goes_on_meanwhile(appliance: Appliance) -> None:
    worst = []
    for _ in range(3):  # a busy machine may be late by itself; we are late every time
        late = 0.0
        async with source(appliance.run("slow"), appliance.run("endless"), appliance.run("print")) as luna:
            polling = asyncio.create_task(luna.poll())
            while not polling.done():
                began = time.monotonic()
                await asyncio.sleep(0.005)
                late = max(late, time.monotonic() - began - 0.005)
            assert len((await polling).errors) == 1
        worst.append(late)
        if late < LATE_SECONDS:
            break

    assert min(worst) < LATE_SECONDS


async def test_a_real_ssh_client_that_finds_no_server_is_told_as_it_says_it() -> None:
    ssh, port = require("ssh"), free_port(socket.SOCK_STREAM)
    words = [str(ssh), "-F", "none", "-o", "BatchMode=yes", "-p", str(port), "monitor@127.0.0.1", "hsm", "show"]
    async with source({"command": words, "parser": "lunash-hsm-show"}) as luna:
        with pytest.raises(SourceFailure, match=r"ended with exit status 255: .*Connection refused"):
            await luna.poll()


async def test_the_collector_is_the_one_its_settings_build(appliance: Appliance, tmp_path: Path) -> None:
    made = CommandSettings.model_validate({"name": "luna", "kind": "command", "runs": [appliance.run("print")]})
    luna = made.build(CollectorContext(state_directory=tmp_path))
    poll = await luna.poll()
    await luna.close()

    assert 290 < poll.next_in_seconds <= 300


def test_poll_explains_what_is_run(appliance: Appliance, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    run = f"{{command: [{appliance.program}, print, hsm_show], parser: lunash-hsm-show}}"
    file.write_text(f"sources: [{{name: luna, kind: command, every: 60s, runs: [{run}]}}]\n", encoding="utf-8")
    file.chmod(0o444)
    appliance.program.chmod(0o555)
    words = [sys.executable, "-m", "hsm_agent", "poll", "--explain", "--format", "json", "--config", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT)
    (shown,) = json.loads(done.stdout)

    assert (done.returncode, done.stderr) == (0, "")
    assert (shown["kind"], shown["calls"], shown["calls_a_day"]) == ("command", {"appliance": 1}, {"appliance": 1440.0})
    assert {reading["metric"] for reading in shown["readings"]} >= {"hsm_tampered", "sensor_volts"}
