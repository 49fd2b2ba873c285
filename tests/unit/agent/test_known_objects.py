"""Tokens and audit stores across a restart: what is remembered, for how long, and what a bad disk does to it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.agent.known_objects import ObjectMemory
from hsm_agent.agent.reload import reload
from hsm_agent.model import KnownObject, Reading, SourceState
from hsm_agent.state.known_objects import FILE_NAME, load
from hsm_agent.store import Store
from tests.fakes.present import make_alarm
from tests.unit.agent.running import SINK, polled, running, write

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from hsm_agent.model import Labels, Series

LABELS: Labels = (("label", "keys"), ("serial", "7"))
KEYS = KnownObject(source="luna", resource="keys", identity=LABELS, is_audited=True)


def store() -> Store:
    return Store(agent_name="a", started=0.0, labels={})


def reading(metric: str, value: float | None = 1, *, resource: str = "keys", labels: Labels = ()) -> Reading:
    return Reading(source="luna", resource=resource, metric=metric, value=value, time=0.0, labels=labels)


READINGS = (reading("token_present"), reading("token_info", labels=LABELS), reading("audit_records"))


def everything(_series: Series) -> bool:
    return True


async def kept(directory: Path, present: Store) -> ObjectMemory:
    memory = ObjectMemory(present, directory)
    await memory.load(everything)
    await memory.keep()
    return memory


async def test_what_was_read_is_known_after_a_restart(tmp_path: Path) -> None:
    before = store()
    before.update(READINGS)
    await kept(tmp_path, before)
    after = store()

    await ObjectMemory(after, tmp_path).load(everything)

    assert after.known == {"luna": {"keys": KEYS}}


async def test_what_left_the_configuration_meanwhile_is_not(tmp_path: Path) -> None:
    before = store()
    before.update(READINGS)
    await kept(tmp_path, before)
    after = store()

    await ObjectMemory(after, tmp_path).load(lambda series: series[0] != "luna")

    assert after.known == {}


async def test_a_restart_before_the_first_reading_forgets_nothing(tmp_path: Path) -> None:
    before = store()
    before.update(READINGS)
    await kept(tmp_path, before)

    await kept(tmp_path, store())

    assert await asyncio.to_thread(load, tmp_path) == (KEYS,)


async def test_what_could_be_read_in_part_keeps_the_rest(tmp_path: Path) -> None:
    before = store()
    before.update(READINGS)
    await kept(tmp_path, before)
    after = store()
    after.update([reading("token_present", None)])

    await kept(tmp_path, after)

    assert await asyncio.to_thread(load, tmp_path) == (KEYS,)


async def test_an_object_that_was_dropped_is_forgotten(tmp_path: Path) -> None:
    present = store()
    present.update(READINGS)
    memory = await kept(tmp_path, present)

    present.forget_resource("luna", "keys")
    await memory.keep()

    assert await asyncio.to_thread(load, tmp_path) == ()


async def test_an_object_that_is_dropped_before_it_was_read_is_forgotten_too(tmp_path: Path) -> None:
    before = store()
    before.update(READINGS)
    await kept(tmp_path, before)
    present = store()
    memory = await kept(tmp_path, present)

    present.forget_resource("luna", "keys")
    await memory.keep()

    assert await asyncio.to_thread(load, tmp_path) == ()


async def test_a_file_that_cannot_be_written_is_said_once_and_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    present = store()
    present.update(READINGS)
    (tmp_path / "known-objects.new").mkdir()
    memory = await kept(tmp_path, present)
    await memory.keep()
    said = caplog.text.count("a restart would not show these tokens until they are read")
    (tmp_path / "known-objects.new").rmdir()

    await memory.keep()

    assert said == 1
    assert await asyncio.to_thread(load, tmp_path) == (KEYS,)


async def test_a_damaged_file_is_said_and_the_agent_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).write_text("[[[", encoding="utf-8")
    present = store()

    await ObjectMemory(present, tmp_path).load(everything)

    assert present.known == {}
    assert "rows of tokens come with the first reading of each" in caplog.text


async def test_a_complete_poll_says_what_is_there_and_an_incomplete_one_does_not(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        runner = agent.sources.running["dates"].runner
        agent.store.known = {"dates": {"gone": KnownObject(source="dates", resource="gone", identity=())}}
        await agent.pipeline.take(runner.status, [], complete=False)
        after_an_incomplete_poll = dict(agent.store.known)
        await polled(agent)

        assert after_an_incomplete_poll.keys() == {"dates"}
        assert agent.store.known == {}


async def test_sources_stand_in_the_table_before_their_first_poll(tmp_path: Path) -> None:
    async with running(tmp_path, sources=("dates", "others")) as (agent, _):
        assert list(agent.store.sources) == ["agent", "dates", "others"]


async def test_what_an_alarm_is_about_is_known_even_if_the_file_is_lost(tmp_path: Path) -> None:
    after = store()
    series: Series = ("luna-a", "payments", "token_memory_private_used_percent", ())

    await ObjectMemory(after, tmp_path).load(everything, [make_alarm()])

    assert make_alarm().series == series
    assert after.known == {"luna-a": {"payments": KnownObject(source="luna-a", resource="payments", identity=())}}


async def test_a_reload_shows_new_and_changed_sources_at_once_and_what_was_known_of_them(tmp_path: Path) -> None:
    async with running(tmp_path) as (agent, _):
        status = agent.sources.running["dates"].runner.status
        known = [replace(each, source="dates") for each in READINGS]
        await agent.pipeline.take(status, known)
        await agent.objects.keep()
        settings = await asyncio.to_thread(_slower, tmp_path)

        assert await reload(agent)

        assert {name: agent.store.sources[name].state for name in settings} == {
            "dates": SourceState.UNKNOWN,
            "new": SourceState.UNKNOWN,
        }
        assert agent.store.known == {"dates": {"keys": replace(KEYS, source="dates")}}


def _slower(folder: Path) -> list[str]:
    """Another interval for the source, and a second one; so slow that neither is polled while the test looks."""
    path = write(folder, sources=("dates", "new"), deliver=[SINK])
    document = json.loads(path.read_text(encoding="utf-8"))
    for each in document["sources"]:
        each["every"] = "24h"
    path.write_text(json.dumps(document), encoding="utf-8")
    return [each["name"] for each in document["sources"]]
