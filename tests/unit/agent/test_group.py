"""The agent as a member of its group: what it says of itself, what it reads of it, and when it is ready."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.agent.group import Membership, group_readings, place_of, sources_up
from hsm_agent.config.digest import group_digest
from hsm_agent.config.tree import Config
from hsm_agent.model import GroupRole, SourceState, SourceStatus
from hsm_agent.store import Store
from tests.fakes.groups import LEADER, STANDBY, WELL, FakeMember

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.model import GroupStatus, Labels

NOW = 1_790_000_000.0
GROUP: dict[str, Any] = {"name": "emea", "etcd": {"endpoints": ["http://127.0.0.1:2379"]}}
SINK = {"name": "noc", "kind": "syslog", "to": "udp:127.0.0.1:514"}


class Joined:
    """A membership with a member of the test's own."""

    def __init__(self, **keys: Any) -> None:
        self.config = Config.model_validate({"agent": {"name": "b"}, "deliver": [SINK], "group": GROUP | keys})
        assert self.config.group is not None
        self.store = Store(agent_name="b", started=NOW, labels={})
        self.refreshed = 0
        self.members: list[FakeMember] = []
        self.membership = Membership(
            self.config.group,
            self.config,
            spool=None,  # type: ignore[arg-type]  # the member's
            store=self.store,
            announce=self._announce,
            refresh=self._refresh,
            make_member=self._make,
        )

    def _make(self, *given: Any, **named: Any) -> FakeMember:
        self.members.append(FakeMember(*given, **named))
        return self.members[0]

    async def _announce(self, text: str) -> None: ...

    def _refresh(self) -> None:
        self.refreshed += 1

    @property
    def member(self) -> FakeMember:
        return self.members[0]


def values(status: GroupStatus) -> dict[tuple[str, Labels], float | None]:
    return {(one.metric, one.labels): one.value for one in group_readings(status, NOW)}


def test_a_member_is_made_of_the_configuration() -> None:
    joined = Joined()

    settings, config = joined.member.given
    assert settings is joined.config.group
    assert (config.digest, config.sinks) == (group_digest(joined.config), ("noc",))
    assert joined.member.named["name"] == "b"
    assert joined.store.group is WELL


async def test_a_copied_state_directory_is_at_another_place(tmp_path: Path) -> None:
    place = await place_of(tmp_path)

    assert place == await place_of(tmp_path)
    assert place != await place_of(tmp_path.parent)
    assert (await place_of(tmp_path / "gone")).directory == 0


def test_a_new_configuration_reaches_the_member() -> None:
    joined = Joined()

    fresh = Config.model_validate({"group": GROUP})
    joined.membership.reload(fresh)

    config, settings = joined.member.asked
    assert config.sinks == ()
    assert config.digest != group_digest(joined.config)
    assert settings is joined.membership.settings is fresh.group


def test_members_that_come_are_shown_and_what_only_changes_is_not_shown_anew() -> None:
    joined = Joined()

    joined.membership.show(WELL)
    joined.membership.show(replace(WELL, epoch=813))
    assert (joined.refreshed, joined.store.group) == (1, replace(WELL, epoch=813))
    joined.membership.show(replace(WELL, members=(STANDBY,)))
    assert joined.refreshed == 2


def test_another_role_is_read_at_once() -> None:
    joined = Joined()
    for status, leads in ((replace(WELL, role=GroupRole.LEADER), 1), (replace(WELL, role=GroupRole.STANDBY), 0)):
        joined.membership.show(status)
        shown = joined.store.reading("agent", "", "group_leading")
        assert shown is not None
        assert (shown.value, joined.refreshed) == (leads, 2 - leads)


@pytest.mark.parametrize(
    ("changes", "keys", "missing"),
    [
        ({}, {}, ""),
        ({"is_caught_up": False}, {}, "group: catching up"),
        ({"role": GroupRole.LEADER, "is_caught_up": False}, {}, ""),
        ({"role": GroupRole.ALONE}, {}, ""),
        ({"role": GroupRole.ALONE}, {"alone": "hold"}, "group: alone, alarms are held"),
        ({"role": GroupRole.ISOLATED}, {}, "group: isolated, alarms are held"),
        ({"role": GroupRole.ISOLATED}, {"isolated": "tell"}, ""),
    ],
)
def test_a_member_is_ready_where_alarms_are_told_by_it_or_by_whom_it_follows(
    changes: dict[str, Any], keys: dict[str, Any], missing: str
) -> None:
    joined = Joined(**keys)

    joined.membership.show(replace(WELL, **changes))

    assert joined.membership.unready() == missing


