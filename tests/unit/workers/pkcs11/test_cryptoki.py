"""The binding's shape. What it does with real modules is in tests/integration/test_pkcs11_*.py."""

from __future__ import annotations

import ctypes
import ctypes.util

import pytest

from hsm_agent.workers.pkcs11 import cryptoki
from hsm_agent.workers.pkcs11.cryptoki import Failed, Module

LIBC = "libc.so.6"
FORBIDDEN = (
    *("C_Login", "C_InitToken", "C_InitPIN", "C_SetPIN", "C_CreateObject", "C_DestroyObject", "C_CloseAllSessions"),
    *("C_Sign", "C_Decrypt", "C_GenerateKey", "C_SeedRandom", "CA_LogSetConfig", "CA_TimeSync", "CA_InitAudit"),
    *("CA_CloseApplicationID", "CA_Restart", "CA_ReadAndReset", "CA_LogImportSecret"),
)


def _module() -> tuple[Module, list[tuple[str, int | None]]]:
    seen: list[tuple[str, int | None]] = []
    return Module(LIBC, lambda function, slot: seen.append((function, slot))), seen


def test_structures_have_the_sizes_of_the_standard() -> None:
    word = ctypes.sizeof(ctypes.c_ulong)

    assert {8: (108, 204), 4: (104, 160)}[word] == (cryptoki.SLOT_INFO_BYTES, cryptoki.TOKEN_INFO_BYTES)


def test_a_library_that_is_no_module_is_told_apart() -> None:
    module, seen = _module()

    assert seen == [("dlopen", None)]
    with pytest.raises(AttributeError, match="C_GetFunctionList"):
        module.bind()


def test_a_missing_library_is_an_os_error() -> None:
    with pytest.raises(OSError, match="cannot open shared object file"):
        Module("/nonexistent.so", lambda *_: None)


def test_each_call_is_announced_before_and_noted_after() -> None:
    module, seen = _module()
    module.vendor_function("abs", [ctypes.c_int])

    assert module.call("abs", 3, -5) == 5
    assert seen[-1] == ("abs", 3)
    ((function, value, microseconds),) = module.calls
    assert (function, value) == ("abs", 5)
    assert microseconds >= 0
    with pytest.raises(Failed) as failed:
        module.need("abs", 3, 7)
    assert (failed.value.function, failed.value.value) == ("abs", 7)


def test_a_function_that_is_not_there_is_not_supported() -> None:
    module, _ = _module()
    module.vendor_function("CA_Nothing", [])

    assert not module.has("CA_Nothing")
    with pytest.raises(Failed) as failed:
        module.call("C_GetInfo", None)
    assert failed.value.value == 0x54


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_a_monitor_must_never_call_is_not_bound(name: str) -> None:
    from pathlib import Path

    for path in Path(cryptoki.__file__).parent.glob("*.py"):
        assert f'"{name}' not in path.read_text(encoding="utf-8")
