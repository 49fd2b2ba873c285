from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from hsm_agent.collect.base import AnySource, CollectorContext, SourceFailure
from hsm_agent.collect.declared import DeclaredCollector, DeclaredSettings

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86400.0


def settings(*dates: dict[str, Any]) -> DeclaredSettings:
    tree = {"name": "dates", "kind": "declared", "dates": list(dates)}
    found = TypeAdapter[AnySource](AnySource).validate_python(tree)
    assert isinstance(found, DeclaredSettings)
    return found


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ({"kind": "age"}, "name exactly one of date, file"),
        ({"kind": "age", "date": "2026-10-01", "file": "/x"}, "name exactly one of date, file"),
        ({"kind": "age", "date": "next week"}, "not a date: 'next week'"),
        ({"kind": "age", "date": "2026-10-01", "read": "modified"}, "read: only with file"),
        ({"kind": "expiry", "date": "2026-10-01", "warning": "3d"}, "warning: only with kind: age"),
        ({"kind": "expiry", "file": "/x"}, "read: an expiry stands on the file's first line"),
        ({"kind": "expired", "date": "2026-10-01"}, "Input should be 'age' or 'expiry'"),
    ],
)
def test_a_date_that_says_too_little_or_too_much_is_refused(date: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings({"name": "x", **date})


def test_two_dates_of_one_name_are_refused() -> None:
    date = {"name": "x", "kind": "expiry", "date": "2026-10-01"}
    with pytest.raises(ValidationError, match=r"dates\.1\.name: "):
        settings(date, date)


async def test_dates_and_files_become_readings(tmp_path: Path) -> None:
    mark, line = tmp_path / "mark", tmp_path / "line"
    mark.touch()
    os.utime(mark, (time.time() - 2 * DAY, time.time() - 2 * DAY))
    line.write_text(f"{int(time.time() + 10 * DAY)}\n")
    found = settings(
        {"name": "backup", "kind": "age", "file": str(mark), "warning": "7d"},
        {"name": "card", "kind": "expiry", "file": str(line), "read": "first-line"},
        {"name": "support", "kind": "expiry", "date": "2000-01-01"},
    )
    collector = found.build(CollectorContext(state_directory=tmp_path))

    poll = await collector.poll()

    values = {(r.resource, r.metric): round((r.value or 0) / DAY) for r in poll.readings}
    assert values["backup", "declared_age_seconds"] == 2
    assert values["card", "declared_seconds_left"] == 10
    assert values["support", "declared_seconds_left"] < -9000
    assert [r.limit for r in poll.readings] == [7 * DAY, None, None]
    assert (poll.errors, poll.complete, poll.next_in_seconds) == ((), True, 300.0)
    assert collector.calls_a_day() == {"file": 2 * 288}
    assert (collector.pids(), await collector.forget("backup")) == ((), False)
    assert next(iter(found.about())) == "3 dates"


async def test_a_file_that_vanishes_is_an_unavailable_reading_and_an_error(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    collector = DeclaredCollector(
        settings(
            {"name": "backup", "kind": "age", "file": str(mark)},
            {"name": "support", "kind": "expiry", "date": "2000-01-01"},
        )
    )
    before = await collector.poll()
    mark.unlink()
    after = await collector.poll()

    assert before.errors == ()
    assert [r.value is None for r in after.readings] == [True, False]
    assert after.errors == (f"backup: {mark} does not exist: check the path, and what should have written it",)


async def test_a_first_line_that_is_no_date_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "mark").write_text("done\n")
    date = {"name": "backup", "kind": "age", "file": str(tmp_path / "mark"), "read": "first-line"}
    with pytest.raises(SourceFailure, match=r"backup: .*/mark: "):
        await DeclaredCollector(settings(date)).poll()
