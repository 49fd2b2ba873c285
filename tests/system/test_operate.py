"""What an operator does with a running agent: reload, silence, test, resend, forget, stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.agent import AgentProcess, source
from tests.peers.require import require
from tests.peers.rsyslog import Rsyslog
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.peers.syslog_receiver import Received


@pytest.fixture
def hsm(tmp_path: Path) -> FakeHsm:
    made = FakeHsm(tmp_path / "hsm", "payments")
    made.set_memory(total=1_000_000, free=900_000)
    return made


@pytest.fixture
async def rsyslog(tmp_path: Path) -> AsyncIterator[Rsyslog]:
    async with Rsyslog(program=require("rsyslogd"), folder=tmp_path) as peer:
        yield peer


@pytest.fixture
async def agent(tmp_path: Path, hsm: FakeHsm, rsyslog: Rsyslog) -> AsyncIterator[AgentProcess]:
    async with AgentProcess(
        tmp_path,
        sources=[source("fake", hsm.module, hsm.environment)],
        deliver=[{"name": "siem", "kind": "syslog", "to": f"relp:127.0.0.1:{rsyslog.ports['relp']}"}],
    ) as process:
        await process.until(lambda status: bool(status["tokens"]))
        yield process


async def _received(rsyslog: Rsyslog, kind: str, count: int = 1, *, containing: str = "") -> list[Received]:
    async with asyncio.timeout(10):
        while True:
            found = [r for r in rsyslog.received() if r.message_id == kind and containing in r.text]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def _raise_alarm(agent: AgentProcess, hsm: FakeHsm) -> dict[str, Any]:
    hsm.set_memory(free=50_000)
    status = await agent.until(lambda status: len(status["alarms"]) == 1)
    alarm: dict[str, Any] = status["alarms"][0]
    return alarm


async def test_sigterm_drains_and_says_what_stays(agent: AgentProcess, hsm: FakeHsm, rsyslog: Rsyslog) -> None:
    await _raise_alarm(agent, hsm)
    await _received(rsyslog, "ALARM_RAISED")
    await rsyslog.kill()
    hsm.set_memory(free=900_000)
    await agent.until(lambda status: not status["alarms"])
    began = asyncio.get_running_loop().time()

    assert await agent.stop() == 0
    assert asyncio.get_running_loop().time() - began < 5.5
    assert "1 event for sink siem stays spooled until the next start" in agent.log
    assert not (agent.control).exists()

    await rsyslog.start()
    await agent.start()
    await _received(rsyslog, "ALARM_CLEARED")


async def test_a_bad_file_is_refused_whole_and_the_old_one_stays(agent: AgentProcess, rsyslog: Rsyslog) -> None:
    agent.settings["sources"][0]["modul"] = "/nowhere"
    agent.configure()
    os.kill(agent.pid, signal.SIGHUP)
    (notice,) = await _received(rsyslog, "NOTICE", containing="refused")

    assert "sources.0.modul: " in notice.text
    assert "sources.0.modul: " in agent.log
    status = await agent.status()
    assert [s["name"] for s in status["sources"]] == ["agent", "fake"]


async def test_sighup_swaps_sources_rules_and_sinks_and_tells_both_digests(
    agent: AgentProcess, hsm: FakeHsm, rsyslog: Rsyslog
) -> None:
    alarm = await _raise_alarm(agent, hsm)
    await _received(rsyslog, "ALARM_RAISED")
    agent.settings["sources"].append(source("second", hsm.module, hsm.environment))
    agent.settings["deliver"].append({"name": "plain", "kind": "syslog", "to": f"tcp:127.0.0.1:{rsyslog.ports['tcp']}"})
    agent.configure()
    os.kill(agent.pid, signal.SIGHUP)
    status = await agent.until(lambda s: len(s["tokens"]) == 2 and len(s["sinks"]) == 2)

    assert alarm["alarm_id"] in {a["alarm_id"] for a in status["alarms"]}
    (notice, *_) = await _received(rsyslog, "NOTICE", containing="Configuration loaded: SHA-256 ")
    assert notice.data["hsm@32473"]["source"] == "agent"
    # the new sink is told what is raised, under the same eventId
    told = await _received(rsyslog, "ALARM_RAISED", 2)
    first = [r for r in told if r.data["hsm@32473"]["source"] == "fake"]
    assert len({r.data["hsm@32473"]["eventId"] for r in first}) == 1

    agent.settings["sources"].pop()
    agent.settings["deliver"].pop()
    agent.settings["rules"] = [{"name": "token-memory", "enabled": False}]
    agent.configure()
    os.kill(agent.pid, signal.SIGHUP)
    await agent.until(lambda s: not s["alarms"] and len(s["tokens"]) == len(s["sinks"]) == 1)
    (cleared, *_) = await _received(rsyslog, "ALARM_CLEARED", containing="withdrawn")
    assert cleared.data["hsm@32473"]["alarmId"]
    assert "sink plain left the configuration" in agent.log


async def test_a_key_that_needs_a_restart_refuses_the_reload(agent: AgentProcess, rsyslog: Rsyslog) -> None:
    agent.settings["agent"]["name"] = "another"
    agent.configure()
    os.kill(agent.pid, signal.SIGHUP)

    (notice,) = await _received(rsyslog, "NOTICE", containing="refused")
    assert "agent.name: needs a restart" in notice.text


async def test_a_silence_holds_the_raise_back_and_its_end_tells_it(
    agent: AgentProcess, hsm: FakeHsm, rsyslog: Rsyslog
) -> None:
    code, out, err = await agent.run(
        "silence", "-c", str(agent.file), "--source", "fake", "--for", "1h", "--reason", "key ceremony"
    )
    assert (code, err) == (0, "")
    silence_id = out.split()[0]
    alarm = await _raise_alarm(agent, hsm)
    assert alarm["silenced"] is True
    assert not [r for r in rsyslog.received() if r.message_id == "ALARM_RAISED"]

    await agent.kill()
    await agent.start()
    status = await agent.until(lambda s: bool(s["silences"]))
    assert status["silences"][0]["reason"] == "key ceremony"
    listing = await agent.run("silence", "list", "-c", str(agent.file))
    assert silence_id in listing[1]
    code, out, _ = await agent.run("resend", "--sink", "siem", "-c", str(agent.file))
    assert out.splitlines() == [
        "0 alarms sent again to siem",
        "1 alarm is silenced and not sent: hsm-agent silence list",
    ]
    words = ("silence", "-c", str(agent.file), "--source", "fke", "--for", "1m", "--reason", "a slip")
    code, _, err = await agent.run(*words)
    assert (code, "warning: no source matches 'fke', did you mean 'fake'?" in err) == (0, True)

    code, _, _ = await agent.run("silence", "end", silence_id, "-c", str(agent.file))
    assert code == 0
    (raised,) = await _received(rsyslog, "ALARM_RAISED")
    assert raised.data["hsm@32473"]["alarmId"] == alarm["alarm_id"]
    await _received(rsyslog, "NOTICE", containing="key ceremony")
    assert (await agent.run("silence", "end", "nonsense", "-c", str(agent.file)))[0] == 1


async def test_a_silence_with_a_glob_without_end_is_refused_by_its_name(agent: AgentProcess) -> None:
    code, _, err = await agent.run(
        "silence", "-c", str(agent.file), "--resource", "*a" * 30_000, "--for", "1h", "--reason", "none"
    )

    assert (code, err) == (1, "hsm-agent: resource: longer than 256 characters\n")


async def test_a_test_notification_says_of_each_sink_whether_it_took_it(agent: AgentProcess, rsyslog: Rsyslog) -> None:
    code, out, _ = await agent.run("test-notification", "-c", str(agent.file))

    assert (code, out) == (0, "siem: accepted\n")
    (test,) = await _received(rsyslog, "TEST")
    assert "TEST" in test.text
    assert test.pri & 7 == 6

    await rsyslog.kill()
    code, out, _ = await agent.run("test-notification", "--sink", "siem", "-c", str(agent.file))
    assert code == 1
    assert out.startswith("siem: not accepted yet (")
    assert (await agent.run("test-notification", "--sink", "nobody", "-c", str(agent.file)))[0] == 1


async def test_resend_tells_one_sink_again_what_is_raised(agent: AgentProcess, hsm: FakeHsm, rsyslog: Rsyslog) -> None:
    await _raise_alarm(agent, hsm)
    await _received(rsyslog, "ALARM_RAISED")
    code, out, _ = await agent.run("resend", "--sink", "siem", "-c", str(agent.file))

    assert (code, out) == (0, "1 alarm sent again to siem\n")
    first, second = await _received(rsyslog, "ALARM_RAISED", 2)
    assert first.data["hsm@32473"]["eventId"] == second.data["hsm@32473"]["eventId"]


async def test_an_alarm_whose_token_is_gone_for_good_is_forgotten(
    agent: AgentProcess, hsm: FakeHsm, rsyslog: Rsyslog
) -> None:
    hsm.set_absent(token="payments")
    status = await agent.until(lambda s: any(a["rule"] == "token-missing" for a in s["alarms"]))
    (alarm,) = [a for a in status["alarms"] if a["rule"] == "token-missing"]
    assert alarm["severity"] == "warning"

    code, _, _ = await agent.run("alarms", "forget", alarm["alarm_id"], "-c", str(agent.file))
    assert code == 0
    await _received(rsyslog, "ALARM_CLEARED", containing="forgotten")
    await agent.until(lambda s: not [each for each in s["readings"] if each["resource"] == "payments"])
    polls = (await agent.status())["agent"]["polls"]
    status = await agent.until(lambda s: s["agent"]["polls"] >= polls + 3)
    assert not status["alarms"], "it must not come back"
    assert (await agent.run("alarms", "forget", "nonsense", "-c", str(agent.file)))[0] == 1


async def test_the_spool_can_be_listed_shown_and_dropped(agent: AgentProcess, hsm: FakeHsm, rsyslog: Rsyslog) -> None:
    await rsyslog.kill()
    await _raise_alarm(agent, hsm)
    code, out, _ = await agent.run("spool", "list", "--format", "json", "-c", str(agent.file))
    (entry,) = json.loads(out)
    assert code == 0
    assert (entry["kind"], entry["rule"]) == ("ALARM_RAISED", "token-memory")
    assert list(entry["waiting_for"]) == ["siem"]

    _, out, _ = await agent.run("spool", "list", "-c", str(agent.file))
    assert "siem (" in out
    assert "{'siem'" not in out

    _, out, _ = await agent.run("spool", "show", entry["event_id"], "-c", str(agent.file))
    assert json.loads(out)["alarm_id"]
    assert (await agent.run("spool", "drop", entry["event_id"], "-c", str(agent.file)))[0] == 0
    _, out, _ = await agent.run("spool", "list", "--format", "json", "-c", str(agent.file))
    assert [e["kind"] for e in json.loads(out)] == ["NOTICE"]  # the act itself is told
    assert (await agent.run("spool", "show", "nonsense", "-c", str(agent.file)))[0] == 1


async def test_status_of_an_agent_that_does_not_run_is_one_line_and_1(agent: AgentProcess) -> None:
    code, out, _ = await agent.run("status", "-c", str(agent.file))
    assert code == 0
    assert "payments" in out
    await agent.stop()

    code, out, err = await agent.run("status", "-c", str(agent.file))
    assert (code, out) == (1, "")
    assert err.startswith("hsm-agent: the agent is not running")
    assert err.count("\n") == 1


async def test_a_second_agent_on_the_same_state_is_refused(agent: AgentProcess) -> None:
    code, _, err = await agent.run("run", "-c", str(agent.file))

    assert code == 1
    assert str(agent.pid) in err


async def test_systemd_is_told_ready_reloading_stopping_and_the_watchdog(tmp_path: Path, hsm: FakeHsm) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(place))
        channel.setblocking(False)
        async with AgentProcess(
            tmp_path,
            sources=[source("fake", hsm.module, hsm.environment)],
            environment={"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "400000"},
        ) as agent:
            await agent.until(lambda s: bool(s["tokens"]))
            os.kill(agent.pid, signal.SIGHUP)
            said: list[str] = []
            async with asyncio.timeout(20):
                while said.count("READY=1") < 2 or said.count("WATCHDOG=1") < 3:
                    said += (await asyncio.get_running_loop().sock_recv(channel, 4096)).decode().splitlines()
            await agent.stop()
        with contextlib.suppress(BlockingIOError):
            while True:
                said += channel.recv(4096).decode().splitlines()

    assert said[0] == "READY=1"
    assert said.count("READY=1") == 2
    assert "RELOADING=1" in said
    assert any(line.startswith("MONOTONIC_USEC=") for line in said)
    assert "STOPPING=1" in said[-3:]


async def test_alarms_of_a_token_that_left_the_configuration_are_withdrawn(
    agent: AgentProcess, hsm: FakeHsm, rsyslog: Rsyslog
) -> None:
    hsm.softhsm.create_token("archive")
    await agent.stop()
    await agent.start()
    hsm.set_memory(free=50_000)
    await agent.until(lambda s: {a["resource"] for a in s["alarms"]} == {"payments", "archive"})
    agent.settings["sources"][0]["tokens"] = ["pay*"]
    agent.configure()
    os.kill(agent.pid, signal.SIGHUP)

    status = await agent.until(lambda s: len(s["alarms"]) == 1)
    assert status["alarms"][0]["resource"] == "payments"
    assert [token["resource"] for token in status["tokens"]] == ["payments"]
    (cleared,) = await _received(rsyslog, "ALARM_CLEARED", containing="withdrawn")
    assert cleared.data["hsm@32473"]["resource"] == "archive"
