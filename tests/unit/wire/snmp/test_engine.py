"""wire.engine: time and salts."""

from __future__ import annotations

from hsm_agent.wire.snmp.engine import Engine, Salts


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
