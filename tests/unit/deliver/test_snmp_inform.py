"""Informs: what is accepted in which order, what is remembered, without a socket."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsm_agent.deliver.base import Refused, Retry
from hsm_agent.deliver.snmp import InformSink
from hsm_agent.wire.snmp.mib import COLD_START
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.memory_link import MemoryLink
from tests.fakes.memory_peer import MemoryPeer
from tests.fakes.snmp_sinks import Told, events, received

pytestmark = pytest.mark.usefixtures("skipped_waits")


def sink(*receivers: InformReceiver) -> InformSink:
    return InformSink(name="noc", peer=MemoryPeer(links=[MemoryLink(one.answer) for one in receivers]))


async def test_events_are_accepted_in_order_whatever_the_order_of_the_answers() -> None:
    receiver, told = InformReceiver(deaf_to={0, 3}), Told()

    await sink(receiver).deliver(events(5), told)

    assert told.ids == [f"event-00{number}" for number in range(5)]
    assert received(receiver)[5:] == [b"event-000", b"event-003"]


async def test_what_was_acknowledged_behind_a_gap_is_not_sent_again() -> None:
    first, second, told = InformReceiver(ignores=b"event-000"), InformReceiver(), Told()
    informs = sink(first, second)

    with pytest.raises(Retry) as caught:
        await informs.deliver(events(3), told)
    assert (told.ids, caught.value.sent) == ([], True)
    await informs.deliver(events(3), told)

    assert told.ids == ["event-000", "event-001", "event-002"]
    assert received(second) == [b"event-000"]


async def test_what_was_acknowledged_earlier_needs_no_network() -> None:
    receiver, told = InformReceiver(ignores=b"event-000"), Told()
    informs = sink(receiver)
    with pytest.raises(Retry):
        await informs.deliver(events(2), told)

    await informs.deliver(events(2)[1:], told)

    assert told.ids == ["event-001"]


async def test_what_was_acknowledged_is_remembered_over_a_delivery_of_the_gap_alone() -> None:
    first, alone, rest, told = (
        InformReceiver(ignores=b"event-000"),
        InformReceiver(deaf_to={0, 1}),
        InformReceiver(),
        Told(),
    )
    informs = sink(first, alone, rest)
    with pytest.raises(Retry):
        await informs.deliver(events(3), told)
    with pytest.raises(Retry):
        await informs.deliver(events(1), told)

    await informs.deliver(events(3), told)

    assert told.ids == ["event-000", "event-001", "event-002"]
    assert received(rest) == [b"event-000"]


async def test_what_is_remembered_is_bounded() -> None:
    receivers = [InformReceiver(ignores=b"event-000") for _ in range(20)]
    informs = sink(*receivers)
    for round_number in range(20):
        batch = [events(1)[0], *(replace(one, event_id=f"{round_number}-{one.event_id}") for one in events(16)[1:])]
        with pytest.raises(Retry):
            await informs.deliver(batch, Told())

    assert len(informs._acknowledged) <= 256


async def test_an_event_that_cannot_be_encoded_is_refused_and_the_receiver_is_not_asked() -> None:
    informs = sink()
    with pytest.raises(Refused, match="outside the calendar") as caught:
        await informs.deliver([replace(events(1)[0], time=float("inf"))], Told())
    assert caught.value.event_id == "event-000"


async def test_another_address_is_tried_after_each_failure() -> None:
    peer = MemoryPeer(links=[])
    informs = InformSink(name="noc", peer=peer)

    for _ in range(3):
        with pytest.raises(Retry, match="network is unreachable"):
            await informs.deliver(events(1), Told())

    assert peer.turns == [0, 1, 2]


async def test_a_notification_beside_the_spool_has_a_link_of_its_own() -> None:
    spooled, beside = InformReceiver(), InformReceiver()
    informs = sink(spooled, beside)
    await informs.deliver(events(1), Told())

    await informs.notify(COLD_START)

    assert (len(spooled.informs), len(beside.informs)) == (1, 1)


async def test_a_notification_beside_the_spool_fails_aloud() -> None:
    with pytest.raises(Retry, match="network is unreachable"):
        await sink().notify(COLD_START)
    with pytest.raises(Retry, match=r"error-status bad value \(3\)"):
        await sink(InformReceiver(error_status=3)).notify(COLD_START)
