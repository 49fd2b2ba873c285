"""One answer for all requests that wait for the same, and none that was begun before its request came."""

from __future__ import annotations

import asyncio
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from hsm_agent.serve.http.connection import HttpRequest, HttpResponse
from hsm_agent.serve.http.server import render, view
from hsm_agent.serve.http.shared import SharedAnswers
from hsm_agent.threads import StuckError
from tests.fakes.present import known_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

GZIP = (b"accept-encoding", b"gzip")


class Work:
    """Counts what was begun; each piece of work waits to be let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gate = threading.Event()
        self.answers = SharedAnswers("making answers")

    def _begin(self, key: str) -> Callable[[], HttpResponse]:
        self.begun.append(key)
        number = len(self.begun)

        def work() -> HttpResponse:
            self.gate.wait(10)
            return HttpResponse(status=HTTPStatus.OK, body=b"%d" % number, content_type="text/plain")

        return work

    async def ask(self, key: str, seconds: float = 10) -> bytes:
        answer = await self.answers.get(key, lambda: self._begin(key), seconds=seconds)
        return answer.body

    async def asked(self, *keys: str) -> list[asyncio.Task[bytes]]:
        """Requests that have come one after the other, as far as each gets by itself."""
        tasks = []
        for key in keys:
            tasks.append(asyncio.create_task(self.ask(key)))
            for _ in range(5):
                await asyncio.sleep(0)
        return tasks


async def test_those_that_wait_for_the_same_share_what_was_begun_after_they_came() -> None:
    work = Work()
    tasks = await work.asked("page", *["page"] * 20, "metrics", *["metrics"] * 3)
    work.gate.set()

    assert await asyncio.gather(*tasks) == [b"1", *[b"2"] * 20, *[b"3"] * 4]
    assert work.begun == ["page", "page", "metrics"]
    assert await work.ask("page") == b"4"


async def test_one_that_gives_up_takes_nothing_from_the_others() -> None:
    work = Work()
    first, one, other = await work.asked("page", "page", "page")
    one.cancel()
    await asyncio.wait((one,))
    work.gate.set()

    assert (await first, await other) == (b"1", b"2")


async def test_nothing_is_made_that_nobody_waits_for_any_more() -> None:
    work = Work()
    first, *gone = await work.asked("page", "metrics", "metrics")
    for each in gone:
        each.cancel()
    await asyncio.wait(gone)
    (again,) = await work.asked("metrics")
    work.gate.set()

    assert (await first, await again) == (b"1", b"2")
    assert work.begun == ["page", "metrics"]


async def test_all_that_wait_behind_one_that_is_stuck_are_told() -> None:
    work = Work()
    said = await asyncio.gather(*(work.ask("page", seconds=0.02) for _ in range(3)), return_exceptions=True)

    assert [type(each) for each in said] == [StuckError] * 3
    assert {str(each) for each in said} == {"making answers has not come back within 0.02 s"}
    work.gate.set()


async def test_a_failure_is_that_of_all_who_waited() -> None:
    answers = SharedAnswers("making answers")

    def fail() -> HttpResponse:
        raise ValueError("a defect")

    said = await asyncio.gather(*(answers.get("x", lambda: fail, seconds=5) for _ in range(3)), return_exceptions=True)

    assert [str(each) for each in said] == ["a defect"] * 3


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/status"])
@pytest.mark.parametrize(
    "other",
    [
        {"query": "page=2"},
        {"headers": (GZIP,)},
        {"headers": ((b"accept", b"application/openmetrics-text"),)},
        {"headers": ((b"cookie", b"x"),)},
        {"method": "HEAD"},
    ],
)
def test_what_is_shared_is_the_same_for_each_of_them(path: str, other: dict[str, object]) -> None:
    one = HttpRequest(method="GET", path=path)
    another = HttpRequest(**{"method": "GET", "path": path, **other})  # type: ignore[arg-type]

    if view(one) == view(another):
        assert render(one, known_snapshot()) == render(another, known_snapshot())
    else:
        assert render(one, known_snapshot()) != render(another, known_snapshot()) or "query" in other
