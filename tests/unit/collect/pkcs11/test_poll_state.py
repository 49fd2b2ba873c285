from __future__ import annotations

from typing import Any

from hsm_agent.collect.pkcs11.poll_state import STORE, SWEEP, ParseOptions, ParseState, PollMemory, TokenSlot
from hsm_agent.collect.pkcs11.token import TokenIdentity
from hsm_agent.collect.series import Fact
from tests.unit.collect.pkcs11_raws import AT, raw

ALPHA, KEY = TokenIdentity("alpha", "S1"), ("alpha", "S1", -1)


def _state(known: PollMemory | None = None, **poll: Any) -> ParseState:
    return ParseState(raw(**poll), ParseOptions(name="hsm"), known or PollMemory())


def test_facts_become_readings_of_the_source() -> None:
    book = _state()
    book.add("alpha", [Fact("token_sessions", None, "why", (("a", "b"),))], 5.0)

    (reading,) = book.readings
    assert (reading.source, reading.resource, reading.metric) == ("hsm", "alpha", "token_sessions")
    assert (reading.value, reading.reason, reading.labels, reading.time) == (None, "why", (("a", "b"),), 5.0)


def test_what_was_once_read_is_lost_with_its_labels() -> None:
    first = _state()
    first.add("alpha", [Fact("token_present", 1, labels=(("expected", "true"),)), Fact("token_sessions", 3)], AT)
    book = _state(first.memory_afterwards())
    book.lose("alpha", "gone", but=("token_sessions",))

    (reading,) = book.readings
    assert (reading.metric, reading.labels, reading.reason) == ("token_present", (("expected", "true"),), "gone")


def test_presence_says_whether_the_token_is_expected() -> None:
    assert _state().presence(present=False, expected=True).labels == (("expected", "true"),)
    assert _state().presence(present=None, expected=False, reason="why") == Fact(
        "token_present", None, "why", (("expected", "false"),)
    )


def test_a_failed_slot_keeps_its_token_for_the_next_poll() -> None:
    book = _state()
    book.tokens = {}
    book.failed[3] = TokenSlot("alpha", ALPHA, KEY)

    assert book.memory_afterwards().tokens == {3: TokenSlot("alpha", ALPHA, KEY)}


def test_forgotten_names_leave_no_series() -> None:
    first = _state()
    first.add("alpha", [Fact("token_sessions", 3)], AT)
    book = _state(first.memory_afterwards())
    book.forgotten.add("alpha")

    assert "alpha" not in book.memory_afterwards().series


def test_what_failed_stands_until_it_is_tried_again() -> None:
    first = _state()
    first.tokens = {1: TokenSlot("alpha", ALPHA, KEY)}
    for topic, error in ((SWEEP, "slot 2 hung"), (("objects", "alpha"), "alpha: no"), (STORE, "store: no")):
        first.fail(topic, error)
    audit = _state(first.memory_afterwards(), sweep=False)
    sweep = _state(audit.memory_afterwards(), fill={"bytes": 1})
    sweep.tokens = first.tokens

    assert first.errors() == ("slot 2 hung", "alpha: no", "store: no")
    assert audit.errors() == ()
    assert audit.standing() == ("slot 2 hung", "alpha: no", "store: no")
    assert sweep.standing() == ("alpha: no",)


def test_nothing_stands_of_a_token_that_is_gone() -> None:
    first = _state()
    first.tokens = {1: TokenSlot("alpha", ALPHA, KEY)}
    first.fail(("objects", "alpha"), "alpha: no")
    sweep = _state(first.memory_afterwards())
    sweep.tokens = {}

    assert sweep.standing() == ()
