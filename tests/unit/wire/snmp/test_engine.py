"""Engines: identity and boots, counters, and the clocks of others by the rules of RFC 3414 section 3.2 (7) b."""

from __future__ import annotations

import pytest

from hsm_agent.wire.snmp.client_engine import RemoteEngine
from hsm_agent.wire.snmp.engine import MAX_BOOTS, Count, Counters, Engine, RemoteClock, Salts
from hsm_agent.wire.snmp.pdu import MIN_MAX_OCTETS
from tests.fakes.snmp_messages import AUTH_USER


def test_engine_time_is_whole_seconds_since_the_start() -> None:
    engine = Engine(engine_id=bytes(12), boots=1, started=100.0)

    assert engine.time(100.9) == 0
    assert engine.time(161.0) == 61


def test_engine_time_stays_within_its_range() -> None:
    engine = Engine(engine_id=bytes(12), boots=1, started=100.0)

    assert engine.time(99.0) == 0
    assert engine.time(1e12) == 2**31 - 1


def test_an_engine_without_stored_boots_is_held() -> None:
    assert Engine(engine_id=bytes(12), boots=0, started=0.0).is_held
    assert not Engine(engine_id=bytes(12), boots=1, started=0.0).is_held


def test_salts_count_on_from_their_start_and_wrap() -> None:
    salts = Salts(2**64 - 1)

    assert [salts.draw(), salts.draw()] == [b"\xff" * 8, b"\x00" * 8]


def test_engines_start_their_salts_anywhere() -> None:
    first, second = (Engine(engine_id=bytes(12), boots=1, started=0.0) for _ in range(2))

    assert first == second
    assert first.salts.draw() != second.salts.draw()


def clock(*, boots: int = 3, time: int = 1000, now: float = 50.0) -> RemoteClock:
    """A clock whose boots and time were learnt."""
    made = RemoteClock()
    assert made.learn(boots, time, now)
    return made


def test_the_first_authentic_time_is_taken_whatever_it_is() -> None:
    made = clock(boots=0, time=0)

    assert made.authentic
    assert (made.boots, made.time_at(50.0)) == (0, 0)


def test_time_goes_on_by_our_clock_and_ends_with_its_range() -> None:
    made = clock()

    assert made.time_at(61.5) == 1011
    assert made.time_at(1e12) == 2**31 - 1


@pytest.mark.parametrize(
    ("boots", "time", "is_news"),
    [
        pytest.param(4, 0, True, id="started anew"),
        pytest.param(3, 1001, True, id="later"),
        pytest.param(3, 1000, False, id="the same"),
        pytest.param(3, 999, False, id="earlier"),
        pytest.param(2, 5000, False, id="before the last start"),
    ],
)
def test_only_later_times_are_learnt(boots: int, time: int, is_news: bool) -> None:
    made = clock()

    assert made.learn(boots, time, 60.0) is is_news
    assert (made.boots, made.time) == ((boots, time) if is_news else (3, 1000))


@pytest.mark.parametrize(
    ("boots", "time", "late"),
    [
        pytest.param(3, 1000, False, id="now"),
        pytest.param(3, 850, False, id="150 seconds ago"),
        pytest.param(3, 849, True, id="151 seconds ago"),
        pytest.param(3, 9000, False, id="in the future"),
        pytest.param(2, 1000, True, id="before the last start"),
    ],
)
def test_what_is_older_than_the_window_is_late(boots: int, time: int, late: bool) -> None:
    assert clock().is_late(boots, time, 50.0) is late


def test_with_boots_used_up_everything_is_late() -> None:
    assert clock(boots=MAX_BOOTS).is_late(MAX_BOOTS, 1000, 50.0)


def test_counting_starts_at_nothing_and_says_the_new_count() -> None:
    counters = Counters()

    assert [counters[count] for count in Count] == [0] * 18
    assert counters.add(Count.IN_PKTS) == 1
    assert counters.add(Count.IN_PKTS) == 2
    assert counters[Count.IN_PKTS] == 2
    assert counters[Count.WRONG_DIGESTS] == 0


def test_counters_stand_where_the_rfcs_put_them() -> None:
    names = {count.name: ".".join(map(str, count.oid)) for count in Count}

    assert names == {
        "IN_PKTS": "1.3.6.1.2.1.11.1.0",
        "IN_BAD_VERSIONS": "1.3.6.1.2.1.11.3.0",
        "IN_BAD_COMMUNITY_NAMES": "1.3.6.1.2.1.11.4.0",
        "IN_BAD_COMMUNITY_USES": "1.3.6.1.2.1.11.5.0",
        "IN_ASN_PARSE_ERRS": "1.3.6.1.2.1.11.6.0",
        "SILENT_DROPS": "1.3.6.1.2.1.11.31.0",
        "PROXY_DROPS": "1.3.6.1.2.1.11.32.0",
        "UNKNOWN_SECURITY_MODELS": "1.3.6.1.6.3.11.2.1.1.0",
        "INVALID_MSGS": "1.3.6.1.6.3.11.2.1.2.0",
        "UNKNOWN_PDU_HANDLERS": "1.3.6.1.6.3.11.2.1.3.0",
        "UNAVAILABLE_CONTEXTS": "1.3.6.1.6.3.12.1.4.0",
        "UNKNOWN_CONTEXTS": "1.3.6.1.6.3.12.1.5.0",
        "UNSUPPORTED_SEC_LEVELS": "1.3.6.1.6.3.15.1.1.1.0",
        "NOT_IN_TIME_WINDOWS": "1.3.6.1.6.3.15.1.1.2.0",
        "UNKNOWN_USER_NAMES": "1.3.6.1.6.3.15.1.1.3.0",
        "UNKNOWN_ENGINE_IDS": "1.3.6.1.6.3.15.1.1.4.0",
        "WRONG_DIGESTS": "1.3.6.1.6.3.15.1.1.5.0",
        "DECRYPTION_ERRORS": "1.3.6.1.6.3.15.1.1.6.0",
    }


def test_a_receiver_takes_the_least_of_all_engines_until_it_says_more_and_learns_its_time() -> None:
    made = RemoteEngine(keys=AUTH_USER.localize(b"receiver"), engine_id=b"receiver")

    assert made.max_octets == MIN_MAX_OCTETS
    assert made.learn(3, 1000, 50.0)
    assert made.time_at(60.0) == 1010
