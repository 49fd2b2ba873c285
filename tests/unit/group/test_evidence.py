"""What an outage proves: alone only where a majority is down for sure, else isolated."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.group.evidence import Instant, Outage, Quorum, Standing, is_sound, quorum_of, standing_of
from hsm_agent.net.etcd_messages import (
    AnswerTooLong,
    AuthenticationIsOff,
    CertificateExpired,
    Compacted,
    EndpointDown,
    EtcdRefused,
    EtcdTrouble,
    EtcdUnavailable,
    LeaseGone,
    NoProof,
    NotPermitted,
    TokenEnded,
)

WORKS, DOWN, UNPROVEN = Standing.WORKS, Standing.DOWN, Standing.UNPROVEN


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (None, WORKS),
        (EtcdRefused("wrong"), WORKS),
        (LeaseGone("gone"), WORKS),
        (Compacted("old"), WORKS),
        (AnswerTooLong("long"), WORKS),
        (AuthenticationIsOff("off"), WORKS),
        (NotPermitted("permission denied"), UNPROVEN),
        (TokenEnded("who"), UNPROVEN),
        (NoProof("silence"), UNPROVEN),
        (EndpointDown("no leader"), DOWN),
        (CertificateExpired("over"), DOWN),
        (EtcdUnavailable({"a": EndpointDown("refused")}), DOWN),
        (EtcdUnavailable({"a": NoProof("silence")}), UNPROVEN),
        (EtcdUnavailable({"a": EndpointDown("refused"), "b": EndpointDown("refused")}), UNPROVEN),
        (EtcdUnavailable({}), UNPROVEN),
    ],
    ids=lambda each: f"{type(each).__name__} {each}" if isinstance(each, EtcdTrouble) else str(each),
)
def test_what_the_answer_of_one_endpoint_proves(trouble: EtcdTrouble | None, expected: Standing) -> None:
    assert standing_of(trouble, clock_is_sound=True) is expected


def test_a_certificate_that_has_expired_proves_nothing_by_a_clock_that_is_wrong() -> None:
    assert standing_of(CertificateExpired("over"), clock_is_sound=False) is UNPROVEN
    assert standing_of(EndpointDown("refused"), clock_is_sound=False) is DOWN


@pytest.mark.parametrize("members", range(1, 8))
def test_no_quorum_can_exist_where_a_majority_is_down_and_not_before(members: int) -> None:
    for found in product(Standing, repeat=members) if members < 6 else []:
        verdict = quorum_of({str(index): each for index, each in enumerate(found)})
        if WORKS in found:
            assert verdict is Quorum.SERVES
        elif found.count(DOWN) > members / 2:
            assert verdict is Quorum.IMPOSSIBLE
        else:
            assert verdict is Quorum.UNKNOWN


NOW = Instant(wall=1_700_000_000.0, boot=5_000.0)


@pytest.mark.parametrize(
    ("seen", "stored", "expected"),
    [
        (None, NOW.wall - 60, True),
        (None, NOW.wall - 2 * 86400, False),  # our clock leapt, or the host was off for days: nobody knows
        (None, 0.0, False),
        (None, NOW.wall + 1, False),
        (Instant(wall=NOW.wall - 100, boot=NOW.boot - 100), NOW.wall - 60, True),
        (Instant(wall=NOW.wall - 150, boot=NOW.boot - 100), NOW.wall - 60, True),
        (Instant(wall=NOW.wall - 500, boot=NOW.boot - 100), NOW.wall - 600, False),
        (Instant(wall=NOW.wall + 500, boot=NOW.boot - 100), NOW.wall - 600, False),
        (Instant(wall=NOW.wall - 9 * 86400, boot=NOW.boot - 9 * 86400), NOW.wall - 9 * 86400, True),
        (Instant(wall=NOW.wall - 100, boot=NOW.boot - 100), NOW.wall + 1, False),
    ],
)
def test_our_clock_is_sound_while_it_goes_on_from_what_was_seen_or_stored(
    seen: Instant | None, stored: float, *, expected: bool
) -> None:
    assert is_sound(NOW, seen=seen, stored=stored) is expected


def test_nothing_follows_before_its_time_and_one_endpoint_that_works_ends_it() -> None:
    outage = Outage(after_seconds=10, now=100)
    outage.asked({"a": DOWN, "b": DOWN, "c": UNPROVEN}, now=105)

    assert outage.verdict(109.9) is Quorum.SERVES
    assert outage.verdict(110) is Quorum.IMPOSSIBLE
    outage.asked({"a": DOWN, "b": UNPROVEN, "c": UNPROVEN}, now=111)  # it may serve others again
    assert outage.verdict(111) is Quorum.UNKNOWN
    outage.asked({"a": DOWN, "b": DOWN, "c": WORKS}, now=112)
    assert outage.verdict(112) is Quorum.SERVES
    outage.asked({"a": DOWN, "b": DOWN, "c": DOWN}, now=113)
    assert outage.verdict(121.9) is Quorum.SERVES
    assert outage.verdict(122) is Quorum.IMPOSSIBLE
    outage.succeeded(122.5)
    assert outage.verdict(122.5) is Quorum.SERVES


def test_a_host_that_wakes_knows_nothing_until_it_has_asked() -> None:
    outage = Outage(after_seconds=10, now=100)
    outage.succeeded(101)

    assert outage.verdict(90_000) is Quorum.SERVES
    outage.asked({"a": UNPROVEN}, now=90_001)
    assert outage.verdict(90_001) is Quorum.UNKNOWN


@given(st.lists(st.tuples(st.floats(0, 5), st.lists(st.sampled_from(Standing), min_size=3, max_size=3)), max_size=30))
def test_alone_is_only_who_was_without_success_for_so_long_and_saw_a_majority_down(
    asked: list[tuple[float, list[Standing]]],
) -> None:
    now = succeeded = 50.0
    outage = Outage(after_seconds=10, now=now)
    for passed, found in asked:
        now += passed
        outage.asked(dict(zip("abc", found, strict=True)), now)
        if WORKS in found:
            succeeded = now
        if outage.verdict(now) is not Quorum.SERVES:
            assert now - succeeded >= 10
            assert (outage.verdict(now) is Quorum.IMPOSSIBLE) is (found.count(DOWN) >= 2)
