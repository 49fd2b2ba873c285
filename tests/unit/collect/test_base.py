"""What the settings of every kind of source have in common."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.command.source import CommandSettings
from hsm_agent.collect.pkcs11.source import Pkcs11Settings


def _pkcs11(**keys: Any) -> Pkcs11Settings:
    return Pkcs11Settings.model_validate({"name": "a", "kind": "pkcs11", "module": "/m.so", **keys})


@pytest.mark.parametrize(("every", "timeout"), [("60s", "10s"), ("1s", "119s"), ("5m", "10m"), ("50ms", "30s")])
def test_a_poll_may_be_slow_as_long_as_it_is_not_taken_for_none(every: str, timeout: str) -> None:
    assert _pkcs11(every=every, timeout=timeout).timeout > 0


@pytest.mark.parametrize(
    ("every", "timeout", "most"), [("60s", "3m", "120"), ("1s", "2m", "119"), ("5m", "11m", "600")]
)
def test_a_time_out_beyond_the_patience_of_source_down_is_refused(every: str, timeout: str, most: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _pkcs11(every=every, timeout=timeout)

    (error,) = caught.value.errors()
    assert "come too late for source-down" in error["msg"]
    assert error["msg"].endswith(f"raise every, or lower timeout to {most} s")


def test_there_is_a_longest_time_out() -> None:
    runs = [{"command": ["true"], "parser": "lunash-audit"}]
    with pytest.raises(ValidationError, match="less than or equal to 3600"):
        CommandSettings.model_validate({"name": "a", "kind": "command", "every": "10h", "timeout": "61m", "runs": runs})
