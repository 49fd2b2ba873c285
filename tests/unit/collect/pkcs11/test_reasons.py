from __future__ import annotations

import pytest

from hsm_agent.collect.pkcs11.reasons import LUNA_ADVICE, ended, ended_by_keeper, hung, nonsense, not_loaded, returned
from hsm_agent.workers.pkcs11.return_values import LUNA_CODES

MODULE = "/opt/v/libv.so"


def test_a_hung_call_is_named_with_its_slot() -> None:
    assert hung("C_GetTokenInfo", 3, 10.0) == (
        "C_GetTokenInfo on slot 3 did not return within 10 s, worker killed: check the HSM and the link to it"
    )
    assert "check what the library does when it is loaded" in hung("dlopen", None, 2)
    assert "host may be overloaded" in hung("", None, 2)


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
    assert ended(returncode, "C_Initialize", None, []).startswith(text)


def test_a_worker_that_was_killed_names_the_kernel_too() -> None:
    assert ended(-9, "C_GetTokenInfo", 3, []) == (
        "the module was killed by SIGKILL in C_GetTokenInfo on slot 3: "
        "if nobody did it, the kernel did, for want of memory: see its log"
    )


def test_what_a_module_did_to_its_worker_is_the_reason() -> None:
    assert nonsense("noise") == (
        "what came from the worker is no answer (noise), worker killed: "
        "the module writes to descriptors that are not its own: tell its vendor"
    )
    assert ended_by_keeper("the module grew", "", None) == (
        "the module grew, worker ended between calls: see whether the vendor knows of it, and check the client's version"
    )
    assert ", worker ended in C_Initialize: " in ended_by_keeper("the module grew", "C_Initialize", None)


def test_last_words_are_quoted_and_bounded() -> None:
    said = ended(1, "", None, ["first", "x" * 1000, " "])

    assert said.endswith("; it said: " + "x" * 200)
    assert "between calls" in said


def test_luna_s_codes_have_names_beside_luna_s_functions_only() -> None:
    told = returned("C_Login", 0x80000035, None, luna=True)

    assert told.startswith("C_Login returned CKR_LOG_FULL (0x80000035): the audit store is full and must be exported")
    assert returned("C_Login", 0x80000035, None, luna=False) == "C_Login returned vendor code 0x80000035"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"stage": "dlsym", "error": "undefined symbol"}, "is not a PKCS#11 module"),
        ({"error": f"{MODULE}: wrong ELF class: ELFCLASS32"}, "is a 32-bit library, which this agent cannot load"),
        ({"error": f"{MODULE}: wrong ELF class: ELFCLASS64"}, "is a 64-bit library"),
        ({"error": f"{MODULE}: invalid ELF header"}, "is not a shared library"),
        ({"error": f"{MODULE}: cannot open shared object file: No such file or directory"}, "does not exist"),
        (
            {"error": "libx.so.1: cannot open shared object file: No such file or directory"},
            "needs libx.so.1, which was not found: install it, or set LD_LIBRARY_PATH",
        ),
        ({"error": f"{MODULE}: cannot open shared object file: Permission denied"}, "check its permissions"),
        ({"error": f"{MODULE}: undefined symbol: foo"}, "cannot be loaded: /opt/v/libv.so: undefined symbol: foo"),
        ({}, "no reason given"),
    ],
)
def test_what_the_loader_said_is_explained(answer: dict[str, str], text: str) -> None:
    reason = not_loaded(MODULE, answer)

    assert reason.startswith(MODULE)
    assert text in reason


@pytest.mark.parametrize(
    ("value", "name", "advice"),
    [
        (0x80000007, "USER_LOCKED_OUT", "security officer"),
        (0x8000001C, "SO_LOGIN_FAILURE_THRESHOLD", "zeroizes"),
        (0x8000002A, "HSM_STORAGE_FULL", "partition"),
        (0x8000002B, "DEVICE_TIMEOUT", "driver"),
        (0x8000002C, "CONTAINER_OBJECT_STORAGE_FULL", "delete objects"),
        (0x80000035, "LOG_FULL", "export"),
        (0x80000039, "LOG_AUDIT_NOT_INITIALIZED", "audit role"),
        (0x80000076, "HSM_TAMPERED", "on site"),
        (0x80000115, "TIME_NOT_INITIALIZED", "time"),
        (0xE0, "TOKEN_NOT_PRESENT", "slot"),
    ],
)
def test_a_code_is_named_and_says_what_to_do(value: int, name: str, advice: str) -> None:
    told = returned("CA_Any", value, 1, luna=True)

    assert told.startswith(f"CA_Any on slot 1 returned CKR_{name} (0x{value:x}): ")
    assert advice in told.partition(": ")[2]


def test_every_code_of_luna_s_has_advice() -> None:
    assert set(LUNA_ADVICE) == set(LUNA_CODES)
