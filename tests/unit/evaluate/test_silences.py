"""What a silence covers."""

from __future__ import annotations

import pytest

from hsm_agent.evaluate.silences import Silence


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
