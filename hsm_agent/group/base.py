"""What the agent needs of a group, and a group of the agent: its pipeline, its spool, its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hsm_agent.model import Labels
    from hsm_agent.spool.shared import Addressed, Left, SharedChange, SharedContent


class NotCommittedError(Exception):
    """What was judged is not the group's: this agent leads no more, or could not commit. The text is one line."""


class Journal(Protocol):
    """Where what is judged of the group's series is recorded before it is told."""

    @property
    def judges(self) -> bool:
        """Whether the group's series are judged here now: this agent leads, or is alone."""

    @property
    def shares(self) -> bool:
        """Whether what is judged now is the group's; else (alone) this agent's own, told by itself."""

    @property
    def labels(self) -> Labels:
        """What the events of the group's series bear in addition now: `coordination`, while alone."""

    @property
    def may_withdraw(self) -> bool:
        """Whether alarms of what left the configuration may be cleared now: every member has the same."""

    @property
    def leader(self) -> str:
        """Who leads, for messages: a name, or empty."""

    def withdrawn(self) -> None:
        """What left the configuration is cleared: a leader that comes next need not do so."""

    async def commit(self, events: Sequence[Addressed], states: Mapping[str, str | None]) -> Mapping[str, str | None]:
        """Record it for all; the states that say how far this agent is, to be stored with it.

        Raises NotCommittedError: then nothing was recorded, or this agent leads no more and reads anew what was.
        """


class Replica(Protocol):
    """This agent's own copy of what is the group's, in memory and in the spool; the pipeline is one."""

    async def take_in(self, change: SharedChange, progress: Mapping[str, str | None]) -> None:
        """Do what the leader did. `progress`: states that say how far this agent is, stored with it."""

    async def replace(
        self, content: SharedContent, progress: Mapping[str, str | None], *, merged_by: str | None = None
    ) -> None:
        """Hold this instead of what is held.

        `merged_by`, a name: this agent has judged for itself meanwhile. Alarms that it raised then, and that are not
        in the content, are cleared by itself: merged into the content's alarm of the same rule and series, or not seen
        by `merged_by`.
        """

    async def content(self) -> SharedContent:
        """All that is held of the group's."""

    async def share(self) -> None:
        """What this agent has judged for itself, and not told yet, is the group's from now on."""

    async def judge_present(self) -> None:
        """Judge the latest readings of all sources: this agent leads, or is alone, from now on."""


class MemberSpool(Protocol):
    """What a member asks of the spool; see spool.Spool."""

    may_tell: Callable[[], bool]
    on_left: Callable[[Left], None]

    async def states(self, prefix: str = "") -> dict[str, str]: ...
    async def commit(self, events: tuple[()], states: Mapping[str, str | None]) -> None: ...
    async def replace_shared(self, content: SharedContent, states: Mapping[str, str | None]) -> None: ...
    def wake(self) -> None: ...
    def untold(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberConfig:
    """What of a member's configuration decides whether it fits the others; anew with each reload."""

    digest: str
    """Of what must be the same for all."""
    sinks: tuple[str, ...]
    """Their names."""
