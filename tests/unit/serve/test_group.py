"""The group in the status document, and in the words for people."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hsm_agent.model import GroupRole, GroupStatus
from hsm_agent.serve.group import group_document, group_line, group_troubles, member_entry
from tests.fakes.groups import LEADER, STANDBY, WELL


def document(status: GroupStatus = WELL, **changes: Any) -> dict[str, Any]:
    return group_document(replace(status, **changes))


def test_the_document_is_strict_json_and_has_what_is_promised() -> None:
    found = json.loads(json.dumps(document(problem="a\x1b[31m"), allow_nan=False))

    assert {key: found[key] for key in ("name", "role", "epoch", "leader", "untold", "differs")} == {
        "name": "emea", "role": "standby", "epoch": 812, "leader": "a", "untold": 0, "differs": False,
    }  # fmt: skip
    assert (found["beat_age_seconds"], found["lag_seconds"]) == (0.4, 0.0)
    assert "\x1b" not in found["problem"]
    assert [(one["name"], one["role"], one["up"]) for one in found["members"]] == [
        ("a", "leader", True),
        ("b", "standby", True),
    ]


def test_what_is_not_known_is_null() -> None:
    found = document(GroupStatus(group="emea", name="b", role=GroupRole.ISOLATED))

    assert (found["beat_age_seconds"], found["lag_seconds"], found["commit_seconds"]) == (None, None, None)


def test_a_group_that_is_well_has_no_troubles() -> None:
    leading = replace(WELL, name="a", role=GroupRole.LEADER)

    assert [*group_troubles(document())] == []
    assert [*group_troubles(document(leading))] == []


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"role": GroupRole.ALONE, "problem": "2 of 3 are down"}, "b is alone: 2 of 3 are down"),
        ({"role": GroupRole.ISOLATED, "leader": ""}, "b is isolated: etcd has no quorum that it can reach"),
        ({"problem": "the name b is taken"}, "the name b is taken"),
        ({"is_connected": False}, "b does not reach etcd"),
        ({"is_caught_up": False}, "b is catching up"),
        ({"leader": ""}, "nobody leads"),
        ({"members": (replace(LEADER, is_up=False), STANDBY)}, "a is not there"),
        ({"members": (replace(LEADER, config_differs=True), STANDBY)}, "a has another configuration"),
        ({"members": (STANDBY,)}, "there is no other member: nobody takes over"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(changes: dict[str, Any], trouble: str) -> None:
    assert [*group_troubles(document(**changes))] == [trouble]


def test_one_line_says_what_the_agent_does_and_who_leads() -> None:
    assert group_line(document()) == "group emea: standby, a leads, last beat 400ms ago, epoch 812, nothing untold"
    leading = document(name="a", role=GroupRole.LEADER, untold=2, lag_seconds=1.5)
    assert group_line(leading) == ("group emea: leader, last beat 400ms ago, 2s behind, epoch 812, 2 events untold")


@pytest.mark.parametrize(
    ("changes", "state", "told"),
    [
        ({}, "standby", "3 of 3 sources up, version 0.1.0, clock +0.2 s"),
        ({"config_differs": True, "version": "", "clock_offset_seconds": None}, "standby", "3 of 3 sources up, another configuration"),
        ({"clock_offset_seconds": -0.003}, "standby", "3 of 3 sources up, version 0.1.0"),
        ({"clock_offset_seconds": None, "seconds_since_seen": 18.0}, "standby", "3 of 3 sources up, version 0.1.0, seen 18s ago"),
        ({"is_up": False, "seconds_since_seen": 75.0}, "down", "seen 1m 15s ago"),
        ({"is_up": False, "seconds_since_seen": None}, "down", "never seen"),
    ],
)  # fmt: skip
def test_a_member_is_told_by_what_it_reads(changes: dict[str, Any], state: str, told: str) -> None:
    (entry,) = document(members=(replace(STANDBY, **changes),))["members"]

    assert (member_entry(entry).state, member_entry(entry).told) == (state, told)
