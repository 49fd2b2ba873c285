from __future__ import annotations

import pytest

from hsm_agent.collect.pkcs11.token import (
    MOST_REMEMBERED,
    TokenIdentity,
    expected,
    keys,
    missing,
    remember,
    resources,
    watched,
)

ALPHA, BETA = TokenIdentity("alpha", "A1"), TokenIdentity("beta", "B1")


@pytest.mark.parametrize(
    ("tokens", "names"),
    [
        pytest.param([("alpha", "1"), ("beta", "2")], ["alpha", "beta"], id="labels"),
        pytest.param([("same", "1"), ("same", "2")], ["same", "2"], id="labels collide"),
        pytest.param([("", "1"), ("beta", "2")], ["1", "beta"], id="a blank label"),
        pytest.param([("", ""), ("", "")], ["slot 0", "slot 1"], id="nothing to tell them apart"),
        pytest.param([("same", "0"), ("same", "0")], ["slot 0", "slot 1"], id="serials collide too"),
        pytest.param([("a", "0"), ("a", "1"), ("b", "1")], ["a", "slot 1", "b"], id="a serial of two"),
        pytest.param([("x", "1"), ("", "x")], ["x", "slot 1"], id="a serial that is another's label"),
    ],
)
def test_resources(tokens: list[tuple[str, str]], names: list[str]) -> None:
    found = resources({slot: TokenIdentity(*token) for slot, token in enumerate(tokens)}, {})

    assert [found[slot] for slot in range(len(tokens))] == names


TWIN = TokenIdentity("alpha", "A2")


@pytest.mark.parametrize(
    ("tokens", "seen", "names"),
    [
        pytest.param([TWIN, ALPHA], {"alpha": ALPHA}, ["A2", "alpha"], id="who was here first keeps the label"),
        pytest.param([TWIN], {"alpha": ALPHA, "A2": TWIN}, ["A2"], id="while it is missing as well"),
        pytest.param([TWIN], {"alpha": ALPHA}, ["A2"], id="a newcomer does not get it"),
        pytest.param([TWIN], {"A2": TWIN}, ["alpha"], id="nobody has it any more"),
        pytest.param([ALPHA, TWIN], {"A1": ALPHA, "A2": TWIN}, ["alpha", "A2"], id="both were renamed once"),
        pytest.param(
            [TokenIdentity("new", "A1"), TWIN], {"alpha": ALPHA}, ["new", "alpha"], id="who had it is called anew"
        ),
        pytest.param([BETA, BETA], {"beta": BETA}, ["beta", "slot 1"], id="a double of a known one"),
    ],
)
def test_names_last(tokens: list[TokenIdentity], seen: dict[str, TokenIdentity], names: list[str]) -> None:
    found = resources(dict(enumerate(tokens)), seen)

    assert [found[slot] for slot in range(len(tokens))] == names


def test_tokens_that_nothing_tells_apart_have_their_slot_in_their_key() -> None:
    assert keys({4: ALPHA, 5: BETA, 6: BETA}) == {4: ("alpha", "A1", -1), 5: ("beta", "B1", 5), 6: ("beta", "B1", 6)}


@pytest.mark.parametrize(("globs", "is_watched"), [(["*"], True), (["al*"], True), (["A1"], True), (["ALPHA"], False)])
def test_globs_speak_of_label_or_serial(globs: list[str], is_watched: bool) -> None:
    assert watched(ALPHA, globs) == is_watched


def test_names_without_a_wildcard_are_expected() -> None:
    assert [*missing({}, {}, ["*", "alpha", "b?ta", "[ab]", "A1"])] == ["alpha", "A1"]
    assert expected(ALPHA, ["A1"])
    assert not expected(ALPHA, ["al*"])


@pytest.mark.parametrize("label", ["prod[1]", "a*", "why?"])
def test_a_label_that_holds_a_wildcard_can_be_named(label: str) -> None:
    token = TokenIdentity(label, "S1")

    assert watched(token, [label])
    assert expected(token, [label])
    assert not watched(TokenIdentity("prod1", "S1"), ["prod[2]"])


def test_tokens_of_one_serial_do_not_stand_for_each_other() -> None:
    one, two = TokenIdentity("one", "0000"), TokenIdentity("two", "0000")

    assert missing({"two": two}, {"one": one, "two": two}, ["*"]) == {"one": (one, False)}


def test_a_token_seen_before_is_missed() -> None:
    assert missing({"beta": BETA}, {"alpha": ALPHA, "beta": BETA}, ["*"]) == {"alpha": (ALPHA, False)}


def test_an_expected_token_is_missed_once_under_the_name_it_had() -> None:
    assert missing({}, {"alpha": ALPHA}, ["A1"]) == {"alpha": (ALPHA, True)}
    assert missing({}, {}, ["vault"]) == {"vault": (TokenIdentity("vault", ""), True)}


@pytest.mark.parametrize(
    "present",
    [
        pytest.param({"A1": ALPHA}, id="its name is another now"),
        pytest.param({"omega": TokenIdentity("omega", "A1")}, id="its label was changed"),
    ],
)
def test_a_token_that_is_here_in_another_way_is_not_missed(present: dict[str, TokenIdentity]) -> None:
    assert missing(present, {"alpha": ALPHA}, ["*"]) == {}


def test_what_is_no_longer_watched_is_not_missed() -> None:
    assert missing({}, {"alpha": ALPHA}, ["b*"]) == {}


def test_remembers_the_present_and_the_missing_and_forgets_old_names() -> None:
    assert remember({"beta": BETA}, {"alpha": ALPHA}, ["*"]) == {"beta": BETA, "alpha": ALPHA}
    assert remember({"A1": ALPHA}, {"alpha": ALPHA}, ["*"]) == {"A1": ALPHA}
    assert remember({"beta": BETA}, {}, ["vault"]) == {"beta": BETA}


def test_memory_is_bounded() -> None:
    seen = {f"t{n}": TokenIdentity(f"t{n}", f"s{n}") for n in range(MOST_REMEMBERED + 10)}

    assert len(remember({"beta": BETA}, seen, ["*"])) == MOST_REMEMBERED
