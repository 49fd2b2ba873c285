"""A source of `kind: snmp` whose appliance sends values that can't be decoded, and messages that are none."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from hsm_agent.collect.base import SourceFailure
from hsm_agent.collect.snmp.source import SnmpCollector, SnmpSettings
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.pdu import (
    PduType,
    Version,
    encode_community_message,
    encode_pdu,
    open_message,
    read_names,
    read_pdu,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hsm_agent.collect.base import Poll

ROOT = (1, 3, 6, 1, 4, 1, 32473)
VALUES = {
    1: b"\x40\x00",
    2: bytes.fromhex("40080102030405060708"),
    3: bytes.fromhex("0209010203040506070809"),
    4: bytes.fromhex("0101ff"),
    5: bytes.fromhex("0205000000002a"),
    6: bytes.fromhex("47012a"),
}
"""By the last number of their names; there is a sound one besides, 7."""


class _Appliance(asyncio.DatagramProtocol):
    """Answers a GET with the values above; `spoil` makes something else of the answer."""

    def __init__(self, spoil: Callable[[bytes], bytes]) -> None:
        self._spoil = spoil
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        _, position, end = open_message(data)
        community, position = ber.read_octets(data, position, end)
        asked = read_pdu(data, position, end)
        listed = [
            ber.encode_varbind(name, VALUES.get(name[-1], ber.encode_integer(7))) for name in read_names(asked.varbinds)
        ]
        answer = encode_pdu(PduType.RESPONSE, asked.request_id, 0, 0, listed)
        assert self._transport is not None
        self._transport.sendto(self._spoil(encode_community_message(Version.V2C, community, answer)), addr)


@asynccontextmanager
async def _reading(spoil: Callable[[bytes], bytes] = lambda answer: answer) -> AsyncIterator[SnmpCollector]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Appliance(spoil), local_addr=("127.0.0.1", 0))
    values = [
        {"oid": ".".join(map(str, (*ROOT, number))), "metric": f"custom_value_{number}"} for number in (*VALUES, 7)
    ]
    settings = SnmpSettings.model_validate(
        {
            "name": "odd",
            "kind": "snmp",
            "to": f"udp:127.0.0.1:{transport.get_extra_info('sockname')[1]}",
            "version": "v2c",
            "community": {"env": "COMMUNITY"},
            "timeout": "500ms",
            "retries": 0,
            "custom": {"values": values},
        }
    )
    collector = SnmpCollector(settings)
    try:
        yield collector
    finally:
        await collector.close()
        transport.close()


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMUNITY", "public")


def _shown(found: Poll) -> dict[str, float | int | str | None]:
    return {each.metric.removeprefix("custom_value_"): each.reason or each.value for each in found.readings}


@pytest.mark.parametrize("behind", [b"", b"\0"], ids=["as it is", "an octet behind"])
async def test_what_cannot_be_decoded_is_unavailable_with_the_reason_and_the_rest_is_read(behind: bytes) -> None:
    async with _reading(lambda answer: answer + behind) as collector:
        found = await collector.poll()

    odd = "the appliance sent what cannot be decoded:"
    assert _shown(found) == {
        "1": f"{odd} IpAddress of 0 octets",
        "2": f"{odd} IpAddress of 8 octets: 0102030405060708",
        "3": f"{odd} INTEGER of 9 octets: 010203040506070809",
        "4": f"{odd} type 0x01, which SNMP does not have, of 1 octet: ff",
        "5": 42,
        "6": 42,
        "7": 7,
    }
    assert [line.partition(" ")[0] for line in found.errors] == [
        ".".join(map(str, (*ROOT, number))) for number in (1, 2, 3, 4)
    ]
    assert not found.complete


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(lambda answer: answer[:-1], r"\d+ octets that cannot be decoded \(truncated\)", id="cut short"),
        pytest.param(lambda _: b"\0", r"1 octets that cannot be decoded \(truncated\)", id="one octet"),
        pytest.param(lambda answer: answer.replace(b"\2\1\1", b"\2\1\0", 1), "a message of SNMP v1", id="v1"),
    ],
)
async def test_an_answer_that_is_of_no_use_is_not_called_silence(spoil: Callable[[bytes], bytes], said: str) -> None:
    async with _reading(spoil) as collector:
        with pytest.raises(SourceFailure, match=f"no answer within 0.5 s that is of use: what came last is {said}"):
            await collector.poll()
