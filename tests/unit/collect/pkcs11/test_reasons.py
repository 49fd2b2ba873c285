from __future__ import annotations

import pytest

from hsm_agent.collect.child_common import LUNA_ADVICE, not_loaded, returned
from hsm_agent.workers.pkcs11.return_values import LUNA_CODES

MODULE = "/opt/v/libv.so"


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
