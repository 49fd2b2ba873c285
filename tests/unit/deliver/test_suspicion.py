"""An event is guilty only when five sessions in a row ended while it alone was on its way."""

from __future__ import annotations

from hsm_agent.deliver.suspicion import Suspicion


def test_five_sessions_that_ended_on_one_event_make_it_the_suspect() -> None:
    suspicion = Suspicion(window=8)
    for _ in range(4):
        suspicion.failed([7], sent=True)
    assert suspicion.suspect is None

    suspicion.failed([7], sent=True)

    assert suspicion.suspect == 7


def test_a_receiver_that_is_down_makes_nobody_a_suspect() -> None:
    suspicion = Suspicion(window=8)
    for _ in range(100):
        suspicion.failed([7], sent=False)

    assert suspicion.suspect is None


def test_a_batch_of_several_proves_nothing() -> None:
    suspicion = Suspicion(window=8)
    for _ in range(100):
        suspicion.failed([7, 8], sent=True)

    assert (suspicion.suspect, suspicion.limit) == (None, 1)


def test_sessions_count_for_one_event_only() -> None:
    suspicion = Suspicion(window=8)
    for seq in (7, 7, 7, 7, 8, 7, 7, 7, 7):
        suspicion.failed([seq], sent=True)

    assert suspicion.suspect is None


def test_an_acceptance_clears_the_suspect_and_doubles_the_batch() -> None:
    suspicion = Suspicion(window=6)
    for _ in range(5):
        suspicion.failed([7], sent=True)

    limits = []
    for _ in range(4):
        limits.append(suspicion.limit)
        suspicion.accepted()

    assert suspicion.suspect is None
    assert limits == [1, 2, 4, 6]
