"""How far this agent has come with what is the group's; stored with each of its commits to the spool. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent import codec
from hsm_agent.codec import stored
from hsm_agent.spool.shared import GROUP_STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRESS = f"{GROUP_STATES}progress"
"""Key of the state that says how far a member is; an agent that has none was never in a group."""
_INSTANCE = f"{GROUP_STATES}instance"
_SAME_BOOT_SECONDS = 60.0
"""By which a host's wall clock may have been set, and it is still taken for the same start of the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where this agent is, in the history of which cluster.

    `head_id`, `head_number`: the last commit that this agent holds; empty and 0 where there was none.
    `alone`: it has judged for itself since. `judged_at`: when it judged the group's series last, by its wall clock.
    """

    cluster_id: str = field(default="", metadata=stored(check=codec.text))
    revision: int = 0
    """All changes up to it are held here; 0: not known, all is to be read anew."""
    head_id: str = ""
    head_number: int = 0
    alone: bool = False
    judged_at: float = 0.0

    def states(self) -> dict[str, str]:
        """As it is stored."""
        return {PROGRESS: codec.dump(codec.encode(self))}

    @classmethod
    def of(cls, states: Mapping[str, str]) -> Progress | None:
        """From the states that were stored; None where this agent was in no group. Raises ValueError."""
        text = states.get(PROGRESS)
        return None if text is None else codec.decode(cls, codec.parse(text), ignored=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an agent runs: what a copy of its state directory does not bring along."""

    host: str = ""
    directory: int = 0
    """The inode of its state directory."""
    booted_at: float = 0.0
    """When the host was started, by its wall clock."""

    def is_at(self, other: Place) -> bool:
        """Whether it is the same one, as far as it is known: a clock that was set makes it another."""
        is_same_boot = abs(self.booted_at - other.booted_at) <= _SAME_BOOT_SECONDS
        return is_same_boot and (self.host, self.directory) == (other.host, other.directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Instance:
    id: str
    place: Place


def instance_of(states: Mapping[str, str], place: Place) -> str:
    """This agent's instance as it is stored; empty where there is none yet, or it is of an agent at another place.

    Two that run on copies of one state directory must not take each other for their own former life, which is dead.
    """
    try:
        stored = codec.decode(_Instance, codec.parse(states.get(_INSTANCE, "")), ignored=None)
    except ValueError:
        return ""
    return stored.id if stored.place.is_at(place) else ""


def instance_states(instance: str, place: Place) -> dict[str, str]:
    """The instance as it is stored."""
    return {_INSTANCE: codec.dump(codec.encode(_Instance(id=instance, place=place)))}
