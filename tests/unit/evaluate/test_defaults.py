"""Every default rule on a recorded series, and what its texts say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from hsm_agent.evaluate.defaults import DEFAULT_RULES
from hsm_agent.evaluate.messages import FIELDS
from hsm_agent.metrics import METRICS
from tests.fakes.examples import THOROUGH
from tests.unit.evaluate import recorded
from tests.unit.evaluate.judging import Judge

if TYPE_CHECKING:
    from hsm_agent.model import Event
    from tests.unit.evaluate.recorded import Recorded

SNMP_TEXT_OCTETS = 255
LABELS = {
    "login-attempts": {"role"},
    "role-locked": {"role"},
    "traps-malformed": {"sender", "authentic"},
    "traps-refused": {"sender", "reason"},
    "traps-lost": {"sender", "reason"},
    "log-match": {"pattern"},
    "group-member-down": {"member"},
    "group-member-unfit": {"member"},
    "group-clock": {"member"},
}
"""Labels that every reading of a rule's metrics has, so that its text may name them."""


def replay(series: Recorded, *, restarts: int = 0) -> list[tuple[float, Event]]:
    """The events of a series, with that many restarts spread over it."""
    judge, found = Judge(*DEFAULT_RULES), []
    for index, value in enumerate(series.values):
        if restarts and index % max(1, len(series.values) // restarts) == 0:
            judge.restart()
        events = judge.read(
            index * series.every,
            value,
            series.metric,
            source=series.source,
            resource=series.resource,
            labels=series.labels_at(index),
            limit=series.limit,
        )
        found += [(index * series.every, event) for event in events]
    return found


@pytest.mark.parametrize("series", recorded.ALL, ids=lambda series: series.name)
def test_a_recorded_series_leads_to_its_events_however_often_the_agent_restarts(series: Recorded) -> None:
    events = replay(series)

    assert tuple((e.rule, e.kind.name, e.severity.value, at) for at, e in events) == series.expect
    assert max((len(event.text.encode()) for _, event in events), default=0) <= SNMP_TEXT_OCTETS
    if THOROUGH or len(series.values) < 400:
        assert replay(series, restarts=20) == events


@pytest.mark.parametrize("rule", DEFAULT_RULES, ids=lambda rule: rule.name)
def test_every_default_rule_is_raised_and_cleared_by_a_recorded_series(rule: object) -> None:
    name = getattr(rule, "name", "")
    kinds = [kind for series in recorded.ALL for found, kind, _, _ in series.expect if found == name]

    assert kinds.count("RAISED") >= 1
    assert kinds.count("RAISED") == kinds.count("CLEARED")


def test_the_default_rules_are_those_of_the_promise() -> None:
    assert {rule.name for rule in DEFAULT_RULES} == {
        "token-memory",
        "token-storage",
        "token-sessions",
        "session-leak",
        "object-count",
        "audit-fill",
        "audit-time-to-full",
        "audit-not-draining",
        "operation-rate",
        "storage-forecast",
        "source-down",
        "source-errors",
        "token-missing",
        "token-unresponsive",
        "pin",
        "login-attempts",
        "role-locked",
        "firmware-changed",
        "policy-changed",
        "ha-member",
        "tamper",
        "clock-offset",
        "appliance-trouble",
        "partition-zeroized",
        "audit-logging",
        "appliance",
        "appliance-part",
        "temperature",
        "temperature-own",
        "appliance-cpu",
        "appliance-memory",
        "appliance-disk",
        "appliance-link",
        "certificate",
        "declared-date",
        "declared-age",
        "canary",
        "sink-down",
        "publishing",
        "fleet-agent",
        "crl",
        "spool-filling",
        "events-dropped",
        "events-undelivered",
        "spool-failed",
        "pipeline-stalled",
        "snmpv3-held",
        "vendor-alarm",
        "traps-refused",
        "traps-malformed",
        "traps-lost",
        "trail-chain",
        "trail-gap",
        "trail-silent",
        "trail-logins",
        "trail-pin-locked",
        "trail-zeroize",
        "trail-backup",
        "log-match",
        "cloudhsm-unhealthy",
        "cloudhsm-capacity",
        "group-degraded",
        "group-trouble",
        "group-member-down",
        "group-member-unfit",
        "group-config",
        "group-clock",
    }


def test_default_rules_stand_on_known_metrics_and_known_rules() -> None:
    names = {rule.name for rule in DEFAULT_RULES}

    assert len(names) == len(DEFAULT_RULES)
    for rule in DEFAULT_RULES:
        assert set(rule.metrics) <= set(METRICS)
        assert set(rule.inhibited_by) <= names
        assert set(re.findall(r"\{(\w+)\}", rule.text)) <= FIELDS | LABELS.get(rule.name, set())


def test_a_source_that_is_down_holds_back_what_hangs_on_it_and_nothing_else() -> None:
    free = {rule.name for rule in DEFAULT_RULES if not rule.inhibited_by}

    own = {"pipeline-stalled", "sink-down", "crl", "spool-filling", "events-dropped", "events-undelivered"}
    own |= {"snmpv3-held", "spool-failed", "publishing"}
    own |= {"group-degraded", "group-trouble", "group-member-down", "group-member-unfit", "group-config", "group-clock"}
    assert free == {"source-down", *own}


def test_every_further_wrong_login_is_told_under_one_alarm_until_a_good_one() -> None:
    judge, told = Judge(*DEFAULT_RULES), []
    for minute, left in enumerate((10, 9, 9, 8, 8, 10)):
        labels = (("role", "crypto_officer"),)
        told += judge.read(minute * 60.0, left, "token_login_attempts_left", labels=labels)

    assert [event.kind.name for event in told] == ["RAISED", "RAISED", "CLEARED"]
    assert len({event.alarm_id for event in told}) == 1
    assert "Wrong login as crypto_officer on token luna/keys: attempts left 10 -> 8" in told[1].text
