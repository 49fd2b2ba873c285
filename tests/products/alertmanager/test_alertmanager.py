"""Agents, a real Alertmanager and a pager behind it: raised, changed, cleared, repeated, killed, and two of them.

`scripts/test-alertmanager` runs it. The route is that of integrations/alertmanager, with shorter times.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.fakes.http_receiver import Receiver
from tests.fakes.http_sinks import build
from tests.fakes.stream_server import StreamServer
from tests.fakes.syslog_events import sample
from tests.peers import pki as certificates
from tests.peers.agent import ROOT, AgentProcess
from tests.products.alertmanager.alertmanager import PASSWORD, USER, Alertmanager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DAY = 86400.0
WELL, WARNING, CRITICAL = 365 * DAY, 20 * DAY, 3 * DAY
"""Time left of a declared date: the rule declared-date is at 30 and 7 days."""


@dataclass(slots=True)
class Pager:
    """What Alertmanager told its receivers."""

    receiver: Receiver = field(default_factory=Receiver)

    @property
    def pages(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Of each notification: its status, and severity and status of each of its alerts."""
        return [
            (told["status"], sorted((one["labels"].get("severity", ""), one["status"]) for one in told["alerts"]))
            for told in (json.loads(request.body) for request in self.receiver.requests)
        ]

    async def until(self, count: int, *, seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while len(self.pages) < count:
                await asyncio.sleep(0.05)


def route(port: int) -> dict[str, Any]:
    """The example's, with the pager for every receiver, and seconds for minutes."""
    text = (ROOT / "integrations" / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    for each in (found["route"], *found["route"]["routes"]):
        each["group_wait"] = "1s"
        each["group_interval"] = "3s"
        each["repeat_interval"] = "1h"
    del found["route"]["routes"]  # one receiver for both severities, so that a change is one story
    for each in found["receivers"]:
        each["webhook_configs"] = [{"url": f"http://127.0.0.1:{port}/{each['name']}", "send_resolved": True}]
    return found


@dataclass(frozen=True, slots=True)
class Rig:
    pager: Pager
    alertmanager: Alertmanager
    date: Path

    def left(self, seconds: float) -> None:
        """So much is left of the declared date, which every agent reads."""
        part = self.date.with_suffix(".new")
        part.write_text(f"{time.time() + seconds:.0f}\n")
        part.replace(self.date)


@asynccontextmanager
async def rig(folder: Path, **options: Any) -> AsyncIterator[Rig]:
    pager = Pager()
    async with StreamServer(script=pager.receiver) as server:
        alertmanager = Alertmanager(folder=folder, configuration=route(server.port), **options)
        async with alertmanager:
            found = Rig(pager, alertmanager, folder / "date")
            found.left(WELL)
            yield found


def agent(at: Rig, folder: Path, name: str = "hsm-monitor-1", **sink: Any) -> AgentProcess:
    folder.mkdir()
    dates = [{"name": "card", "kind": "expiry", "file": str(at.date), "read": "first-line"}]
    return AgentProcess(
        folder,
        sources=[{"name": "cards", "kind": "declared", "dates": dates, "every": "200ms", "timeout": "1s"}],
        deliver=[
            {
                "name": "alerts",
                "kind": "alertmanager",
                "to": at.alertmanager.url,
                "repeat_every": "500ms",
                "timeout": "2s",
                **sink,
            }
        ],
        agent={"name": name, "labels": {"data-centre": "north", "1st": "yes"}},
    )


def severities(found: list[dict[str, Any]]) -> list[str]:
    return sorted(alert["labels"].get("severity", "") for alert in found)


async def test_raised_changed_and_cleared(tmp_path: Path) -> None:
    async with rig(tmp_path) as at, agent(at, tmp_path / "a"):
        at.left(CRITICAL)
        (alert,) = await at.alertmanager.until(lambda found: severities(found) == ["critical"])
        await at.pager.until(1)
        at.left(WARNING)
        await at.alertmanager.until(lambda found: severities(found) == ["warning"])
        at.left(WELL)
        await at.alertmanager.until(lambda found: found == [])
        await at.pager.until(2)
        async with asyncio.timeout(10):
            while at.pager.pages[-1][0] != "resolved":
                await asyncio.sleep(0.05)

    assert alert["labels"] == {
        "alertname": "declared-date",
        "severity": "critical",
        "source": "cards",
        "resource": "card",
        "metric": "declared_seconds_left",
        "agent": "hsm-monitor-1",
        "data_centre": "north",
        "_1st": "yes",
    }
    assert {"summary", "text", "value", "unit", "threshold", "alarmId", "eventId"} <= alert["annotations"].keys()
    assert at.pager.pages[0] == ("firing", [("critical", "firing")])


async def test_it_stays_on_as_long_as_an_agent_repeats_it_also_after_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path) as at, agent(at, tmp_path / "a") as running:
        at.left(CRITICAL)
        (before,) = await at.alertmanager.until(lambda found: len(found) == 1)
        await asyncio.sleep(3.0)  # longer than it is on without a repetition
        (after,) = await at.alertmanager.alerts()
        await running.kill()
        await at.alertmanager.until(lambda found: found == [], seconds=5.0)
        await running.start()
        (again,) = await at.alertmanager.until(lambda found: len(found) == 1)
        at.left(WELL)
        await at.alertmanager.until(lambda found: found == [])

    assert before["startsAt"] == after["startsAt"] == again["startsAt"]
    assert before["fingerprint"] == again["fingerprint"]
    assert after["endsAt"] > before["endsAt"]
    # The alert was told again, the alarm was not raised again.
    assert before["annotations"]["eventId"] == again["annotations"]["eventId"]


async def test_a_silence_keeps_on_what_was_told_and_holds_back_the_change(tmp_path: Path) -> None:
    async with rig(tmp_path) as at, agent(at, tmp_path / "a") as running:
        at.left(WARNING)
        await at.alertmanager.until(lambda found: severities(found) == ["warning"])
        config = ("--config", str(running.file))
        words = ("silence", *config, "--source", "cards", "--for", "10m", "--reason", "maintenance")
        code, _, errors = await running.run(*words)
        assert code == 0, errors
        at.left(CRITICAL)
        await running.until(lambda status: [alarm["severity"] for alarm in status["alarms"]] == ["critical"])
        await asyncio.sleep(3.0)
        while_silent = severities(await at.alertmanager.alerts())
        at.left(WELL)
        await at.alertmanager.until(lambda found: found == [])

    assert while_silent == ["warning"]


async def test_a_change_that_waits_while_the_agent_is_down_ends_the_old_severity(tmp_path: Path) -> None:
    """Told critical by an agent that is killed; its heir finds a warning, with an Alertmanager that is still at critical."""
    async with rig(tmp_path) as at, agent(at, tmp_path / "a", repeat_every="10s") as running:
        at.left(CRITICAL)
        await at.alertmanager.until(lambda found: severities(found) == ["critical"])
        await running.kill()
        at.left(WARNING)
        await running.start()
        await at.alertmanager.until(lambda found: severities(found) == ["warning"])


async def test_an_alertmanager_that_forgot_is_told_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as at, agent(at, tmp_path / "a"):
        at.left(CRITICAL)
        await at.alertmanager.until(lambda found: len(found) == 1)
        await at.alertmanager.kill()
        await asyncio.sleep(1.0)
        await at.alertmanager.start()
        await at.alertmanager.until(lambda found: severities(found) == ["critical"], seconds=20.0)


async def test_what_happened_while_it_was_down_is_told_when_it_is_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as at, agent(at, tmp_path / "a") as running:
        await at.alertmanager.stop()
        at.left(CRITICAL)
        await running.until(lambda status: any(sink["queued"] for sink in status["sinks"]))
        await at.alertmanager.start()
        await at.alertmanager.until(lambda found: severities(found) == ["critical"], seconds=20.0)


@pytest.mark.parametrize("leave_out", [[], ["agent"]], ids=["by the route", "by the sink"])
async def test_two_agents_are_one_page_also_when_one_clears_first(tmp_path: Path, leave_out: list[str]) -> None:
    async with rig(tmp_path) as at:
        second = tmp_path / "date-of-b"
        second.write_text(f"{time.time() + WELL:.0f}\n")
        other = Rig(at.pager, at.alertmanager, second)
        one = agent(at, tmp_path / "a", "a", leave_out=leave_out)
        two = agent(other, tmp_path / "b", "b", leave_out=leave_out)
        async with one, two:
            at.left(CRITICAL)
            other.left(CRITICAL)
            await at.alertmanager.until(lambda found: len(found) == (1 if leave_out else 2))
            await at.pager.until(1)
            at.left(WELL)
            await one.until(lambda status: status["alarms"] == [])
            await asyncio.sleep(7.0)  # two group intervals
            while_one_raises = [status for status, _ in at.pager.pages]
            on = await at.alertmanager.alerts()
            other.left(WELL)
            await at.alertmanager.until(lambda found: found == [])
            async with asyncio.timeout(10):
                while at.pager.pages[-1][0] != "resolved":
                    await asyncio.sleep(0.05)

    assert "resolved" not in while_one_raises
    assert len(on) == 1
    assert [status for status, _ in at.pager.pages].count("resolved") == 1
    # With the agent in the labels Alertmanager may say of the one page which of its alerts are over.
    assert while_one_raises.count("firing") <= (1 if leave_out else 2)


async def test_over_tls_with_a_certificate_of_our_own_and_a_password(tmp_path: Path) -> None:
    pki = certificates.make(tmp_path)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    tls = {"ca": str(pki.ca), "certificate": str(pki.agent.certificate), "key": str(pki.agent.key)}
    auth = {"user": USER, "password": {"file": str(password)}}
    async with rig(tmp_path, pki=pki) as at, agent(at, tmp_path / "a", tls=tls, auth=auth):
        at.left(CRITICAL)
        await at.alertmanager.until(lambda found: severities(found) == ["critical"])
        at.left(WELL)
        await at.alertmanager.until(lambda found: found == [])


async def test_a_wrong_password_is_a_refusal_that_loses_nothing(tmp_path: Path) -> None:
    pki = certificates.make(tmp_path)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("wrong")
    tls = {"ca": str(pki.ca), "certificate": str(pki.agent.certificate), "key": str(pki.agent.key)}
    auth = {"user": USER, "password": {"file": str(password)}}
    async with rig(tmp_path, pki=pki) as at, agent(at, tmp_path / "a", tls=tls, auth=auth) as running:
        at.left(CRITICAL)
        await running.until(lambda status: "401" in status["sinks"][0]["last_error"])
        (sink,) = (await running.status())["sinks"]

    assert sink["queued"] >= 1
    assert sink["dropped"] == 0


async def test_it_takes_whatever_an_event_holds(tmp_path: Path) -> None:
    events = sample(300)
    accepted: list[str] = []
    async with rig(tmp_path) as at:
        sink = await asyncio.to_thread(build, "alertmanager", at.alertmanager.url, timeout="5s")
        sink._clock = lambda: datetime.now(UTC).timestamp()  # type: ignore[attr-defined]
        await sink.deliver(events, lambda one: accepted.append(one.event_id))
        await sink.close()

    assert accepted == [one.event_id for one in events]


async def test_a_test_notification_pages(tmp_path: Path) -> None:
    async with rig(tmp_path) as at, agent(at, tmp_path / "a", heartbeat="1s", repeat_every="5s") as running:
        code, _, errors = await running.run("test-notification", "--config", str(running.file))
        assert code == 0, errors
        found = await at.alertmanager.until(lambda found: severities(found) == ["none", "test"])

    assert {alert["labels"]["alertname"] for alert in found} == {"hsm-agent-test", "hsm-agent-heartbeat"}
