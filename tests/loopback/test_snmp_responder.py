"""The responder from datagram to datagram, without a socket: who is answered, from which view, how large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003 - pytest-asyncio looks at it
from typing import TYPE_CHECKING

import pytest

from hsm_agent.serve.snmp.responder import SnmpServerError
from hsm_agent.state.row_indexes import FILE_NAME
from hsm_agent.wire.snmp import ber
from hsm_agent.wire.snmp.engine import Count
from hsm_agent.wire.snmp.mib import BASE
from hsm_agent.wire.snmp.pdu import ErrorStatus, PduType, Version
from hsm_agent.wire.snmp.usm import load_aes
from tests.fakes.snmp_manager import Manager, community_request, keys, read_v3_reply, request_pdu, v3_request
from tests.fakes.snmp_present import Clock, load_settings, reading, responder, store

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.serve.snmp.responder import Responder

SYS_UPTIME = (1, 3, 6, 1, 2, 1, 1, 3, 0)
SYS_NAME = (1, 3, 6, 1, 2, 1, 1, 5, 0)
LABEL, SESSIONS, AGE = (*BASE, 1, 3, 1, 3, 1), (*BASE, 1, 3, 1, 17, 1), (*BASE, 1, 5, 1, 8, 1)
IN_PKTS = Count.IN_PKTS.oid


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Responder]:
    one = await responder(tmp_path, store(), Clock())
    await one.start()
    yield one
    await one.close()


async def test_v2c_reads_a_token(started: Responder) -> None:
    assert Manager(started).get(LABEL, SESSIONS).values == [b"payments", 12]


async def test_v3_reads_a_token(started: Responder) -> None:
    user = keys()
    pdu = request_pdu(PduType.GET, [LABEL])

    answer = started.handle(v3_request(pdu, user, time=600), "127.0.0.1")

    assert answer is not None
    assert read_v3_reply(answer, user).values == [b"payments"]


async def test_each_principal_has_its_view(started: Responder) -> None:
    whole, narrow = Manager(started), Manager(started, community="payments only")

    assert whole.get(IN_PKTS).tags == [ber.COUNTER32]
    assert narrow.get(IN_PKTS, SYS_NAME, LABEL).tags == [ber.NO_SUCH_OBJECT_TAG, ber.OCTET_STRING, ber.OCTET_STRING]
    user = keys("payments")
    answer = started.handle(v3_request(request_pdu(PduType.GET, [IN_PKTS]), user, time=600), "127.0.0.1")
    assert answer is not None
    assert read_v3_reply(answer, user).tags == [ber.NO_SUCH_OBJECT_TAG]


async def test_walk_of_the_whole_goes_forward_to_the_end(started: Responder) -> None:
    names = [one.name for one in Manager(started).walk()]

    assert names == sorted(set(names))
    assert names[0] == (1, 3, 6, 1, 2, 1, 1, 1, 0)
    assert names[-1] == Count.DECRYPTION_ERRORS.oid


async def test_bulk_walk_finds_the_same_as_a_walk(started: Responder) -> None:
    manager = Manager(started)
    walked = [one.name for one in manager.walk()]

    found: list[tuple[int, ...]] = []
    while not found or found[-1] != walked[-1]:
        answered = manager.bulk(found[-1] if found else (1, 3), repetitions=7).varbinds
        found += [one.name for one in answered if one.tag != ber.END_OF_MIB_VIEW_TAG]

    assert found == walked


async def test_uptime_and_ages_are_those_of_the_answer(tmp_path: Path) -> None:
    clock = Clock()
    one = await responder(tmp_path, store(), clock)
    await one.start()
    before = Manager(one).get(SYS_UPTIME, AGE).values

    clock.move(2.5)
    after = Manager(one).get(SYS_UPTIME, AGE).values
    await one.close()

    assert (before, after) == ([60000, 30], [60250, 32])


async def test_set_is_not_writable(started: Responder) -> None:
    found = Manager(started).ask(PduType.SET, [SYS_NAME])

    assert (found.error_status, found.error_index, found.names) == (ErrorStatus.NOT_WRITABLE, 1, [SYS_NAME])


async def test_small_messages_cut_getbulk_and_refuse_a_get(started: Responder) -> None:
    user = keys()
    bulk = started.handle(
        v3_request(request_pdu(PduType.GETBULK, [(1, 3)], 0, 50), user, time=600, max_size=484), "127.0.0.1"
    )
    many = [(*BASE, 1, 6, 1, column, 1) for column in range(2, 14)]
    get = started.handle(v3_request(request_pdu(PduType.GET, many), user, time=600, max_size=484), "127.0.0.1")

    assert bulk is not None
    assert get is not None
    cut, refused = read_v3_reply(bulk, user), read_v3_reply(get, user)
    assert cut.octets <= 484
    assert cut.error_status == ErrorStatus.NO_ERROR
    assert 3 <= len(cut.varbinds) < 20
    assert (refused.error_status, refused.error_index, refused.varbinds) == (ErrorStatus.TOO_BIG, 0, ())


async def test_a_huge_getbulk_is_answered_within_bounds(started: Responder) -> None:
    found = Manager(started).bulk((1, 3), repetitions=2**31 - 1)

    assert found.octets <= 65507
    assert len(found.varbinds) <= 500


async def test_version_1_is_answered_only_if_it_is_on(tmp_path: Path, started: Responder) -> None:
    message = community_request(request_pdu(PduType.GET, [SYS_NAME]), version=Version.V1)
    assert started.handle(message, "127.0.0.1") is None

    await started.reconfigure(await load_settings(tmp_path, v1=True))

    manager = Manager(started, version=Version.V1)
    assert manager.get(SYS_NAME).values == [b"hsm-monitor-1"]
    missing = manager.get(SYS_NAME, (*BASE, 1, 1, 4, 0))
    assert (missing.error_status, missing.error_index) == (ErrorStatus.NO_SUCH_NAME, 2)
    assert ber.COUNTER64 not in {one.tag for one in manager.next((*BASE, 1, 1, 3, 0)).varbinds}
    assert manager.ask(PduType.SET, [SYS_NAME]).error_status == ErrorStatus.NO_SUCH_NAME


async def test_a_wrong_community_is_told_once_a_minute_and_not_answered(tmp_path: Path) -> None:
    clock, told = Clock(), list[str]()
    one = await responder(tmp_path, store(), clock, on_failure=told.append)
    await one.start()
    for _ in range(5):
        assert one.handle(community_request(request_pdu(PduType.GET, [SYS_NAME]), "guess"), "127.0.0.9") is None
        clock.move(20)
    await one.close()

    assert told == ["127.0.0.9", "127.0.0.9"]
    assert one.counters[Count.IN_BAD_COMMUNITY_NAMES] == 5


async def test_a_community_from_a_foreign_network_is_not_answered(started: Responder) -> None:
    assert started.handle(community_request(request_pdu(PduType.GET, [SYS_NAME])), "192.0.2.1") is None


async def test_new_settings_change_who_is_answered_and_keep_the_socket(tmp_path: Path, started: Responder) -> None:
    addresses = started.addresses

    await started.reconfigure(await load_settings(tmp_path, users=[], system={"contact": "new", "location": ""}))

    assert started.addresses == addresses
    assert started.handle(v3_request(request_pdu(PduType.GET, [LABEL]), keys(), time=600), "127.0.0.1") is None
    assert Manager(started).get((1, 3, 6, 1, 2, 1, 1, 4, 0)).values == [b"new"]


async def test_the_cipher_of_a_user_who_comes_later_is_loaded_before_that_user_asks(
    tmp_path: Path, started: Responder
) -> None:
    load_aes.cache_clear()

    await started.reconfigure(await load_settings(tmp_path, v1=True))

    assert load_aes.cache_info().currsize


async def test_a_new_base_moves_the_tables_and_keeps_the_indexes(tmp_path: Path, started: Responder) -> None:
    await started.reconfigure(await load_settings(tmp_path, base_oid="1.3.6.1.4.1.99999.1"))

    found = Manager(started).get((1, 3, 6, 1, 4, 1, 99999, 1, 1, 3, 1, 3, 1), LABEL, (1, 3, 6, 1, 2, 1, 1, 2, 0))

    assert found.values == [b"payments", None, (1, 3, 6, 1, 4, 1, 99999, 1, 3, 1)]


async def test_new_settings_that_cannot_be_leave_everything_as_it_was(tmp_path: Path, started: Responder) -> None:
    addresses = started.addresses

    with pytest.raises(SnmpServerError, match=r"serve\.snmp\.listen: udp:192\.0\.2\.77:0: Cannot assign"):
        await started.reconfigure(
            await load_settings(tmp_path, listen=["udp:127.0.0.1:0", "udp:192.0.2.77:0"], users=[])
        )
    with pytest.raises(SnmpServerError, match="needs a restart"):
        await started.reconfigure(await load_settings(tmp_path, engine_id="80001f880468736d"))

    assert started.addresses == addresses
    assert started.handle(v3_request(request_pdu(PduType.GET, [LABEL]), keys(), time=600), "127.0.0.1") is not None


async def test_the_present_is_shown_from_the_start_and_followed(tmp_path: Path) -> None:
    present = store()
    one = await responder(tmp_path, present, Clock())
    await one.start()
    present.update([reading("token_sessions", 99)])

    one.changed(["luna-a"], alarms=True)
    await one.catch_up()

    assert Manager(one).get(SESSIONS).values == [99]
    await one.close()


async def test_what_changed_is_shown_by_the_task_that_runs_beside(started: Responder) -> None:
    running = asyncio.create_task(started.run())
    present = started._store
    present.update([reading("token_sessions", 98)])
    started.changed(["luna-a"], alarms=False)
    present.update([reading("token_sessions", 99)])
    started.changed(["luna-a"], alarms=False)
    at_once = Manager(started).get(SESSIONS).values

    async with asyncio.timeout(5):
        while (shown := Manager(started).get(SESSIONS).values) == at_once:
            await asyncio.sleep(0)
    running.cancel()

    assert (at_once, shown) == ([12], [99])


async def test_damaged_indexes_are_told_and_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('nonsense\n["hsmToken", 1, ["a"]]\n')

    one = await responder(tmp_path, store(), Clock())
    await one.start()
    await one.close()

    assert "1 lines were damaged" in one.recovered
    assert one.problem == ""


async def test_nothing_is_answered_before_the_start(tmp_path: Path) -> None:
    one = await responder(tmp_path, store(), Clock())

    assert one.handle(community_request(request_pdu(PduType.GET, [SYS_NAME])), "127.0.0.1") is None
    one.changed(["luna-a"], alarms=True)
    await one.catch_up()
    await one.close()


async def test_serving_nobody_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = await responder(tmp_path, store(), Clock(), users=[], communities=[])
    await one.start()
    await one.close()

    assert "no request is answered" in caplog.text
