"""With a child that has no module. With one: tests/integration/test_canary_process.py."""

from __future__ import annotations

import sys

import pytest

from hsm_agent.collect.canary.process import CanaryLost, CanaryProcess

REACH = {"do": "reach"}


async def _start(script: str, *, hide: str = "") -> CanaryProcess:
    """A child that does this at each request."""
    program = f"import os, sys, time\nfor line in sys.stdin:\n    {script}"
    return await CanaryProcess.start("x", {}, (sys.executable, "-S", "-u", "-c", program), hide=hide)


async def test_progress_is_no_answer() -> None:
    canary = await _start("""print('{"at":"C_Login"}'); print('{"ok":1}')""")

    assert await canary.ask(REACH, 5) == {"ok": 1}
    assert await canary.ask(REACH, 5) == {"ok": 1}
    assert await canary.kill()


@pytest.mark.parametrize(
    ("script", "reason", "step"),
    [
        ("os._exit(3)", "the canary's process ended with exit code 3 in its start: check the vendor client", ""),
        ("""print('{"at":"C_Sign"}'); os.abort()""",
         "the canary's process was killed by SIGABRT in C_Sign: check the vendor client", "C_Sign"),
        ("os.close(1); time.sleep(60)",
         "the canary's process closed its pipe in its start: check the vendor client", ""),
        ("print('noise')",
         "the module wrote to the pipe of answers (noise), process killed in its start: check the vendor client", ""),
        ("""print('{"at":3}')""",
         """the module wrote to the pipe of answers ({"at":3}), process killed in its start: check the vendor client""",
         ""),
        ("""print('{"at":"C_Sign"}\\n' * 1000)""",
         """the module wrote to the pipe of answers ({"at":"C_Sign"}), process killed in C_Sign: check the vendor client""",
         "C_Sign"),
        ("print('PIN 4711')",
         "the module wrote to the pipe of answers (PIN (hidden)), process killed in its start: check the vendor client",
         ""),
    ],
    ids=["exit", "signal", "pipe", "noise", "no step", "steps without end", "PIN"],
)  # fmt: skip
async def test_an_end_is_told_with_its_cause(script: str, reason: str, step: str) -> None:
    canary = await _start(script, hide="4711")
    with pytest.raises(CanaryLost) as lost:
        await canary.ask(REACH, 5)

    assert str(lost.value) == reason
    assert lost.value.step == step
    assert await canary.kill()


async def test_no_answer_in_time_names_the_step() -> None:
    canary = await _start("""print('{"at":"C_Initialize"}'); time.sleep(60)""")
    with pytest.raises(CanaryLost, match=r"^C_Initialize did not return within 0.5 s: check that the HSM's server"):
        await canary.ask(REACH, 0.5)

    assert await canary.kill()


async def test_a_command_that_does_not_exist_is_a_lost_process() -> None:
    with pytest.raises(CanaryLost, match="the canary's process cannot be started"):
        await CanaryProcess.start("x", {}, ("/nonexistent/python",))


async def test_one_that_will_not_end_is_killed() -> None:
    canary = await _start("time.sleep(60)")

    assert await canary.end(0.1)
    assert canary.gone
