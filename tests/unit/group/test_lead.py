"""When an agent tries to lead, tells, follows and hands over, by clocks that are given."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.group.keys import FORMAT, BeatRecord, HeadRecord, LockRecord, MemberRecord, Seen
from hsm_agent.group.lead import (
    HAND_OVER_PAUSE_SECONDS,
    Candidate,
    HandOver,
    Tenure,
    claim,
    may_follow,
    must_seed,
    withdraws,
)
from hsm_agent.group.progress import Progress
from hsm_agent.model import GroupRole

ME = Candidate(name="a", instance="1", lease_seconds=2.0, sinks=frozenset({"siem"}))
ABSENT: Seen[LockRecord] = Seen(at=100.0)
NO_BEAT: Seen[BeatRecord] = Seen(at=100.0)


def lock(
    name: str = "b",
    instance: str = "2",
    *,
    at: float = 100.0,
    lease: float = 2.0,
    sinks: tuple[str, ...] = ("siem",),
    newer: int = 0,
) -> Seen[LockRecord]:
    record = LockRecord(name=name, instance=instance, format=FORMAT + newer, lease_seconds=lease, sinks=list(sinks))
    return Seen(record=record, mod_revision=7, at=at)


def beat(*, at: float = 100.0, yields_to: str | None = None, number: int = 0) -> Seen[BeatRecord]:
    return Seen(record=BeatRecord(time=1.0, epoch=7, number=number, yields_to=yields_to), mod_revision=8, at=at)


def test_who_has_seen_no_beat_for_a_lease_may_try() -> None:
    assert claim(ME, lock(at=90.0), beat(at=100.0)).at == 102.0


def test_who_led_last_and_was_given_another_lease_leads_at_once() -> None:
    found = claim(ME, lock(ME.name, ME.instance, lease=5.0), beat())
    assert (found.at, found.unfit) == (100.0, "")


def test_before_the_first_look_nobody_tries() -> None:
    assert claim(ME, Seen(), Seen()).at == inf


def test_where_nobody_has_ever_led_anybody_may_at_once() -> None:
    assert claim(ME, ABSENT, NO_BEAT).at == 100.0


def test_where_the_lock_is_gone_who_led_last_is_first() -> None:
    assert claim(ME, ABSENT, NO_BEAT, last_leader="a").at == 100.0
    assert claim(ME, ABSENT, NO_BEAT, last_leader="b").at == 102.0


def test_who_finds_itself_in_the_lock_leads_at_once() -> None:
    assert claim(ME, lock("a", "1"), beat()).at == 100.0


def test_another_host_of_the_same_name_waits_as_everybody() -> None:
    assert claim(ME, lock("a", "9"), beat()).at == 102.0


def test_the_longer_lease_of_both_counts_and_who_differs_stands_back() -> None:
    found = claim(ME, lock(lease=5.0), beat())

    assert found.at == 100.0 + 5.0 + 3 * 5.0
    assert found.unfit == "a lease of 2 s here, and of 5 s at b"


def test_who_lacks_a_sink_stands_back_and_says_so() -> None:
    found = claim(ME, lock(sinks=("nms", "siem")), beat())

    assert found.at == 108.0
    assert found.unfit == "no sink nms here, which b has"


def test_a_lock_that_cannot_be_read_is_taken_late() -> None:
    assert claim(ME, Seen(mod_revision=7, at=100.0), beat()).at == 108.0


def test_a_newer_format_is_never_led() -> None:
    assert claim(ME, lock(newer=1), beat()).at == inf


def test_who_is_yielded_to_leads_at_once_and_others_wait() -> None:
    assert claim(ME, lock(), beat(yields_to="a")).at == 100.0
    assert claim(ME, lock(), beat(yields_to="")).at == 100.0
    assert claim(ME, lock(), beat(yields_to="c")).at == 102.0


def test_who_has_yielded_waits() -> None:
    assert claim(ME, lock("a", "1"), beat(yields_to=""), not_before=106.0).at == 106.0


@given(
    lease=st.floats(2.0, 60.0),
    leader_speed=st.floats(0.98, 1.02),
    standby_speed=st.floats(0.98, 1.02),
    begun=st.floats(0.0, 1e6),
    on_the_way=st.floats(0.0, 30.0),
)
def test_nobody_may_lead_before_the_last_beat_has_ended(
    lease: float, leader_speed: float, standby_speed: float, begun: float, on_the_way: float
) -> None:
    """Times are the world's; the clocks of both run at speeds of their own."""
    tenure = Tenure(epoch=7, lease_seconds=lease, beaten_at=begun * leader_speed, is_open=True)
    seen_at = (begun + on_the_way) * standby_speed
    me = Candidate(name="a", instance="1", lease_seconds=lease, sinks=frozenset({"siem"}))

    tried = claim(me, lock(lease=lease, at=0.0), beat(at=seen_at)).at / standby_speed

    assert not tenure.may_tell(tried * leader_speed)


def test_a_tenure_ends_once_and_for_its_first_reason() -> None:
    tenure = Tenure(epoch=7, lease_seconds=2.0, beaten_at=10.0, is_open=True)
    assert tenure.may_tell(11.8)
    assert not tenure.may_tell(11.95)
    tenure.beaten(11.0)
    tenure.beaten(10.5)
    assert tenure.tells_until == 11.0 + 1.9
    tenure.end("another one leads", fenced=True)
    tenure.end("stopped")

    assert (tenure.ended, tenure.was_fenced) == ("another one leads", True)
    assert not tenure.may_tell(11.0)


