"""The group as this agent sees it: the part of the status document, and what people are told of it. Pure.

What is not known is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsm_agent.evaluate.messages import counted, duration_text
from hsm_agent.model import GroupRole
from hsm_agent.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hsm_agent.model import GroupStatus, MemberStatus

_DEGRADED = (GroupRole.ALONE.value, GroupRole.ISOLATED.value)
_WORTH_SAYING_SECONDS = 0.05
"""Clocks that differ by less are shown as equal."""
_STALE_SECONDS = 15.0
"""Members are looked at every few seconds."""


def group_document(status: GroupStatus) -> dict[str, Any]:
    """The member `group` of the status document."""
    return {
        "name": harmless(status.group),
        "member": harmless(status.name),
        "role": status.role.value,
        "epoch": status.epoch,
        "leader": harmless(status.leader),
        "beat_age_seconds": status.beat_age_seconds,
        "lag_seconds": status.lag_seconds,
        "untold": status.untold,
        "differs": status.differs,
        "caught_up": status.is_caught_up,
        "connected": status.is_connected,
        "problem": harmless(status.problem),
        "commit_seconds": status.commit_seconds,
        "takeovers_total": status.takeovers_total,
        "fenced_total": status.fenced_total,
        "members": [_member(member) for member in status.members],
    }


def _member(member: MemberStatus) -> dict[str, Any]:
    return {
        "name": harmless(member.name),
        "role": member.role.value,
        "up": member.is_up,
        "seconds_since_seen": member.seconds_since_seen,
        "version": harmless(member.version),
        "sources_up": member.sources_up,
        "sources_expected": member.sources_expected,
        "config_differs": member.config_differs,
        "clock_offset_seconds": member.clock_offset_seconds,
    }


def group_troubles(group: Mapping[str, Any]) -> Iterator[str]:
    """Why the group is not as it should be, a line each; made of its part of the document."""
    if group["role"] in _DEGRADED:
        yield f"{group['member']} is {group['role']}: {group['problem'] or 'etcd has no quorum that it can reach'}"
    elif group["problem"]:
        yield group["problem"]
    elif not group["connected"]:
        yield f"{group['member']} does not reach etcd"
    if group["role"] == GroupRole.STANDBY.value and not group["caught_up"]:
        yield f"{group['member']} is catching up"
    if not group["leader"] and group["role"] not in _DEGRADED:
        yield "nobody leads"
    for member in group["members"]:
        if not member["up"]:
            yield f"{member['name']} is not there"
        elif member["config_differs"]:
            yield f"{member['name']} has another configuration"
    if len(group["members"]) == 1:
        yield "there is no other member: nobody takes over"


def group_line(group: Mapping[str, Any]) -> str:
    """The group in one line, for people."""
    found = [f"group {group['name']}: {group['role']}"]
    if group["leader"] and group["leader"] != group["member"]:
        found.append(f"{group['leader']} leads")
    if group["beat_age_seconds"] is not None:
        found.append(f"last beat {duration_text(group['beat_age_seconds'])} ago")
    if group["lag_seconds"]:
        found.append(f"{duration_text(group['lag_seconds'])} behind")
    if group["epoch"]:
        found.append(f"epoch {group['epoch']}")
    found.append(f"{counted(group['untold'], 'events')} untold" if group["untold"] else "nothing untold")
    return ", ".join(found)


def member_line(member: Mapping[str, Any]) -> str:
    """What is to be said of a member beside its name and its role, for people."""
    sources = f"{member['sources_up']} of {counted(member['sources_expected'], 'sources')} up"
    if not member["up"]:
        seen = member["seconds_since_seen"]
        return "never seen" if seen is None else f"seen {duration_text(seen)} ago"
    told = [sources, *([f"version {member['version']}"] if member["version"] else [])]
    if member["config_differs"]:
        told.append("another configuration")
    offset, seen = member["clock_offset_seconds"], member["seconds_since_seen"]
    if offset is not None and abs(offset) >= _WORTH_SAYING_SECONDS:
        told.append(f"clock {offset:+.1f} s")
    if seen is not None and seen >= _STALE_SECONDS:  # etcd is away: what is known of it is of before
        told.append(f"seen {duration_text(seen)} ago")
    return ", ".join(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEntry:
    """One member of the agent's group. `state`: its role, or `down`."""

    name: str
    state: str
    told: str


def member_entry(member: Mapping[str, Any]) -> MemberEntry:
    """A member for people."""
    state = member["role"] if member["up"] else "down"
    return MemberEntry(name=member["name"], state=state, told=member_line(member))
