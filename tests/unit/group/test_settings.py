"""The section `group` of a configuration."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.group.settings import GroupSettings

ENDPOINTS = ["http://a:2379", "http://b:2379", "http://c:2379"]


def settings(*, endpoints: list[str] | None = None, **keys: Any) -> GroupSettings:
    return GroupSettings.model_validate({"name": "emea", "etcd": {"endpoints": endpoints or ENDPOINTS}} | keys)


def test_what_is_not_written_is_what_is_safe() -> None:
    found = settings()

    assert (found.lease, found.alone_after, found.hand_over_after) == (3.0, 10.0, 120.0)
    assert (found.alone, found.isolated) == ("tell", "hold")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "-a"}, "name"),
        ({"name": "a" * 65}, "name"),
        ({"lease": "1s"}, "greater than or equal to 2"),
        ({"lease": "61s", "alone_after": "2m"}, "less than or equal to 60"),
        ({"lease": 3}, "lease"),
        ({"alone": "perhaps"}, "alone"),
        ({"alone_after": "2h"}, "alone_after"),
        ({"lease": "20s"}, "alone_after: shorter than the lease of 20 s"),
        ({"hand_over_after": "1s"}, "hand_over_after"),
        ({"ttl": "3s"}, "ttl"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        settings(**keys)


def test_the_lead_may_be_handed_over_to_nobody() -> None:
    assert settings(hand_over_after=None).hand_over_after is None


def test_no_server_is_waited_for_longer_than_a_beat() -> None:
    assert settings(lease="4s").quick_etcd.timeout == 1.0
    assert settings(etcd={"endpoints": ENDPOINTS, "timeout": "300ms"}).quick_etcd.timeout == 0.3
    assert settings().quick_etcd.endpoints == settings().etcd.endpoints


def test_it_is_told_what_a_member_does_and_what_is_to_be_mended() -> None:
    first, *lines = settings().about("a", "d1")

    assert first == "group emea: a is a member, through http://a:2379, http://b:2379, http://c:2379"
    assert lines[:4] == [
        "  digest d1: it must be the same at every member",
        "  another member leads within 4 s of the leader's end, while etcd has a quorum",
        "  what each sink guarantees holds across takeovers, too; what comes twice then has one eventId",
        "  after 10 s without etcd: judges and tells for itself where a majority of it is down, else holds its alarms",
    ]
    assert [line.partition(": ")[2].partition(":")[0] for line in lines[4:]] == [
        "group.etcd.endpoints",
        "group.etcd.user",
    ]


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        ({"endpoints": ENDPOINTS[:1]}, "group.etcd.endpoints: 1 of 3: the group has no leader as soon as"),
        ({"endpoints": ENDPOINTS[:2]}, "group.etcd.endpoints: 2 of 3: the group has no leader as soon as"),
        ({"isolated": "tell"}, "group.isolated: a member that is cut off tells as well as the leader"),
        ({}, "group.etcd.user: without a user"),
        ({}, "group.etcd.endpoints: http://"),
    ],
)
def test_what_should_not_stay_so_is_warned_of(keys: dict[str, Any], warning: str) -> None:
    assert any(line.startswith(warning) for line in settings(**keys).warnings())
