"""Scalars: what stays, what is rendered, and that all are where the MIBs put them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hsm_agent.model import GroupRole, GroupStatus, Severity
from hsm_agent.serve.snmp import scalars
from hsm_agent.serve.snmp.view import Moment, Segment
from hsm_agent.version import VERSION
from hsm_agent.wire.snmp import ber, mib
from hsm_agent.wire.snmp.engine import Count, Counters, Engine
from hsm_agent.wire.snmp.pdu import read_varbinds
from tests.fakes.snmp_present import ENGINE_ID, STARTED, alarm, store

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

ENGINE = Engine(engine_id=ENGINE_ID, boots=7, started=100.0)
MOMENT = Moment(monotonic=160.25, wall=STARTED)


def values(segments: dict[Oid, Segment]) -> dict[Oid, object]:
    """The values by name, rendered."""
    found = [one for prefix in sorted(segments) for one in segments[prefix].take(0, 1, MOMENT)]
    return {one.name: one.value for one in read_varbinds(b"".join(found))}


def test_system_group_is_whole() -> None:
    group = scalars.system_group(base=mib.BASE, engine=ENGINE, name="hsm-1", contact="noc\n", location="Zürich")

    found = values(group)

    description = found.pop((1, 3, 6, 1, 2, 1, 1, 1, 0))
    assert isinstance(description, bytes)
    assert description.startswith(f"hsm-agent {VERSION} on Linux ".encode())
    assert found == {
        (1, 3, 6, 1, 2, 1, 1, 2, 0): (*mib.BASE, 3, 1),
        (1, 3, 6, 1, 2, 1, 1, 3, 0): 6025,
        (1, 3, 6, 1, 2, 1, 1, 4, 0): b"noc ",
        (1, 3, 6, 1, 2, 1, 1, 5, 0): b"hsm-1",
        (1, 3, 6, 1, 2, 1, 1, 6, 0): "Zürich".encode(),
        (1, 3, 6, 1, 2, 1, 1, 7, 0): 72,
    }


def test_engine_tells_its_identity_and_time() -> None:
    found = values(scalars.engine_groups(ENGINE, Counters()))

    engine = (1, 3, 6, 1, 6, 3, 10, 2, 1)
    assert [found[*engine, number, 0] for number in (1, 2, 3, 4)] == [ENGINE_ID, 7, 60, 65507]


def test_counters_are_read_when_answered() -> None:
    counters = Counters()
    group = scalars.engine_groups(ENGINE, counters)
    before = values(group)[Count.WRONG_DIGESTS.oid]

    counters.add(Count.WRONG_DIGESTS)

    assert (before, values(group)[Count.WRONG_DIGESTS.oid]) == (0, 1)


def test_every_counter_is_served() -> None:
    assert {what.oid for what in Count} <= values(scalars.engine_groups(ENGINE, Counters())).keys()


def test_agent_scalars_tell_of_the_agent() -> None:
    present = store()
    group = scalars.agent_scalars(mib.BASE, present)
    present.polls += 1
    present.dropped_events = 2**33

    found = values(group)

    arc = (*mib.BASE, 1, 1)
    assert found == {
        (*arc, 1, 0): VERSION.encode(),
        (*arc, 2, 0): b"hsm-monitor-1",
        (*arc, 3, 0): mib.date_and_time(STARTED),
        (*arc, 4, 0): 241,
        (*arc, 5, 0): 0,
        (*arc, 6, 0): 1,
        (*arc, 7, 0): 2,
        (*arc, 8, 0): 2**33,
        (*arc, 9, 0): 1,
    }


def test_role_and_epoch_are_those_of_the_group_and_an_epoch_that_is_not_known_is_absent() -> None:
    known = GroupStatus(group="emea", name="a", role=GroupRole.STANDBY, epoch=2**33)

    def told(group: GroupStatus | None) -> list[object]:
        return list(values(scalars.group_scalars(mib.BASE, group)).values())

    assert told(known) == [3, 2**33]
    assert told(replace(known, role=GroupRole.ISOLATED, epoch=0)) == [5]
    assert told(None) == [1]
    assert [one.counter64 for one in scalars.group_scalars(mib.BASE, known).values()] == [False, True]


def test_spooled_events_are_absent_before_the_agent_looked() -> None:
    present = store()
    present.forget_source("agent")

    (segment,) = scalars.spool_scalar(mib.BASE, present).values()

    assert segment.rows == ()


def test_worst_severity_is_the_most_urgent() -> None:
    alarms = [alarm(), alarm(rule="x", severity=Severity.CRITICAL), alarm(rule="y", severity=Severity.INDETERMINATE)]

    assert list(values(scalars.alarm_scalars(mib.BASE, alarms)).values()) == [3, 3]


def test_counter64_is_marked_for_version_1() -> None:
    group = scalars.agent_scalars(mib.BASE, store())

    wide = [
        prefix[-1]
        for prefix, one in group.items()
        if any(cell.tag == ber.COUNTER64 for cell in read_varbinds(b"".join(one.take(0, 1, MOMENT))))
    ]

    assert wide == [prefix[-1] for prefix, one in group.items() if one.counter64] == [4, 8]
