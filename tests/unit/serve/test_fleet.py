"""The rows of a fleet: what is not known is null, and what needs somebody stands first."""

from __future__ import annotations

from hsm_agent.collect.fleet.parse import missing_readings, readings_of
from hsm_agent.collect.fleet.sightings import Look, Sightings, Stored
from hsm_agent.model import Reading, Severity
from hsm_agent.serve.fleet import fleet_rows
from hsm_agent.wire.agent_report import SEVERITIES, AgentReport, encode
from tests.fakes.fleet import NOW, report

LOOK = Look(monotonic=1000.0, wall=NOW)
QUIET = dict.fromkeys(SEVERITIES, 0)


def readings(agent: str, value: AgentReport | bytes, *, then: float = 0.0) -> list[Reading]:
    """The readings of an agent that published, and was looked at again `then` seconds later."""
    octets = encode(value) if isinstance(value, AgentReport) else value
    found = {agent: Stored(value=octets, revision=7)}
    later = Look(monotonic=LOOK.monotonic + then, wall=LOOK.wall + then)
    sightings = Sightings().updated(found, LOOK, silent_after=None).updated(found, later, silent_after=None)
    return [*readings_of("fleet", agent, sightings.agents[agent], later, None)]


def test_a_row_says_what_the_agent_said() -> None:
    (row,) = fleet_rows(readings("fra-1", report()))

    assert row == {
        "source": "fleet",
        "agent": "fra-1",
        "state": "up",
        "site": "fra",
        "version": "0.1.0",
        "started": "2026-09-21T13:13:20Z",
        "silent_seconds": 0.0,
        "clock_offset_seconds": None,
        "alarms": {"critical": 1, "major": 0, "minor": 0, "warning": 2, "indeterminate": 0},
        "worst": "token-memory luna-a/payments: full",
        "sources_down": 1,
        "down": "luna-b",
        "remark": "",
    }


def test_of_one_that_is_silent_alarms_and_sources_are_null() -> None:
    (row,) = fleet_rows(readings("fra-1", report(), then=300))

    assert (row["state"], row["site"], row["sources_down"]) == ("silent", "fra", None)
    assert row["alarms"] == dict.fromkeys(("critical", "major", "minor", "warning", "indeterminate"))
    assert row["remark"] == "silent for 5m, its last report says 2026-09-21T14:13:20Z"


def test_one_that_cannot_be_read_is_unknown_with_the_reason() -> None:
    (row,) = fleet_rows(readings("fra-1", b"{"))

    assert (row["state"], row["version"], row["remark"]) == ("unknown", None, "not a JSON document")


def test_one_that_is_not_ready_says_why() -> None:
    (row,) = fleet_rows(readings("fra-1", report(problem="spool: no space left")))

    assert row["remark"] == "spool: no space left"


def test_what_needs_somebody_stands_first() -> None:
    found = [
        *readings("a-quiet", report(alarms=QUIET)),
        *readings("b-warned", report(alarms=QUIET | {Severity.WARNING: 9})),
        *readings("c-critical", report()),
        *readings("d-unreadable", b""),
        *readings("e-silent", report(), then=300),
        *missing_readings("fleet", "f-missing", LOOK),
    ]

    assert [(row["agent"], row["state"]) for row in fleet_rows(found)] == [
        ("e-silent", "silent"),
        ("f-missing", "missing"),
        ("d-unreadable", "unknown"),
        ("c-critical", "up"),
        ("b-warned", "up"),
        ("a-quiet", "up"),
    ]


def test_what_was_read_before_etcd_went_away_is_unknown() -> None:
    (row,) = fleet_rows(readings("fra-1", report()), down=["fleet"])

    assert (row["state"], row["site"], row["silent_seconds"], row["worst"]) == ("unknown", "fra", None, "")
    assert row["alarms"] == dict.fromkeys(("critical", "major", "minor", "warning", "indeterminate"))
    assert row["remark"] == "its source is down"
