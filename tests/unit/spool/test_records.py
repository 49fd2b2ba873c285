"""What the spool tells of itself."""

from __future__ import annotations

from hsm_agent.spool.records import SpoolStats


def test_a_spool_with_a_reason_has_failed() -> None:
    well = SpoolStats(entries=0, bytes=0, used_percent=0.0, dropped_total=0, reason="")
    full = SpoolStats(entries=0, bytes=0, used_percent=0.0, dropped_total=0, reason="disk full")

    assert (well.failed, full.failed) == (False, True)
