"""What a silence covers."""

from __future__ import annotations

import pytest

from hsm_agent.evaluate.alarms import unmatched_globs
from hsm_agent.evaluate.state import Silence


def silence(source: str = "*", resource: str = "*", rule: str = "*") -> Silence:
    return Silence(
        silence_id="s-1",
        source=source,
        resource=resource,
        rule=rule,
        until=2.0,
        reason="maintenance",
        by_uid=0,
        created=1.0,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(silence(), True, id="everything"),
        pytest.param(silence(source="luna-*", resource="k??s", rule="token-*"), True, id="globs"),
        pytest.param(silence(source="luna-b"), False, id="another source"),
        pytest.param(silence(resource="keys2"), False, id="another resource"),
        pytest.param(silence(rule="pin"), False, id="another rule"),
    ],
)
def test_coverage(found: Silence, expected: bool) -> None:
    assert found.covers("token-memory", "luna-a", "keys") is expected


def test_the_scope_says_what_is_held_back() -> None:
    assert silence(source="luna-a").scope == "rule * on luna-a/*"


PLACES = {("luna-a", ""), ("luna-a", "pay"), ("luna-b", "root"), ("agent", "")}


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        pytest.param({}, [], id="everything"),
        pytest.param({"source": "luna-?", "resource": "pay", "rule": "token-*"}, [], id="all of it known"),
        pytest.param({"source": "lunaa"}, ["no source matches 'lunaa', did you mean 'luna-a'?"], id="a source"),
        pytest.param({"source": "luna-b", "resource": "pay"}, ["no resource matches 'pay',"], id="of another source"),
        pytest.param({"rule": "pinn"}, ["no rule in force matches 'pinn', did you mean 'pin'?"], id="a rule"),
        pytest.param(
            {"source": "x", "resource": "y"}, ["no source matches 'x',", "no resource matches 'y',"], id="two"
        ),
    ],
)
def test_what_a_silence_names_and_nothing_bears_is_told(scope: dict[str, str], said: list[str]) -> None:
    silence = Silence(silence_id="s", until=2.0, reason="work", by_uid=0, created=1.0, **scope)

    found = unmatched_globs(silence, PLACES, ["pin", "token-memory"])

    assert found == [f"{each} what comes under that name later is silenced" for each in said]
