"""Pauses grow from half a second to a minute, at random, until something is acknowledged."""

from __future__ import annotations

import random

from hsm_agent.deliver.retries import Backoff


def test_the_ceiling_doubles_up_to_a_minute() -> None:
    backoff = Backoff(chance=lambda: 1.0)

    assert [backoff.next() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_chance_never_goes_below_half_a_second_or_above_a_minute() -> None:
    chance = random.Random(7)
    backoff = Backoff(chance=chance.random)

    pauses = [backoff.next() for _ in range(500)]

    assert 0.5 <= min(pauses) < 2
    assert 55 < max(pauses) <= 60
    assert len(set(pauses)) == 500


def test_a_pause_is_as_long_as_the_receiver_asked_and_no_longer_than_the_longest() -> None:
    backoff = Backoff(chance=lambda: 1.0)

    assert [backoff.next(asked) for asked in (0.0, 30.0, 3.0, 10.0**9)] == [1, 30, 4, 60]


def test_an_acknowledgement_starts_it_over() -> None:
    backoff = Backoff(chance=lambda: 1.0)
    backoff.next()
    backoff.next()

    backoff.reset()

    assert backoff.next() == 1
