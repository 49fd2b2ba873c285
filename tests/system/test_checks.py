"""Certificates, declared dates and a canary through the whole agent: told, cleared, and no wrong PIN over restarts."""

from __future__ import annotations

import asyncio
import signal
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers import pki, signing_key
from tests.peers.agent import AgentProcess
from tests.peers.softhsm import PIN, SoftHsm

if TYPE_CHECKING:
    from pathlib import Path


def raised(status: dict[str, Any]) -> dict[tuple[str, str, str], str]:
    return {(alarm["rule"], alarm["source"], alarm["resource"]): alarm["severity"] for alarm in status["alarms"]}


async def test_what_has_expired_or_was_not_done_is_an_alarm_and_clears_when_it_is_mended(tmp_path: Path) -> None:
    made = pki.make(tmp_path)
    mark = tmp_path / "mark"
    mark.write_text("2020-01-01\n")
    soon = (date.today() + timedelta(days=20)).isoformat()  # noqa: DTZ011 - the agent's own zone is the host's
    sources = [
        {
            "name": "dates", "kind": "declared", "every": "200ms",
            "dates": [
                {"name": "support", "kind": "expiry", "date": soon},
                {"name": "backup", "kind": "age", "file": str(mark), "read": "first-line", "warning": "26h"},
            ],
        },
        {"name": "certs", "kind": "certificate", "every": "200ms", "certificates": [{"file": str(made.ca)}]},
    ]  # fmt: skip
    made.ca.write_bytes(made.expired_server.certificate.read_bytes())
    tls = {
        "ca": str(made.rogue_ca),
        "certificate": str(made.expired_server.certificate),
        "key": str(made.expired_server.key),
    }
    siem = {"name": "siem", "kind": "syslog", "to": "tls:127.0.0.1:9", "tls": tls}
    async with AgentProcess(tmp_path, sources=sources, deliver=[siem]) as agent:
        first = raised(await agent.until(lambda status: len(status["alarms"]) >= 4))
        made.ca.write_bytes(made.server.certificate.read_bytes())
        mark.write_text(f"{date.today().isoformat()}\n")  # noqa: DTZ011 - as above
        await agent.until(lambda status: len(status["alarms"]) == 2)
        agent.settings["deliver"] = []
        agent.configure()
        assert agent.process is not None
        agent.process.send_signal(signal.SIGHUP)
        last = raised(await agent.until(lambda status: len(status["alarms"]) == 1))
        async with asyncio.timeout(15):  # the agent looks at itself every ten seconds
            while (await agent.ask("reading", metric="certificate_seconds_left", source="agent"))["readings"]:
                await asyncio.sleep(0.1)

    assert first == {
        ("declared-date", "dates", "support"): "warning",
        ("declared-age", "dates", "backup"): "warning",
        ("certificate", "certs", "ca.pem"): "critical",
        ("certificate", "agent", "siem"): "critical",
    }
    assert last == {("declared-date", "dates", "support"): "warning"}


async def test_a_wrong_pin_is_tried_once_by_an_agent_that_is_restarted_and_killed(tmp_path: Path) -> None:
    hsm = await asyncio.to_thread(SoftHsm, tmp_path / "hsm")
    await asyncio.to_thread(hsm.create_token, "payments")
    await asyncio.to_thread(signing_key.make, hsm.module, "payments", PIN, environment=hsm.environment)
    secret = tmp_path / "canary.pin"
    secret.touch(mode=0o600)
    secret.write_text("not-the-pin\n")
    canary = {
        "name": "canary", "kind": "canary", "module": str(hsm.module), "environment": hsm.environment, "every": "100ms",
        "token": "payments", "key": {"label": "canary"}, "mechanism": "ECDSA", "pin": {"file": str(secret)},
    }  # fmt: skip
    rule = {"name": "canary", "for": "300ms"}
    agent = AgentProcess(tmp_path, sources=[canary], rules=[rule])
    errors = []
    for _ in range(2):
        await agent.start()
        await agent.until(lambda status: ("canary", "canary", "payments") in raised(status))
        status = await agent.until(lambda status: all(each["status"] != "unknown" for each in status["sources"]))
        errors += [each["last_error"] for each in status["sources"] if each["name"] == "canary"]
        await agent.kill()
    secret.write_text(f"{PIN}\n")
    await agent.start()
    await agent.until(lambda status: raised(status) == {})
    await agent.stop()

    assert all("PIN" in error for error in errors)
    assert agent.log.count("C_Login returned CKR_PIN_INCORRECT") == 1
    assert "not-the-pin" not in agent.log
    assert PIN not in agent.log


@pytest.mark.parametrize("verb", ["check-config", "poll"])
async def test_no_verb_shows_a_pin_or_logs_in(tmp_path: Path, verb: str) -> None:
    hsm = await asyncio.to_thread(SoftHsm, tmp_path / "hsm")
    await asyncio.to_thread(hsm.create_token, "payments")
    secret = tmp_path / "canary.pin"
    secret.touch(mode=0o600)
    secret.write_text("not-the-pin\n")
    canary = {
        "name": "canary", "kind": "canary", "module": str(hsm.module), "environment": hsm.environment,
        "token": "payments", "key": {"label": "canary"}, "mechanism": "ECDSA", "pin": {"file": str(secret)},
    }  # fmt: skip
    agent = AgentProcess(tmp_path, sources=[canary], environment={"COLUMNS": "200"})
    code, out, err = await agent.run(verb, "--config", str(agent.file))

    assert code == 0, err
    assert "not-the-pin" not in out + err
    assert ("LOGS IN to token payments" if verb == "check-config" else "only the running agent signs") in out
