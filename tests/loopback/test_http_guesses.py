"""Passwords are checked fairly while others are guessed, with bcrypt at work and in real time."""

from __future__ import annotations

import asyncio
import base64

import bcrypt
import pytest

from hsm_agent.serve.http.basic_auth import BasicAuth, TooManyChecksError

PASSWORD = "correct horse"


def digest(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(8)).decode()


def header(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def auth() -> BasicAuth:
    return BasicAuth()


def guess_without_end(auth: BasicAuth, users: dict[str, str], address: str, clients: int) -> list[asyncio.Task[None]]:
    """That many clients at an address give one password after the other."""

    async def guess(client: int) -> None:
        for number in range(100_000):
            try:
                await auth.allows(users, header("prometheus", f"guess {client} {number}"), address)
            except TooManyChecksError:
                # About as long as an answer takes to get there. A loop that is never idle starves the hashing thread of
                # the interpreter lock: each round lets go of it, but not long enough for another thread to take it.
                await asyncio.sleep(0.01)

    return [asyncio.create_task(guess(client)) for client in range(clients)]


@pytest.mark.parametrize("guessers", [["192.0.2.1"], [f"192.0.2.{n}" for n in range(1, 4)], ["2001:db8::1"]])
async def test_guessing_elsewhere_keeps_nobody_out_from_the_start(auth: BasicAuth, guessers: list[str]) -> None:
    users = {"prometheus": digest(PASSWORD)}
    tasks = [task for address in guessers for task in guess_without_end(auth, users, address, 30)]
    await asyncio.sleep(0.05)

    async with asyncio.timeout(5):
        assert await auth.allows(users, header("prometheus", PASSWORD), "192.0.2.100")

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_guessing_at_the_same_address_keeps_out_nobody_who_comes_again(auth: BasicAuth) -> None:
    users = {"prometheus": digest(PASSWORD)}
    tasks = guess_without_end(auth, users, "127.0.0.1", 50)
    await asyncio.sleep(0.05)

    with pytest.raises(TooManyChecksError):
        await auth.allows(users, header("prometheus", PASSWORD), "127.0.0.1")
    async with asyncio.timeout(5):
        assert await auth.allows(users, header("prometheus", PASSWORD), "127.0.0.1")

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_another_user_of_the_same_address_gets_in_while_one_is_guessed(auth: BasicAuth) -> None:
    users = {"prometheus": digest(PASSWORD), "nms": digest("other")}
    tasks = guess_without_end(auth, users, "127.0.0.1", 50)
    await asyncio.sleep(0.05)

    async with asyncio.timeout(5):
        assert await auth.allows(users, header("nms", "other"), "127.0.0.1")

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