def head(number: int, *, name: str = "x", revision: int = 9, whole: bool = True) -> Seen[HeadRecord]:
    return Seen(record=HeadRecord(id=name, number=number, time=1.0, whole=whole), mod_revision=revision, at=100.0)


HELD = Progress(cluster_id="1", revision=9, head_id="x", head_number=5)
ALONE = Progress(cluster_id="1", revision=9, head_id="x", head_number=5, alone=True)


def test_what_is_older_than_what_is_held_is_not_followed_until_somebody_leads() -> None:
    assert not may_follow(HELD, lock(), beat(), Seen(at=1.0), leader_is_there=True)
    assert not may_follow(HELD, lock(), beat(), head(6, whole=False), leader_is_there=True)
    assert not may_follow(HELD, lock(), beat(), head(4, revision=6), leader_is_there=False)
    assert not may_follow(HELD, lock(), beat(), head(4, revision=9), leader_is_there=False)
    assert may_follow(HELD, lock(), beat(), head(4, revision=9), leader_is_there=True)
    assert may_follow(HELD, lock(), beat(), head(5, revision=6), leader_is_there=False)


def test_a_leader_that_holds_more_than_stands_there_is_waited_for() -> None:
    assert not may_follow(HELD, lock(), beat(number=5), head(4), leader_is_there=True)
    assert may_follow(HELD, lock(), beat(number=4), head(4), leader_is_there=True)
    assert may_follow(HELD, lock(), beat(number=7), head(6), leader_is_there=True)


def test_who_was_alone_follows_only_a_leader_that_is_there() -> None:
    for progress in (ALONE, None):
        assert not may_follow(progress, lock(), beat(), head(9), leader_is_there=False)
        assert not may_follow(progress, lock(), beat(), head(9, revision=6), leader_is_there=True)
        assert may_follow(progress, lock(), beat(), head(9), leader_is_there=True)


def test_who_leads_puts_there_what_is_not_there() -> None:
    here = HeadRecord(id="x", number=5, time=1.0)
    older = HeadRecord(id="w", number=4, time=1.0)
    newer = HeadRecord(id="y", number=6, time=1.0)
    assert must_seed(None, None)
    assert must_seed(HELD, None)
    assert must_seed(HELD, HeadRecord(id="y", number=9, time=1.0, whole=False))
    assert must_seed(HELD, older)
    assert must_seed(ALONE, here)
    assert not must_seed(HELD, here)
    assert not must_seed(HELD, newer)
    assert not must_seed(ALONE, newer)
    assert not must_seed(None, newer)
    assert not must_seed(Progress(alone=True), newer)


def member(
    name: str,
    *,
    up: int = 3,
    digest: str = "d",
    role: GroupRole = GroupRole.STANDBY,
    sinks: tuple[str, ...] = ("siem",),
) -> MemberRecord:
    return MemberRecord(
        name=name,
        instance=name,
        digest=digest,
        role=role,
        sources_up=up,
        sources_expected=4,
        time=1.0,
        sinks=list(sinks),
    )


def test_alarms_are_withdrawn_when_every_member_has_the_same_configuration() -> None:
    own, same, other = member("a"), member("b"), member("c", digest="e")
    assert withdraws("d", [own, same], done_digest="c", was_reloaded=False)
    assert not withdraws("d", [own, same, other], done_digest="c", was_reloaded=True)
    assert not withdraws("d", [own, same], done_digest="d", was_reloaded=True)
    assert not withdraws("d", [own], done_digest="c", was_reloaded=False)
    assert withdraws("d", [own], done_digest="c", was_reloaded=True)


def test_the_lead_is_handed_to_who_has_read_more_for_long_enough() -> None:
    own = member("a", role=GroupRole.LEADER)
    hand_over = HandOver(after_seconds=120.0)

    assert hand_over.due(own, [own, member("b", up=4)], 0.0) == ""
    assert hand_over.due(own, [own, member("b", up=4)], 119.0) == ""
    assert hand_over.due(own, [own, member("b", up=4)], 120.0) == "b"


def test_the_time_begins_anew_when_the_other_was_no_better_meanwhile() -> None:
    own = member("a", role=GroupRole.LEADER)
    hand_over = HandOver(after_seconds=120.0)
    hand_over.due(own, [member("b", up=4)], 0.0)
    hand_over.due(own, [member("b", up=3)], 60.0)
    hand_over.due(own, [member("b", up=4)], 70.0)

    assert hand_over.due(own, [member("b", up=4)], 130.0) == ""


def test_the_lead_is_not_handed_over_too_often_nor_to_who_does_not_fit() -> None:
    own = member("a", role=GroupRole.LEADER)
    hand_over = HandOver(after_seconds=120.0, last=100.0)
    better = member("b", up=4)
    hand_over.due(own, [better], 0.0)
    assert hand_over.due(own, [better], 100.0 + HAND_OVER_PAUSE_SECONDS - 1) == ""
    assert hand_over.due(own, [better], 100.0 + HAND_OVER_PAUSE_SECONDS) == "b"
    for unfit in (
        member("b", up=4, digest="e"),
        member("b", up=4, sinks=()),
        member("b", up=4, role=GroupRole.ISOLATED),
    ):
        hand_over = HandOver(after_seconds=0.0)
        assert hand_over.due(own, [unfit], 5.0) == ""
    assert HandOver(after_seconds=None).due(own, [better], 1e6) == ""
