"""The inform sink against a receiver that declines, is misconfigured, forgets, or sees some events never."""

from __future__ import annotations

import asyncio
import os

import pytest

from hsm_agent.deliver.base import Refused, Retry
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.pdu import ErrorStatus
from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol, User
from tests.fakes.inform_receiver import InformReceiver
from tests.fakes.snmp_sinks import NOC, SECRETS, V2C, V3, Told, events, ids, received, sink
from tests.fakes.udp_inform_receiver import served


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setitem(os.environ, name, secret)


async def test_an_event_that_never_gets_through_while_others_do_is_said_to_be_so() -> None:
    receiver, told = InformReceiver(ignores=b"event-001"), Told()
    async with served(receiver) as server:
        informs = sink(server.address, timeout="100ms", type="inform", **V2C)

        with pytest.raises(Retry, match="no answer") as caught:
            await informs.deliver(events(4), told)

        assert caught.value.sent
        assert told.ids == ["event-000"]
        receiver.ignores, receiver.informs = None, []
        await informs.deliver(events(4)[1:], told)
        await informs.close()
    assert told.ids == ids(events(4))
    assert received(receiver) == [b"event-001"]


async def test_a_declined_event_is_tried_again_and_its_followers_are_not() -> None:
    receiver, told = InformReceiver(declines={b"event-001": int(ErrorStatus.GEN_ERR)}), Told()
    async with served(receiver) as server:
        informs = sink(server.address, type="inform", **V2C)

        with pytest.raises(Refused, match=r"error-status gen err \(5\)") as caught:
            await informs.deliver(events(3), told)

        assert (caught.value.event_id, caught.value.certain) == (events(2)[1].event_id, False)
        receiver.declines.clear()
        await informs.deliver(events(3)[1:], told)
        await informs.close()
    assert told.ids == ids(events(3))
    assert received(receiver) == [b"event-000", b"event-001", b"event-002", b"event-001"]


async def test_an_unknown_error_status_is_told_by_number() -> None:
    async with served(InformReceiver(error_status=99)) as server:
        with pytest.raises(Refused, match=r"error-status 99$"):
            await sink(server.address, type="inform", **V2C).deliver(events(1), Told())


async def test_an_event_too_big_for_the_receiver_is_refused_and_the_rest_goes_on() -> None:
    receiver, told = InformReceiver(declines={b"event-001": int(ErrorStatus.TOO_BIG)}), Told()
    async with served(receiver) as server:
        informs = sink(server.address, type="inform", **V2C)

        with pytest.raises(Refused, match="too big") as caught:
            await informs.deliver(events(3), told)

        await informs.deliver(events(3)[2:], told)
        await informs.close()
    assert caught.value.event_id == "event-001"
    assert told.ids == ["event-000", "event-002"]
    assert received(receiver) == [b"event-000", b"event-001", b"event-002"]


async def test_an_event_larger_than_the_receivers_maximum_is_refused() -> None:
    async with served(InformReceiver(user=NOC, max_size=484)) as server:
        informs = sink(server.address, **V3)
        with pytest.raises(Refused, match="too big") as caught:
            await informs.deliver(events(1), Told())
        await informs.close()
    assert caught.value.event_id == "event-000"


@pytest.mark.parametrize("kind", ["trap", "inform"])
async def test_an_event_without_an_encoding_is_refused_after_those_before_it(kind: str) -> None:
    from dataclasses import replace

    told, sent = Told(), events(3)
    sent[1] = replace(sent[1], time=float("nan"))
    async with served(InformReceiver()) as server:
        one = sink(server.address, type=kind, **V2C)
        with pytest.raises(Refused, match="no notification can carry it") as caught:
            await one.deliver(sent, told)
        await one.close()
    assert caught.value.event_id == "event-001"
    assert told.ids == ["event-000"]


@pytest.mark.parametrize(
    ("receiver", "said"),
    [
        pytest.param(InformReceiver(), "usmStatsUnknownUserNames", id="no user"),
        pytest.param(
            InformReceiver(
                user=User.from_secrets(
                    name="noc", auth=AuthProtocol.SHA256, auth_secret="other-secret", privacy=PrivacyProtocol.AES128,
                    privacy_secret="encrypted-1",
                )
            ),
            "usmStatsWrongDigests",
            id="other pass-phrase",
        ),
        pytest.param(
            InformReceiver(user=NOC, complaint=Count.DECRYPTION_ERRORS), "usmStatsDecryptionErrors", id="privacy"
        ),
        pytest.param(InformReceiver(user=NOC, complaint=Count.SILENT_DROPS), "silent drops", id="something else"),
        pytest.param(InformReceiver(user=NOC, forged=True), "no answer", id="forged answers"),
    ],
)  # fmt: skip
async def test_a_misconfigured_receiver_is_told_later_and_what_is_wrong_is_said(
    receiver: InformReceiver, said: str
) -> None:
    async with served(receiver) as server:
        informs = sink(server.address, timeout="100ms", **V3)
        with pytest.raises(Retry, match=said):
            await informs.deliver(events(1), Told())
        await informs.close()


async def test_a_receiver_that_starts_anew_or_is_replaced_between_events_is_followed() -> None:
    receiver, told, sent = InformReceiver(user=NOC), Told(), events(6)
    async with served(receiver) as server:
        informs = sink(server.address, **V3)
        await informs.deliver(sent[:2], told)
        receiver.boots, receiver.started = 9, asyncio.get_running_loop().time()
        await informs.deliver(sent[2:4], told)
        receiver.engine_id = b"another engine"
        await informs.deliver(sent[4:], told)
        await informs.close()

    assert told.ids == ids(sent)


async def test_a_receiver_that_is_another_one_each_time_is_given_up() -> None:
    class Restless(InformReceiver):
        def answer(self, message: bytes, now: float) -> bytes | None:
            self.engine_id = os.urandom(12)
            return super().answer(message, now)

    async with served(Restless(user=NOC)) as server:
        informs = sink(server.address, **V3)
        with pytest.raises(Retry, match="changes with every answer"):
            await informs.deliver(events(1), Told())
        await informs.close()
