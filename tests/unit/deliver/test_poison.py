"""An event is guilty only when it failed twice in a row between things that were accepted, three times over."""

from __future__ import annotations

import random

import pytest

from hsm_agent.deliver.retries import LONG_SECONDS, SESSIONS, TRIALS, PoisonDetector


class _Rig:
    def __init__(self) -> None:
        self.now = 1000.0
        self.suspicion = PoisonDetector(window=8)

    def refuse(self, seq: int) -> None:
        self.now += 100
        self.suspicion.refused(seq, self.now)

    def break_on(self, *batch: int, sent: bool = True) -> None:
        self.now += 100
        self.suspicion.failed(batch, sent=sent, now=self.now)


@pytest.fixture
def rig() -> _Rig:
    return _Rig()


def test_refusals_alone_convict_nobody(rig: _Rig) -> None:
    for _ in range(100):
        rig.refuse(7)

    assert rig.suspicion.poisonous() is None
    assert set(rig.suspicion.aside) == {7}


def test_three_trials_in_which_another_was_accepted_do(rig: _Rig) -> None:
    rig.refuse(7)
    for number in range(TRIALS):
        assert rig.suspicion.poisonous() is None
        rig.suspicion.accepted([8 + number])
        rig.refuse(7)
        assert rig.suspicion.turn_of(rig.now) == 7  # at once, with nothing in between
        assert not rig.suspicion.wants_heartbeat()
        rig.refuse(7)
        assert rig.suspicion.wants_heartbeat()
        rig.suspicion.accepted([])
        assert not rig.suspicion.wants_heartbeat()

    assert rig.suspicion.poisonous() == 7


def test_a_receiver_that_takes_nothing_after_a_trial_convicts_nobody(rig: _Rig) -> None:
    rig.refuse(7)
    for _ in range(10 * TRIALS):
        rig.suspicion.accepted([8])
        rig.refuse(7)
        rig.refuse(7)
        rig.break_on(sent=True)  # the heartbeat
        rig.suspicion.accepted([])

    assert rig.suspicion.poisonous() is None


def test_a_heartbeat_is_a_witness_only_after_a_real_event(rig: _Rig) -> None:
    rig.refuse(7)
    for _ in range(10):
        rig.suspicion.accepted([])
        assert not rig.suspicion.wants_heartbeat_before(7)
        rig.refuse(7)
        rig.refuse(7)
    assert rig.suspicion.poisonous() is None

    rig.suspicion.accepted([8])
    for _ in range(TRIALS):
        assert rig.suspicion.poisonous() is None
        rig.refuse(7)
        rig.refuse(7)
        assert rig.suspicion.wants_heartbeat_before(7)
        rig.suspicion.accepted([])

    assert rig.suspicion.poisonous() == 7


def test_what_was_accepted_before_an_outage_is_no_evidence_after_it(rig: _Rig) -> None:
    rig.refuse(7)
    for _ in range(TRIALS):
        rig.suspicion.accepted([8])
        rig.break_on(9, sent=False)
        rig.refuse(7)
        rig.refuse(7)

    assert rig.suspicion.poisonous() is None


@pytest.mark.parametrize("seed", range(20))
def test_a_receiver_that_refuses_every_second_message_convicts_nobody(seed: int) -> None:
    chance = random.Random(seed)
    rig, count = _Rig(), 0
    for fresh in range(100, 200):
        while (turn := rig.suspicion.turn_of(rig.now)) is not None or chance.random() < 0.5:
            count += 1
            seq = fresh if turn is None else turn
            if count % 2:
                rig.refuse(seq)
                assert rig.suspicion.poisonous() is None
            else:
                rig.suspicion.accepted([seq])
                if turn is None:
                    break


def test_after_the_first_refusal_another_one_is_tried_at_once_and_a_second_one_speaks_against_the_receiver(
    rig: _Rig,
) -> None:
    rig.suspicion.accepted([1])
    rig.refuse(7)
    assert not rig.suspicion.in_doubt

    rig.refuse(8)
    assert rig.suspicion.in_doubt


def test_in_doubt_the_oldest_and_a_new_one_take_turns(rig: _Rig) -> None:
    rig.refuse(7)
    turns = []
    for fresh in range(8, 14):
        turn = rig.suspicion.turn_of(rig.now)
        turns.append(turn)
        rig.refuse(fresh if turn is None else turn)

    assert turns in ([7, None, 7, None, 7, None], [None, 7, None, 7, None, 7])


def test_when_it_is_back_what_was_set_aside_is_due(rig: _Rig) -> None:
    for seq in (7, 8, 9, 7, 7, 8):
        rig.refuse(seq)
    rig.suspicion.accepted([10])

    assert rig.suspicion.turn_of(rig.now) in {7, 8, 9}
    assert rig.suspicion.due_in(rig.now, 60.0) == 0.0


def test_sessions_that_end_on_one_event_set_it_aside(rig: _Rig) -> None:
    for _ in range(SESSIONS - 1):
        rig.break_on(7)
        assert set(rig.suspicion.aside) == set()
    rig.break_on(7)

    assert set(rig.suspicion.aside) == {7}


def test_a_receiver_that_is_down_makes_nobody_a_suspect(rig: _Rig) -> None:
    for _ in range(100):
        rig.break_on(7, sent=False)

    assert (set(rig.suspicion.aside), rig.suspicion.limit) == (set(), 1)


def test_a_batch_of_several_proves_nothing(rig: _Rig) -> None:
    for _ in range(100):
        rig.break_on(7, 8)

    assert (set(rig.suspicion.aside), rig.suspicion.limit) == (set(), 1)


def test_sessions_count_for_one_event_only(rig: _Rig) -> None:
    for seq in (7, 7, 7, 7, 8, 7, 7, 7, 7):
        rig.break_on(seq)

    assert set(rig.suspicion.aside) == set()


def test_an_acceptance_doubles_the_batch(rig: _Rig) -> None:
    rig.break_on(7)
    limits = []
    for _ in range(5):
        limits.append(rig.suspicion.limit)
        rig.suspicion.accepted([])

    assert limits == [1, 2, 4, 8, 8]


def test_what_is_refused_for_a_minute_is_counted_once(rig: _Rig) -> None:
    rig.suspicion.refused(7, 0.0)
    rig.suspicion.refused(7, LONG_SECONDS - 1)
    assert rig.suspicion.long_refused == 0
    for seconds in range(5):
        rig.suspicion.refused(7, LONG_SECONDS + seconds)

    assert rig.suspicion.long_refused == 1


def test_a_long_outage_does_not_gather_for_ever(rig: _Rig) -> None:
    for seq in range(5000):
        rig.refuse(seq)

    assert len(rig.suspicion.aside) <= 1000


def test_a_pardon_lets_all_of_them_come_again(rig: _Rig) -> None:
    rig.refuse(7)
    rig.suspicion.clear()
    rig.suspicion.forget(7)

    assert (set(rig.suspicion.aside), rig.suspicion.due_in(rig.now, 60.0)) == (set(), 60.0)
