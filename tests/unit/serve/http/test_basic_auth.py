from __future__ import annotations

import asyncio
import base64

import bcrypt
import pytest

from hsm_agent.serve.http.basic_auth import (
    MAX_VERIFIED,
    MAX_WAITERS_EACH,
    BasicAuth,
    TooManyChecksError,
    credentials,
)

PASSWORD = "correct horse"


def digest(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(cost)).decode()


def header(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


USERS = {"prometheus": digest(PASSWORD), "jürgen": digest("pässword")}


@pytest.fixture
def auth() -> BasicAuth:
    return BasicAuth()


class CountedChecks:
    """bcrypt, with a count of its checks."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, password: bytes, bcrypt_hash: bytes) -> bool:
        self.made += 1
        return bcrypt.checkpw(password, bcrypt_hash)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(header("prometheus", PASSWORD), True, id="right"),
        pytest.param(header("prometheus", PASSWORD).replace("Basic", "bAsIc"), True, id="scheme in any case"),
        pytest.param(header("jürgen", "pässword"), True, id="UTF-8"),
        pytest.param(header("prometheus", "wrong"), False, id="wrong password"),
        pytest.param(header("prometheus", PASSWORD + "\0"), False, id="a NUL more"),
        pytest.param(header("prometheus", ""), False, id="no password"),
        pytest.param(header("nobody", PASSWORD), False, id="unknown user"),
        pytest.param(header("", ""), False, id="nobody"),
        pytest.param("", False, id="no header"),
        pytest.param("Bearer abc", False, id="another scheme"),
        pytest.param("Basic", False, id="no credentials"),
        pytest.param("Basic %%%", False, id="not base64"),
        pytest.param("Basic \udcff", False, id="not even text"),
        pytest.param("Basic " + base64.b64encode(b"prometheus").decode(), False, id="no colon"),
    ],
)
async def test_only_the_right_password_of_a_known_user_gets_in(auth: BasicAuth, given: str, expected: bool) -> None:
    assert await auth.allows(USERS, given) is expected
    assert await auth.allows(USERS, given) is expected


async def test_passwords_are_compared_as_far_as_bcrypt_reads(auth: BasicAuth) -> None:
    users = {"long": digest("x" * 100)}

    assert await auth.allows(users, header("long", "x" * 100))
    assert not await auth.allows(users, header("long", "x" * 71 + "y" + "x" * 28))


async def test_a_password_that_was_right_is_not_right_for_a_new_hash(auth: BasicAuth) -> None:
    assert await auth.allows(USERS, header("prometheus", PASSWORD))

    assert not await auth.allows({"prometheus": digest("another")}, header("prometheus", PASSWORD))


async def test_a_user_who_was_removed_stays_out(auth: BasicAuth) -> None:
    assert await auth.allows(USERS, header("prometheus", PASSWORD))

    assert not await auth.allows({"jürgen": USERS["jürgen"]}, header("prometheus", PASSWORD))


async def test_a_known_password_costs_no_second_bcrypt() -> None:
    checks = CountedChecks()
    auth = BasicAuth(checks)

    assert await auth.allows(USERS, header("prometheus", PASSWORD))
    assert await auth.allows(USERS, header("prometheus", PASSWORD))
    assert checks.made == 1


async def test_the_password_is_not_kept(auth: BasicAuth) -> None:
    await auth.allows(USERS, header("prometheus", PASSWORD))

    assert PASSWORD not in repr(vars(auth))
    assert len(auth._verified) == 1


async def test_what_is_remembered_is_bounded(auth: BasicAuth) -> None:
    one = digest(PASSWORD)
    for number in range(MAX_VERIFIED + 3):
        assert await auth.allows({f"user{number}": one}, header(f"user{number}", PASSWORD))

    assert len(auth._verified) == MAX_VERIFIED


async def test_guessing_is_turned_away_when_too_many_wait(auth: BasicAuth) -> None:
    users = {"prometheus": digest(PASSWORD, cost=8)}
    guesses = [auth.allows(users, header("prometheus", f"guess{number}")) for number in range(MAX_WAITERS_EACH + 5)]

    results = await asyncio.gather(*guesses, return_exceptions=True)

    assert [type(result) for result in results].count(TooManyChecksError) == 4
    assert results.count(False) == MAX_WAITERS_EACH + 1
    assert await auth.allows(users, header("prometheus", PASSWORD))


async def test_a_wrong_password_costs_bcrypt_once() -> None:
    checks = CountedChecks()
    auth = BasicAuth(checks)

    for _ in range(2):
        assert not await auth.allows(USERS, header("prometheus", "wrong"))
        assert not await auth.allows(USERS, header("nobody", "wrong"))

    assert checks.made == 2


async def test_a_known_password_gets_in_while_others_guess(auth: BasicAuth) -> None:
    users = {"prometheus": digest(PASSWORD, cost=8)}
    assert await auth.allows(users, header("prometheus", PASSWORD))
    guesses = [
        asyncio.create_task(auth.allows(users, header("prometheus", f"guess{number}")))
        for number in range(MAX_WAITERS_EACH)
    ]
    await asyncio.sleep(0)

    async with asyncio.timeout(0.02):
        assert await auth.allows(users, header("prometheus", PASSWORD))

    assert await asyncio.gather(*guesses) == [False] * MAX_WAITERS_EACH


def test_a_password_may_hold_a_colon() -> None:
    assert credentials(header("user", "a:b")) == (b"user", b"a:b")
