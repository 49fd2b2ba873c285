from __future__ import annotations

import pytest

from hsm_agent.collect.child_common import ended_by_supervisor_text, exit_text, hung_text, not_an_answer_text


def test_a_hung_call_is_named_with_its_slot() -> None:
    assert hung_text("C_GetTokenInfo", 3, 10.0) == (
        "C_GetTokenInfo on slot 3 did not return within 10 s, worker killed: check the HSM and the link to it"
    )
    assert "within 1 s" in hung_text("C_GetTokenInfo", 3, 0.997), "one text from poll to poll"
    assert "within 0.04 s" in hung_text("C_GetTokenInfo", 3, 0.04)
    assert "check what the library does when it is loaded" in hung_text("dlopen", None, 2)
    assert "host may be overloaded" in hung_text("", None, 2)


@pytest.mark.parametrize(
    ("returncode", "text"),
    [
        (-11, "the module was killed by SIGSEGV in C_Initialize"),
        (-250, "the module was killed by signal 250 in C_Initialize"),
        (3, "the module ended its process with exit code 3 in C_Initialize"),
        (None, "the worker closed its pipe in C_Initialize"),
    ],
)
def test_how_a_worker_ended(returncode: int | None, text: str) -> None:
    assert exit_text(returncode, "C_Initialize", None, []).startswith(text)


def test_a_worker_that_was_killed_names_the_kernel_too() -> None:
    assert exit_text(-9, "C_GetTokenInfo", 3, []) == (
        "the module was killed by SIGKILL in C_GetTokenInfo on slot 3: "
        "if nobody did it, the kernel did, for want of memory: see its log"
    )


def test_what_a_module_did_to_its_worker_is_the_reason() -> None:
    assert not_an_answer_text("noise") == (
        "what came from the worker is no answer (noise), worker killed: "
        "the module writes to descriptors that are not its own: tell its vendor"
    )
    assert ended_by_supervisor_text("the module grew", "", None) == (
        "the module grew, worker ended between calls: see whether the vendor knows of it, and check the client's version"
    )
    assert ", worker ended in C_Initialize: " in ended_by_supervisor_text("the module grew", "C_Initialize", None)


def test_last_words_are_quoted_and_bounded() -> None:
    reason = exit_text(1, "", None, ["first", "x" * 1000, " "])

    assert reason.endswith("; it said: " + "x" * 200)
    assert "between calls" in reason
