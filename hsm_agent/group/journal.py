"""Where what is judged of the group's series is recorded: in etcd while this agent leads, nowhere while it is alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.group.base import NotCommittedError
from hsm_agent.group.keys import ConfigRecord, record_bytes
from hsm_agent.group.lead import withdraws
from hsm_agent.group.operations import Operations, committed, portions
from hsm_agent.group.progress import Progress
from hsm_agent.net.etcd_messages import Put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hsm_agent.group.acceptances import Acceptances
    from hsm_agent.group.fence import Fence
    from hsm_agent.group.keys import GroupKeys, MemberRecord
    from hsm_agent.model import Labels
    from hsm_agent.spool.shared import Addressed

ALONE_LABELS: Labels = (("coordination", "alone"),)


class GroupJournal:
    """What this agent may judge now, and how far it has come; the member says when it leads and when it is alone."""

    def __init__(
        self,
        keys: GroupKeys,
        acceptances: Acceptances,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        live: Callable[[], Sequence[MemberRecord]],
    ) -> None:
        """`live`: the members that are there, this one among them."""
        self.progress: Progress | None = None
        """What this agent holds of the group's."""
        self.fence: Fence | None = None
        """While this agent leads."""
        self.is_alone = False
        self.leader = ""
        """Who leads, by name; empty where it is not known."""
        self.digest = ""
        """Of this agent's configuration."""
        self.withdrawn_digest = ""
        """Of the configuration by which alarms of what left it were withdrawn last, as far as it is known here.

        Empty where something was judged by another one since.
        """
        self.was_reloaded = False
        self._config_is_due = False
        self.commit_seconds: float | None = None
        """How long the last commit took."""
        self._keys = keys
        self._acceptances = acceptances
        self._clock = clock
        self._wall = wall
        self._live = live
        self._turn = asyncio.Lock()
        self._events_of_epoch = 0

    @property
    def judges(self) -> bool:
        """Whether the group's series are judged here now."""
        return self.is_alone or self._is_leading()

    @property
    def shares(self) -> bool:
        """Whether what is judged now is the group's."""
        return not self.is_alone

    @property
    def labels(self) -> Labels:
        """What the events of the group's series bear in addition now."""
        return ALONE_LABELS if self.is_alone else ()

    @property
    def may_withdraw(self) -> bool:
        """Whether alarms of what left the configuration may be cleared now."""
        return self._is_leading() and withdraws(
            self.digest, self._live(), done_digest=self.withdrawn_digest, was_reloaded=self.was_reloaded
        )

    def withdrawn(self) -> None:
        """What left the configuration is cleared; the member writes that down."""
        self.withdrawn_digest = self.digest
        self.was_reloaded = False
        self._config_is_due = True

    def begin(self, fence: Fence, *, events: int) -> None:
        """This agent leads: all that was committed before is held here. `events`: how many of them wait."""
        self.fence = fence
        self._events_of_epoch = events

    def advance(self, fence: Fence) -> Mapping[str, str]:
        """This agent holds all that the fence has committed; the states that say so."""
        before = self.progress or Progress()
        self.progress = replace(
            before,
            cluster_id=fence.cluster_id or before.cluster_id,
            revision=fence.revision,
            head_id=fence.head_id,
            head_number=fence.head_number,
            alone=False,
            judged_at=self._wall(),
        )
        return self.progress.states()

    async def commit(self, events: Sequence[Addressed], states: Mapping[str, str | None]) -> Mapping[str, str | None]:
        """Record it for all; the states that say how far this agent is. Raises NotCommittedError."""
        if self.is_alone:
            return {}
        async with self._turn:
            fence = self.fence
            if fence is None or not self._is_leading():
                raise NotCommittedError("not committed: this agent does not lead")
            begun = self._clock()
            together = committed(self._keys, events, states, epoch=fence.tenure.epoch, first=self._events_of_epoch)
            self._events_of_epoch += len(events)
            revisions: dict[bytes, int] = {}
            # Where a later portion fails the progress stays behind the first one: it is followed from there.
            unsettled = self._unsettled()
            for portion in portions([*unsettled, *together]):
                revision = await fence.write(portion)
                revisions |= dict.fromkeys((put.key for put in portion.puts), revision)
            self.commit_seconds = self._clock() - begun
            if unsettled:
                self.withdrawn_digest, self._config_is_due = "", False
            self._acceptances.committed(events, revisions)
            return self.advance(fence)

    async def write_config(self) -> None:
        """Write down that what left the configuration is withdrawn, if that is due. Raises NotCommittedError."""
        async with self._turn:
            if self.fence is not None and self._config_is_due:
                record = record_bytes(ConfigRecord(digest=self.withdrawn_digest))
                await self.fence.write(Operations(puts=[Put(key=self._keys.config, value=record)]))
                self._config_is_due = False
                self.advance(self.fence)

    def _unsettled(self) -> list[Operations]:
        """Once something is judged by a configuration, it is not withdrawn any more by the one before it."""
        if self.withdrawn_digest in {"", self.digest}:
            return []
        return [Operations(puts=[Put(key=self._keys.config, value=record_bytes(ConfigRecord(digest="")))])]

    async def settled(self) -> None:
        """Wait until no commit is under way. It ends with the lease."""
        async with self._turn:
            return

    def _is_leading(self) -> bool:
        return self.fence is not None and self.fence.tenure.may_tell(self._clock())
