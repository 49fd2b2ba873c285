"""Thresholds as machines and people read them."""

from __future__ import annotations

import pytest

from hsm_agent.evaluate.messages import level_of, limit_of, rate_unit
from hsm_agent.evaluate.rules import (
    DAY,
    HOUR,
    Above,
    Below,
    Changes,
    Condition,
    Falls,
    Grows,
    NotFalling,
    RateChanges,
    Reaches,
)
from hsm_agent.model import Severity

MEMORY = "token_memory_private_used_percent"
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


@pytest.mark.parametrize(
    ("condition", "severity", "metric", "limit", "expected"),
    [
        pytest.param(Above(warning=75, critical=90), WARNING, MEMORY, None, ("75", "75 %"), id="warning"),
        pytest.param(Above(warning=75, critical=90), CRITICAL, MEMORY, None, ("90", "90 %"), id="critical"),
        pytest.param(Above(warning=75, critical=90), Severity.CLEARED, MEMORY, None, ("75", "75 %"), id="cleared"),
        pytest.param(Below(warning=0), CRITICAL, "token_present", None, ("0", "0"), id="escalated"),
        pytest.param(Above(critical="own"), CRITICAL, "source_age_seconds", 180, ("180", "3m"), id="own"),
        pytest.param(
            Above(critical="own"), CRITICAL, "source_age_seconds", None, ("", "no value"), id="own without a limit"
        ),
        pytest.param(
            Grows(warning=1800, critical=7200, at_least=5),
            CRITICAL,
            "token_sessions",
            None,
            ("5 in 6 x 2h", "5 in 6 x 2h"),
            id="grows",
        ),
        pytest.param(
            RateChanges(against=HOUR, percent=50, at_least=10),
            WARNING,
            "hsm_commands_total",
            None,
            ("50 % and 10 per second against 1h ago",) * 2,
            id="rate changes",
        ),
        pytest.param(
            Reaches(level=95, warning=90 * DAY, critical=14 * DAY),
            CRITICAL,
            MEMORY,
            None,
            ("95 within 14d", "95 % within 14d"),
            id="reaches",
        ),
        pytest.param(Changes(), WARNING, "hsm_firmware_info", None, ("", ""), id="changes"),
        pytest.param(Falls(), WARNING, "token_login_attempts_left", None, ("", ""), id="falls"),
        pytest.param(NotFalling(warning=900), WARNING, "audit_records", None, ("15m", "15m"), id="not falling"),
    ],
)
def test_limit_of_a_severity(
    condition: Condition, severity: Severity, metric: str, limit: float | None, expected: tuple[str, str]
) -> None:
    assert limit_of(condition, severity, metric, limit) == expected


def test_own_is_what_the_reading_brings() -> None:
    assert level_of("own", 90.0) == 90.0
    assert level_of("own", None) is None
    assert level_of(75.0, 90.0) == 75.0


def test_a_counter_is_compared_by_its_rate() -> None:
    assert rate_unit("hsm_commands_total") == "per second"
    assert rate_unit("token_sessions") == "sessions"
