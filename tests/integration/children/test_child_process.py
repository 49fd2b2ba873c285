from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hsm_agent.collect.child_common import worker_environment
from hsm_agent.collect.child_process import ChildLost, ChildProcess, Launch

FAKE = str(Path(__file__).resolve().parents[2] / "fakes" / "pkcs11_worker.py")


async def _start(**script: object) -> ChildProcess:
    environment = {"FAKE_WORKER": json.dumps(script)}
    return await ChildProcess.start(Launch(source="x", environment=environment, command=(sys.executable, "-S", FAKE)))


async def _say(says: str, *, hide: str = "") -> ChildProcess:
    """A child that prints this at each request."""
    return await ChildProcess.start(Launch(source="x", command=(sys.executable, "-S", "-c", _SAYS, says), hide=hide))


def test_the_environment_is_clean_but_for_what_was_given() -> None:
    environment = worker_environment({"SOFTHSM2_CONF": "/x", "PATH": "/opt/bin", "PYTHONPATH": "/evil"})

    assert set(environment) == {"PATH", "LC_ALL", "PYTHONPATH", "SOFTHSM2_CONF"}
    assert environment["PATH"] == "/opt/bin"
    assert environment["PYTHONPATH"] != "/evil"


async def test_asks_and_is_answered() -> None:
    worker = await _start(slots={"slots": [1]})
    worker.send({"do": "slots"})

    assert await worker.answer(5) == {"slots": [1]}
    assert await worker.end(5)
    assert worker.gone


async def test_no_answer_in_time_names_the_call() -> None:
    worker = await _start(**{"token/7": "hang"})
    worker.send({"do": "read", "steps": [["token", 6], ["token", 7]]})
    assert (await worker.answer(5))[1] == 6
    with pytest.raises(ChildLost, match=r"^call of token on slot 7 did not return within 0.3 s") as lost:
        await worker.answer(0.3)

    assert lost.value.hung
    assert worker.current_step() == 1
    assert await worker.kill()


async def test_a_death_is_told_with_its_cause_and_last_words() -> None:
    worker = await _start(load="exit")
    worker.send({"do": "load"})
    with pytest.raises(ChildLost, match=r"exit code 4 in call of load: .*; it said: last words$") as lost:
        await worker.answer(5)

    assert not lost.value.hung
    assert await worker.kill()


async def test_a_worker_that_will_not_end_is_killed() -> None:
    worker = await _start(load="hang")
    worker.send({"do": "load"})

    assert await worker.end(0.2)
    assert worker.gone


async def test_a_command_that_does_not_exist_is_a_lost_worker() -> None:
    with pytest.raises(ChildLost, match="cannot be started"):
        await ChildProcess.start(Launch(source="x", command=("/nonexistent/python",)))


_SAYS = "import sys\nfor line in sys.stdin:\n    print(sys.argv[1], flush=True)"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"do": "slots"}, "[7]"),
        ({"do": "slots"}, '[["token", 6, 1.0, [], null]]'),
        ({"do": "read", "steps": [["token", 6]]}, "[{}]"),
        ({"do": "read", "steps": [["token", 6]]}, '[["token", 6]]'),
        ({"do": "read", "steps": [["token", 6]]}, '[["token", 7, 1.0, [], null]]'),
        ({"do": "read", "steps": [["token", 6]]}, '[["alive", 6, 1.0, [], null]]'),
        ({"do": "read", "steps": [["token", 6]]}, '[["token", 6, 1.0, 3, null]]'),
    ],
)
async def test_an_answer_to_something_else_is_no_answer(request_: dict[str, object], says: str) -> None:
    worker = await _say(says)
    worker.send(request_)
    with pytest.raises(ChildLost, match="is no answer") as lost:
        await worker.answer(5)

    assert not lost.value.hung
    assert await worker.kill()


async def test_more_answers_than_questions_end_the_worker() -> None:
    worker = await _say("[{}]\n[{}]")
    worker.send({"do": "slots"})
    assert await worker.answer(5) == {}
    with pytest.raises(ChildLost, match=r"is no answer \(\[\{\}\]\)"):
        await worker.answer(5)

    assert await worker.kill()


async def test_what_is_to_be_hidden_is_hidden_in_the_reason() -> None:
    canary = await _say("PIN 4711", hide="4711")
    canary.send({"do": "reach"})
    with pytest.raises(ChildLost, match=r"is no answer \(PIN \(hidden\)\)"):
        await canary.answer(5)

    assert await canary.kill()


async def test_a_child_that_closes_its_pipe_is_lost() -> None:
    program = "import os, sys, time\nsys.stdin.readline(); os.close(1); time.sleep(60)"
    child = await ChildProcess.start(Launch(source="x", command=(sys.executable, "-S", "-c", program)))
    child.send({"do": "reach"})
    with pytest.raises(ChildLost, match="the worker closed its pipe between calls"):
        await child.answer(5)

    assert await child.kill()


async def test_a_death_by_a_signal_names_the_call() -> None:
    worker = await _start(load="die")
    worker.send({"do": "load"})
    with pytest.raises(ChildLost, match="killed by SIGKILL in call of load") as lost:
        await worker.answer(5)

    assert lost.value.call == "call of load"
    assert await worker.kill()
