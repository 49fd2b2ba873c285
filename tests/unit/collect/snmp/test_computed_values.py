"""The state of network links. Shares and infos are in test_parse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.collect.snmp.profile import Link
from hsm_agent.collect.snmp.values import RowMeanings, Unreadable, links

if TYPE_CHECKING:
    from hsm_agent.collect.series import SeriesKey
    from hsm_agent.collect.snmp.values import Meaning

LINK = Link.model_validate(
    {"metric": "host_link_up", "wanted": "wanted", "real": "real", "kind": "kind", "traffic": ["octets"]}
)
KEY: SeriesKey = ("eth0", "host_link_up", ())
NEVER = "the interface was not up yet: it never carried anything"


def state(up: set[SeriesKey] | None = None, **named: Meaning) -> float | int | str | None:
    """The value, the reason why there is none, or None for no reading."""
    facts = list(links([LINK], RowMeanings({}, named, "eth0", (1, 3)), set() if up is None else up))
    assert len(facts) <= 1
    return (facts[0].reason or facts[0].value) if facts else None


@pytest.mark.parametrize(
    ("wanted", "real", "said"),
    [
        pytest.param(1, 1, 1, id="up"),
        pytest.param(1, 5, 1, id="dormant"),
        pytest.param(1, 2, 0, id="down"),
        pytest.param(1, 6, 0, id="its card is gone"),
        pytest.param(1, 7, 0, id="down below it"),
        pytest.param(2, 2, 1, id="switched off"),
        pytest.param(3, 2, 1, id="being tested by its administrator"),
        pytest.param(1, 3, "the interface is being tested", id="being tested"),
        pytest.param(1, 4, "the appliance does not know it", id="unknown"),
        pytest.param(1, Unreadable("what came"), "what came", id="undecodable"),
    ],
)
def test_a_link_is_down_only_while_it_is_wanted_up(wanted: int, real: Meaning, said: int | str) -> None:
    assert state(wanted=wanted, real=real, kind=6, octets=1) == said


def test_an_agent_that_does_not_tell_what_is_wanted_or_carried_is_taken_by_its_word() -> None:
    assert state(real=2) == 0


def test_a_loopback_and_a_row_without_a_state_have_none() -> None:
    assert state(wanted=1, real=2, kind=24) is None
    assert state(wanted=1, kind=6, octets=1) is None


def test_a_link_that_was_never_up_is_not_missed_and_one_that_was_is() -> None:
    up: set[SeriesKey] = set()

    assert state(up, wanted=1, real=2, octets=0) == NEVER
    assert state(up, wanted=2, real=2, octets=0) == 1
    assert state(up, wanted=1, real=2, octets=0) == NEVER
    assert state(up, wanted=1, real=1, octets=0) == 1
    assert up == {KEY}
    assert state(up, wanted=1, real=2, octets=0) == 0