async def test_what_is_left_of_the_time_to_stop_is_the_members() -> None:
    joined = Joined()

    await joined.membership.drain(time.monotonic() + 60.0)
    await joined.membership.drain(time.monotonic() - 1.0)

    late, past = joined.member.asked
    assert 59.0 < late <= 60.0
    assert past == 0.1


def test_sources_that_answer_count_the_agent_itself_does_not() -> None:
    states = (SourceState.UP, SourceState.DEGRADED, SourceState.DOWN, SourceState.UNKNOWN)
    found = [SourceStatus(name=state.name, kind="x", every_seconds=1.0, state=state) for state in states]
    own = SourceStatus(name="agent", kind="agent", every_seconds=1.0, state=SourceState.UP)

    assert sources_up([own, *found]) == (2, 4)


def test_roles_are_readings() -> None:
    def role(name: GroupRole) -> list[float | None]:
        found = values(replace(WELL, role=name))
        return [found[f"group_{each}", ()] for each in ("leading", "alone", "isolated")]

    assert role(GroupRole.LEADER) == [1, 0, 0]
    assert role(GroupRole.STANDBY) == [0, 0, 0]
    assert role(GroupRole.ALONE) == [0, 1, 0]
    assert role(GroupRole.ISOLATED) == [0, 0, 1]


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({}, ""),
        ({"problem": "this agent stands back: another lease"}, "this agent stands back: another lease"),
        ({"is_caught_up": False}, "it has not caught up"),
        ({"role": GroupRole.LEADER, "is_caught_up": False}, ""),
        ({"role": GroupRole.ALONE, "problem": "no quorum"}, ""),
    ],
)
def test_what_keeps_the_agent_from_its_part_is_trouble_but_not_that_there_is_no_quorum(
    changes: dict[str, Any], trouble: str
) -> None:
    found = next(one for one in group_readings(replace(WELL, **changes), NOW) if one.metric == "group_trouble")

    assert (found.value, found.note) == (int(bool(trouble)), trouble)


def test_what_is_not_known_has_a_reason_and_no_value() -> None:
    unknown = replace(WELL, epoch=0, beat_age_seconds=None, lag_seconds=None)
    found = {one.metric: one for one in group_readings(unknown, NOW)}

    for metric in ("group_epoch", "group_beat_age_seconds", "group_follow_lag_seconds", "group_commit_seconds"):
        assert (found[metric].value, bool(found[metric].reason)) == (None, True)


def test_members_are_told_apart_by_a_label_and_one_that_is_down_has_no_figures() -> None:
    a, b = (("member", "a"),), (("member", "b"),)
    found = values(replace(WELL, members=(LEADER, replace(STANDBY, is_up=False))))

    assert [found["group_member_up", each] for each in (a, b)] == [1, 0]
    assert found["group_member_sources_up", a] == 3
    assert ("group_member_sources_up", b) not in found
    assert ("group_clock_offset_seconds", b) not in found


def test_too_few_sources_are_fewer_than_the_leader_reads() -> None:
    def limits(status: GroupStatus) -> list[float | None]:
        return [one.limit for one in group_readings(status, NOW) if one.metric == "group_member_sources_up"]

    assert limits(WELL) == [2.0, 2.0]
    assert limits(replace(WELL, members=(STANDBY,))) == [None]


def test_members_of_another_configuration_are_counted_and_named() -> None:
    other = replace(LEADER, config_differs=True)
    found = next(
        one
        for one in group_readings(replace(WELL, members=(other, STANDBY)), NOW)
        if one.metric == "group_config_differing"
    )

    assert (found.value, found.note) == (1, "a")


def test_readings_of_a_member_that_is_gone_are_dropped() -> None:
    joined = Joined()
    joined.membership.show(WELL)
    joined.store.update(joined.membership.readings(NOW))
    joined.membership.show(replace(WELL, members=(STANDBY,)))

    joined.store.update(joined.membership.readings(NOW))

    left = {series[3] for series in joined.store.of_source("agent") if series[3]}
    assert left == {(("member", "b"),)}


def test_a_member_is_forgotten_with_the_alarm_that_it_is_away() -> None:
    joined = Joined()
    for source, metric in (
        ("agent", "group_member_up"),
        ("agent", "group_clock_offset_seconds"),
        ("s", "group_member_up"),
    ):
        joined.membership.forget((source, "", metric, (("member", "c"),)))

    assert joined.member.asked == ["c"]


def test_what_each_server_said_is_not_cut_into_the_text_of_an_alarm() -> None:
    problem = "no quorum of etcd can exist, it tells for itself"
    status = replace(
        WELL, role=GroupRole.ALONE, problem=f"{problem}: https://etcd-1.example.net:2379: connection refused"
    )

    assert {one.note for one in group_readings(status, NOW) if one.metric == "group_alone"} == {problem}
