from __future__ import annotations

from hsm_agent.collect.pkcs11.book import Book, Known, TokenSlot, Watch
from hsm_agent.collect.pkcs11.naming import Identity
from hsm_agent.collect.pkcs11.raw import typed
from hsm_agent.collect.pkcs11.token import Fact
from tests.unit.collect.pkcs11_raws import AT, raw

ALPHA = Identity("alpha", "S1")


def _book(known: Known | None = None, **watch: tuple[str, ...]) -> Book:
    return Book(typed(raw()), Watch(source="hsm", **watch), known or Known())  # type: ignore[arg-type] # tokens only


def test_facts_become_readings_of_the_source() -> None:
    book = _book()
    book.add("alpha", [Fact("token_sessions", None, "why", (("a", "b"),))], 5.0)

    (reading,) = book.readings
    assert (reading.source, reading.resource, reading.metric) == ("hsm", "alpha", "token_sessions")
    assert (reading.value, reading.reason, reading.labels, reading.time) == (None, "why", (("a", "b"),), 5.0)


def test_what_was_once_read_is_lost_with_its_labels() -> None:
    first = _book()
    first.add("alpha", [Fact("token_present", 1, labels=(("expected", "true"),)), Fact("token_sessions", 3)], AT)
    book = _book(first.known_now())
    book.lose("alpha", "gone", but=("token_sessions",))

    (reading,) = book.readings
    assert (reading.metric, reading.labels, reading.reason) == ("token_present", (("expected", "true"),), "gone")


def test_presence_says_whether_the_token_is_expected() -> None:
    assert _book(tokens=("alpha",)).presence(ALPHA, present=False).labels == (("expected", "true"),)
    assert _book(tokens=("al*",)).presence(ALPHA, present=True).labels == (("expected", "false"),)
    assert _book().presence(ALPHA, present=None, reason="why") == Fact(
        "token_present", None, "why", (("expected", "false"),)
    )


def test_a_failed_slot_keeps_its_token_for_the_next_poll() -> None:
    book = _book()
    book.tokens = {}
    book.failed[3] = TokenSlot("alpha", ALPHA)

    assert book.known_now().tokens == {3: TokenSlot("alpha", ALPHA)}


def test_forgotten_names_leave_no_series() -> None:
    first = _book()
    first.add("alpha", [Fact("token_sessions", 3)], AT)
    book = _book(first.known_now())
    book.forgotten.add("alpha")

    assert "alpha" not in book.known_now().series
