"""What tokens are called: whoever was known first keeps the name, whoever of them is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.collect.identity import MOST_REMEMBERED, Names, ObjectIdentity

A, B = ObjectIdentity("ePass", "26F6AAAA", "slot 1"), ObjectIdentity("ePass", "26F6BBBB", "slot 2")


def called(names: Names, *tokens: ObjectIdentity, run: int = 0) -> list[str]:
    """The names that are given, in the tokens' order; a parser has called them anything."""
    given, _ = names.give(run, {f"{number}": token for number, token in enumerate(tokens)})
    return [given[f"{number}"] for number in range(len(tokens))]


def test_of_two_tokens_of_one_label_the_first_has_it_and_the_other_its_number() -> None:
    assert called(Names(), A, B) == ["ePass", "26F6BBBB"]


def test_a_name_stays_whoever_of_them_is_there_and_in_which_order() -> None:
    names = Names()
    called(names, A, B)

    assert called(names, B) == ["26F6BBBB"]
    assert called(names, B, A) == ["26F6BBBB", "ePass"]
    assert called(names, A) == ["ePass"]


def test_who_comes_later_does_not_take_the_name_of_one_who_is_missing() -> None:
    names = Names()
    called(names, A)

    assert called(names, B) == ["26F6BBBB"]
    assert called(names, B, A) == ["26F6BBBB", "ePass"]


def test_a_name_is_free_when_its_token_is_forgotten() -> None:
    names = Names()
    called(names, A, B)

    assert names.forget("ePass")
    assert not names.forget("ePass")
    assert names.give(0, {"x": B}) == ({"x": "ePass"}, {"26F6BBBB"})


def test_another_slot_is_the_same_token_and_another_label_too() -> None:
    names = Names()
    called(names, A, B)
    moved = ObjectIdentity("ePass", "26F6BBBB", "slot 7")
    renamed = ObjectIdentity("payments", "26F6AAAA", "slot 1")

    assert called(names, A, moved) == ["ePass", "26F6BBBB"]
    assert names.give(0, {"x": renamed, "y": moved}) == ({"x": "payments", "y": "ePass"}, {"26F6BBBB"})


def test_a_number_that_several_tokens_have_tells_nobody_apart() -> None:
    x, y, z = (ObjectIdentity(label, "1", f"slot {label}") for label in "xyz")
    names = Names()

    assert called(names, x, y) == ["x", "y"]
    assert called(names, z, y) == ["z", "y"]
    assert {*names.known[0]} == {"x", "y", "z"}


def test_tokens_without_number_and_label_are_their_slots() -> None:
    one, two = ObjectIdentity("", "", "slot 1"), ObjectIdentity("", "", "slot 2")
    names = Names()

    assert called(names, one, two) == ["slot 1", "slot 2"]
    assert called(names, two, ObjectIdentity("", "", "slot 3")) == ["slot 2", "slot 3"]
    assert {*names.known[0]} == {"slot 1", "slot 2", "slot 3"}


def test_tokens_of_one_label_without_numbers_are_told_apart_by_slot() -> None:
    one, two = ObjectIdentity("x", "", "slot 1"), ObjectIdentity("x", "", "slot 2")
    names = Names()

    assert called(names, one, two) == ["x", "slot 2"]
    assert called(names, two) == ["slot 2"]


@pytest.mark.parametrize("label", ["a", ""])
def test_a_token_whose_number_is_not_printed_once_is_no_other_one(label: str) -> None:
    names = Names()
    called(names, ObjectIdentity(label, "77", "slot 1"), ObjectIdentity("b", "78", "slot 2"))
    name = label or "77"

    if label:
        assert called(names, ObjectIdentity(label, "", "slot 1"), ObjectIdentity("b", "78", "slot 2")) == [name, "b"]
    assert called(names, ObjectIdentity(label, "77", "slot 1"), ObjectIdentity("b", "", "slot 2")) == [name, "b"]
    assert called(names, ObjectIdentity("b", "78", "slot 9")) == ["b"]
    assert {*names.known[0]} == {name, "b"}


def test_one_token_that_two_commands_show_has_one_name_and_two_tokens_have_two() -> None:
    names = Names()
    called(names, A, run=0)

    assert called(names, A, run=1) == ["ePass"]
    assert called(names, B, run=2) == ["26F6BBBB"]
    assert called(names, ObjectIdentity("ePass", "", "slot 4"), run=3) == ["slot 4"]
    assert called(names, ObjectIdentity("ePass", "", "slot 4"), run=4) == ["0"]
    assert called(names, ObjectIdentity("ePass", "", "slot 4"), run=5) == ["0 (2)"]


def test_a_token_whose_label_could_not_be_read_keeps_its_name() -> None:
    names = Names()
    called(names, A, B)
    unread = ObjectIdentity("", "26F6AAAA", is_partial=True)

    assert called(names, unread, B) == ["ePass", "26F6BBBB"]
    assert called(names, A, B) == ["ePass", "26F6BBBB"]
    assert called(Names(), unread) == ["26F6AAAA"]
    assert names.known[0]["ePass"].label == "ePass"


def test_the_label_of_one_may_be_the_number_of_another() -> None:
    names = Names()
    called(names, ObjectIdentity("26F6BBBB", "1", "slot 0"), A)

    assert called(names, ObjectIdentity("26F6BBBB", "1", "slot 0"), A, B) == ["26F6BBBB", "ePass", "slot 2"]


def test_tokens_that_change_from_poll_to_poll_do_not_pile_up() -> None:
    names = Names()
    for poll in range(5):
        called(names, A, *(ObjectIdentity(f"{poll} {number}", f"{poll}-{number}") for number in range(500)))

    assert len(names.known[0]) == 1 + 500 + MOST_REMEMBERED
    assert "0 1" not in names.known[0]
    assert "ePass" in names.known[0]


_TOKENS = [
    ObjectIdentity(label, f"{number}", f"slot {number}")
    for number, label in enumerate(["a", "a", "b", "", "a", "2", ""])
]


@given(st.lists(st.lists(st.sampled_from(_TOKENS), unique=True), max_size=8), st.booleans())
def test_whatever_comes_and_goes_every_token_keeps_a_name_of_its_own(
    polls: list[list[ObjectIdentity]], restarts: bool
) -> None:
    names, first = Names(), dict[str, str]()
    for tokens in polls:
        for token, name in zip(tokens, called(names, *tokens), strict=True):
            assert first.setdefault(token.serial, name) == name
        assert len({*first.values()}) == len(first)
        if restarts:
            again = Names()
            again.known = {run: dict(known) for run, known in names.known.items()}
            names = again
