"""How what a member runs beside itself ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from hsm_agent.group.leadership import Following

if TYPE_CHECKING:
    from hsm_agent.group.follow import Follower


class FollowerThatCleansUp:
    """One that takes in something when it is to end."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.is_ending, self.may_end = asyncio.Event(), asyncio.Event()
        self._breaks = breaks

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.is_ending.set()
            if self._breaks:
                raise OSError("the disk")
            await self.may_end.wait()


async def test_who_is_cancelled_while_a_follower_ends_is_cancelled() -> None:
    follower = FollowerThatCleansUp()
    following = Following(cast("Follower", follower))
    await asyncio.sleep(0)
    went_on = False

    async def lead() -> None:
        nonlocal went_on
        await following.stop()
        went_on = True

    leading = asyncio.create_task(lead())
    await follower.is_ending.wait()
    leading.cancel()
    follower.may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await leading
    assert not went_on
    await following.stop()
    assert following.is_stopped


async def test_what_ends_a_follower_is_told_to_who_stops_it() -> None:
    following = Following(cast("Follower", FollowerThatCleansUp(breaks=True)))
    await asyncio.sleep(0)

    with pytest.raises(OSError, match="the disk"):
        await following.stop()
