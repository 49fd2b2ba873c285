"""The verbs of the control socket at an agent that runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.agent.control_client import ControlError
from hsm_agent.agent.operator_commands import LONGEST_SILENCE_SECONDS, OperatorCommands
from hsm_agent.collect.fleet.parse import missing_readings
from hsm_agent.collect.fleet.sightings import Look
from hsm_agent.config.tree import Config
from hsm_agent.model import EventKind, GroupRole, GroupStatus, SourceState, SourceStatus
from hsm_agent.replica import GroupPipeline
from tests.unit.agent.running import EXPIRED, declare, polled, running
from tests.unit.membering import Record

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.agent.agent import Agent

UID = 1000


async def _ask(agent: Agent, verb: str, **request: Any) -> dict[str, Any]:
    return await OperatorCommands(agent).verbs()[verb].handle(request, UID)


async def _alarm_id(agent: Agent) -> str:
    (alarm,) = (await _ask(agent, "status"))["alarms"]
    return str(alarm["alarm_id"])


def test_verbs_that_change_anything_are_marked(tmp_path: Path) -> None:
    verbs = OperatorCommands(None).verbs()  # type: ignore[arg-type]  # no verb is called

    assert {name for name, verb in verbs.items() if not verb.changes_state} == {
        "status", "fleet", "overview", "reading", "spool-list", "spool-show", "group-status",
    }  # fmt: skip


async def test_a_reading_is_found_by_metric_and_globs_or_similar_names_are_suggested(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        found = await _ask(agent, "reading", metric="declared_seconds_left", source="dat*")
        elsewhere = await _ask(agent, "reading", metric="declared_seconds_left", source="other")
        near = await _ask(agent, "reading", metric="declared_second_left")

    assert [(each["source"], each["resource"]) for each in found["readings"]] == [("dates", "support")]
    assert elsewhere["readings"] == []
    assert [each["source"] for each in elsewhere["elsewhere"]] == ["dates"]
    assert "declared_seconds_left" in near["near"]


@pytest.mark.parametrize(
    ("verb", "request_", "names"),
    [
        ("reading", {"metric": "x", "labels": ["no", "mapping"]}, "labels"),
        ("reading", {"metric": "x", "source": "*" * 300}, "source"),
        ("spool-list", {"after": "two"}, "after"),
        ("spool-show", {"event_id": "none"}, "none"),
        ("spool-drop", {"event_id": "none"}, "none"),
        ("forget", {"alarm_id": "none"}, "none"),
        ("silence", {"seconds": 0, "reason": "r"}, "silence"),
        ("silence", {"seconds": "long", "reason": "r"}, "silence"),
        ("silence", {"seconds": LONGEST_SILENCE_SECONDS + 1, "reason": "r"}, "silence"),
        ("silence", {"seconds": 60, "reason": " \n"}, "reason"),
        ("silence", {"seconds": 60, "reason": "r", "rule": "?" * 300}, "rule"),
        ("silence", {"seconds": 60, "reason": "r", "source": "M\udcfcnchen*"}, "source"),
        ("silence-end", {"id": "none"}, "none"),
        ("resend", {"sink": "other"}, "noc"),
        ("test-notification", {"sink": "other"}, "noc"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_by_name_and_changes_nothing(
    tmp_path: Path, verb: str, request_: dict[str, Any], names: str
) -> None:
    async with running(tmp_path) as (agent, sink):
        with pytest.raises(ControlError, match=names):
            await _ask(agent, verb, **request_)

        assert agent.pipeline.alarm_state.silences == {}
        assert sink.events == []


async def test_a_test_notification_waits_for_the_sink_and_says_that_it_accepted(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, sink):
        result = await _ask(agent, "test-notification")

        assert result["accepted"]
        assert result["sinks"] == {"noc": "accepted"}
        assert sink.accepted == [result["event_id"]]


async def test_a_test_notification_without_any_sink_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        await agent.sinks.replace({}, [])

        with pytest.raises(ControlError, match="no sink"):
            await _ask(agent, "test-notification")


async def test_a_silence_holds_a_raise_back_and_its_end_sends_it(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, sink):
        silence = await _ask(agent, "silence", seconds=3600, reason="maintenance\nof the HSM", source="dates")
        await declare(tmp_path, EXPIRED)
        await polled(agent)
        (alarm,) = (await _ask(agent, "status"))["alarms"]
        assert alarm["silenced"]
        assert sink.kinds == ["NOTICE"]

        await _ask(agent, "silence-end", id=silence["id"])

        await sink.until(lambda: "RAISED" in sink.kinds)
    assert silence["warnings"] == []


async def test_acts_on_alarms_are_refused_where_another_agent_leads(tmp_path: Path) -> None:
    refusal = "two leads the group: ask it there"
    asked: dict[str, dict[str, Any]] = {
        "silence": {"seconds": 60, "reason": "r"},
        "silence-end": {"id": "s"},
        "forget": {"alarm_id": "a"},
        "resend": {"sink": "noc"},
    }
    async with running(tmp_path) as (agent, _):
        await agent.sinks.running["noc"].pump.drain(0.0)
        journal, before = Record(), agent.pipeline
        journal.judges, journal.leader = False, "two"
        agent.pipeline = GroupPipeline(
            journal=journal,
            kept={},
            alarm_state=before.alarm_state,
            rules=before.rules,
            store=agent.store,
            spool=agent.spool,
        )
        own, shared = (replace(agent.event(EventKind.NOTICE, "n"), event_id=name) for name in ("own", "shared"))
        await agent.pipeline.notify([own])
        await agent.spool.commit_addressed(agent.spool.address([shared]), {}, shared=True)
        for verb, request in asked.items():
            with pytest.raises(ControlError, match=refusal):
                await _ask(agent, verb, **request)
        with pytest.raises(ControlError, match=refusal):
            await _ask(agent, "spool-drop", event_id="shared")
        assert (await _ask(agent, "spool-drop", event_id="own"))["text"] == "own dropped"


async def test_a_silence_that_matches_nothing_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        assert (await _ask(agent, "silence", seconds=60, reason="r", source="luna-*"))["warnings"] != []


async def test_a_silence_at_a_member_that_is_alone_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        agent.store.group = GroupStatus(group="emea", name="here", role=GroupRole.ALONE)

        silence = await _ask(agent, "silence", seconds=60, reason="r")

    assert silence["warnings"] == ["this agent is alone: it is silenced here only, until a member leads"]


async def test_resend_sends_raised_alarms_once_more_and_announces_who_asked(tmp_path: Path) -> None:
    await declare(tmp_path, EXPIRED)
    async with running(tmp_path) as (agent, sink):
        await sink.until(lambda: len(sink.events) == 1)

        result = await _ask(agent, "resend", sink="noc")
        await sink.until(lambda: len(sink.events) == 3)

    assert result == {"count": 1, "silenced": 0}
    assert sink.kinds == ["RAISED", "RAISED", "NOTICE"]
    assert sink.events[0] == sink.events[1]
    assert f"uid {UID}" in sink.events[2].text


async def test_resend_counts_what_stays_silenced(tmp_path: Path) -> None:
    await declare(tmp_path, EXPIRED)
    async with running(tmp_path) as (agent, _):
        await _ask(agent, "silence", seconds=60, reason="r")

        assert await _ask(agent, "resend", sink="noc") == {"count": 0, "silenced": 1}


async def test_a_forgotten_alarm_is_cleared_for_the_sinks(tmp_path: Path) -> None:
    await declare(tmp_path, EXPIRED)
    async with running(tmp_path) as (agent, sink):
        await sink.until(lambda: len(sink.events) == 1)
        await _ask(agent, "forget", alarm_id=await _alarm_id(agent))
        await sink.until(lambda: len(sink.events) == 3)

        assert (await _ask(agent, "status"))["alarms"] == []
    assert sink.kinds == ["RAISED", "CLEARED", "NOTICE"]


async def test_an_undelivered_event_is_listed_shown_and_dropped(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        await agent.sinks.running["noc"].pump.drain(0.0)
        await agent.pipeline.notify([agent.event(EventKind.TEST, "undelivered")])
        (listed,) = (await _ask(agent, "spool-list"))["entries"]
        shown = (await _ask(agent, "spool-show", event_id=listed["event_id"]))["entry"]

        await _ask(agent, "spool-drop", event_id=listed["event_id"])

        texts = [entry.event.text for entry in await agent.spool.entries(after=0, most=10)]
    assert shown["text"] == "undelivered"
    assert shown["waiting_for"].keys() == {"noc"}
    assert "undelivered" not in texts


async def test_the_fleet_is_asked_of_the_sources_that_watch_one(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        with pytest.raises(ControlError, match="no source of kind fleet is configured"):
            await _ask(agent, "fleet")

    watching = {"name": "fleet", "kind": "fleet", "agents": ["fra-1"], "etcd": {"endpoints": ["http://127.0.0.1:9"]}}
    async with running(tmp_path, sources=()) as (agent, _):
        agent.loaded = replace(
            agent.loaded, config=Config.model_validate({"agent": {"name": "a"}, "sources": [watching]})
        )
        agent.store.sources["fleet"] = SourceStatus(
            name="fleet", kind="fleet", every_seconds=60.0, state=SourceState.UP, last_error=""
        )
        look = Look(monotonic=0.0, wall=0.0)
        agent.store.update(missing_readings("fleet", "fra-1", look))

        answer = await _ask(agent, "fleet")

    assert [(row["agent"], row["state"]) for row in answer["agents"]] == [("fra-1", "missing")]
    assert answer["sources"] == [{"name": "fleet", "status": "up", "last_error": ""}]
