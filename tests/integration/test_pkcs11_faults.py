"""Everything a module can do wrong: what the source says of it, how soon, and that it comes back by itself."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hsm_agent.collect.base import SourceFailure
from tests.integration.pkcs11_source import find, source, value
from tests.peers.require import require
from tests.peers.testmodule import FakeHsm

TIMEOUT = 1.5
KEYS = {"timeout": "1500ms", "liveness_every": "50ms", "audit_every": "50ms", "storage_every": "50ms"}
HANG = {"hang_ms": 60_000}


@pytest.fixture
def fake(tmp_path: Path) -> FakeHsm:
    hsm = FakeHsm(tmp_path / "hsm", "alpha", "beta")
    hsm.set_luna()
    hsm.set_audit(0)
    hsm.set_memory(total=1_000_000)
    return hsm


def _while_loading(function: str, text: str, **how: Any) -> Any:
    return pytest.param(function, how, text, id=f"{function} {next(iter(how))}")


@pytest.mark.parametrize(
    ("function", "how", "text"),
    [
        _while_loading(
            "dlopen", r"^dlopen did not return within .* worker killed: check what the library does", **HANG
        ),
        _while_loading("dlopen", r"^the module was killed by SIGSEGV in dlopen", segv=1),
        _while_loading("dlopen", r"^the module ended its process with exit code 7 in dlopen", exit=7),
        _while_loading("C_GetFunctionList", r"^C_GetFunctionList did not return", **HANG),
        _while_loading("C_GetFunctionList", r"^C_GetFunctionList returned CKR_HOST_MEMORY \(0x2\)", rv=0x2),
        _while_loading("C_Initialize", r"^C_Initialize did not return within .* network link", **HANG),
        _while_loading("C_Initialize", r"^C_Initialize returned CKR_DEVICE_ERROR \(0x30\): check", rv=0x30),
        _while_loading("C_Initialize", r"^the module was killed by SIGABRT in C_Initialize", abort=1),
        _while_loading("C_GetInfo", r"^C_GetInfo returned CKR_FUNCTION_FAILED", rv=0x6),
        _while_loading("C_GetSlotList", r"^C_GetSlotList did not return", **HANG),
        _while_loading("C_GetSlotList", r"^C_GetSlotList returned CKR_GENERAL_ERROR \(0x5\)", rv=0x5),
        _while_loading("C_GetSlotList", r"^the module was killed by SIGSEGV in C_GetSlotList", segv=1),
        _while_loading("C_GetSlotInfo", r"C_GetSlotInfo on slot \d+ did not return", **HANG),
        _while_loading("C_GetTokenInfo", r"C_GetTokenInfo on slot \d+ did not return", **HANG),
        _while_loading("C_GetTokenInfo", r"C_GetTokenInfo on slot \d+ returned CKR_DEVICE_ERROR", rv=0x30),
        _while_loading("C_GetTokenInfo", r"returned no PKCS#11 code at all \(0xffffffffffffffff\)", rv=2**64 - 1),
        _while_loading("C_GetTokenInfo", r"CKR_CRYPTOKI_NOT_INITIALIZED \(0x190\)", rv=0x190),
        _while_loading("C_GetTokenInfo", r"vendor code 0x80000042", rv=0x80000042),
        _while_loading("C_GetTokenInfo", r"killed by SIGSEGV in C_GetTokenInfo on slot", segv=1),
        _while_loading("C_GetTokenInfo", r"exit code 3 in C_GetTokenInfo on slot", exit=3),
    ],
)
async def test_a_broken_module_takes_its_source_down_in_time_and_is_back_at_the_next_poll(
    tmp_path: Path, fake: FakeHsm, function: str, how: dict[str, Any], text: str
) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        fake.fault(function, **how)
        began = time.monotonic()
        with pytest.raises(SourceFailure, match=text) as failure:
            await hsm.poll()
        took = time.monotonic() - began
        fake.mend()
        well = await hsm.poll()

    assert took < TIMEOUT + 1
    assert "\n" not in str(failure.value)
    assert value(well, "alpha", "token_present") == value(well, "beta", "token_present") == 1
    assert value(well, "alpha", "token_memory_private_total_bytes") == 1_000_000


@pytest.mark.parametrize("function", ["C_GetTokenInfo", "C_GetSlotInfo"])
@pytest.mark.parametrize("how", [HANG, {"rv": 0x30}, {"segv": 1}, {"exit": 9}], ids=["hang", "code", "segv", "exit"])
async def test_a_slot_that_fails_hides_no_other(
    tmp_path: Path, fake: FakeHsm, function: str, how: dict[str, Any]
) -> None:
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        await hsm.poll()
        fake.fault(function, token="alpha", **how)
        first = await hsm.poll()
        second = await hsm.poll()
        fake.mend()
        well = await hsm.poll()

    for poll in (first, second):
        assert value(poll, "beta", "token_memory_private_total_bytes") == 1_000_000
        if (function, how) != ("C_GetSlotInfo", {"rv": 0x30}):
            assert find(poll, "alpha", "token_memory_private_total_bytes").value is None
            assert function in find(poll, "alpha", "token_present").reason
            assert any(error.startswith("alpha: ") and function in error for error in poll.errors)
    assert value(second, "beta", "audit_records") == 0
    assert value(well, "alpha", "token_present") == 1
    assert not well.errors


@pytest.mark.parametrize(
    ("function", "metric"),
    [
        ("CA_LogGetStatus", "audit_used_percent"),
        ("CA_GetTokenStorageInformation", "token_storage_used_percent"),
        ("C_GenerateRandom", "token_alive"),
        ("C_OpenSession", "token_alive"),
        ("C_CloseSession", ""),
    ],
)
@pytest.mark.parametrize("how", [HANG, {"segv": 1}, {"rv": 0x30}], ids=["hang", "segv", "code"])
async def test_what_fails_beside_the_sweep_costs_its_own_reading_only(
    tmp_path: Path, fake: FakeHsm, function: str, metric: str, how: dict[str, Any]
) -> None:
    fake.fault(function, token="alpha", **how)
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        poll = await hsm.poll()

    assert value(poll, "alpha", "token_memory_private_total_bytes") == 1_000_000
    assert value(poll, "beta", "token_memory_private_total_bytes") == 1_000_000
    others = {"audit_used_percent", "token_storage_used_percent", "token_alive"} - {metric}
    if how != HANG:
        assert all(find(poll, "beta", other).value is not None for other in others)
    if metric:
        assert not find(poll, "alpha", metric).value
        assert any(error.startswith("alpha: ") and function in error for error in poll.errors)


async def test_noise_on_stdout_and_stderr_disturbs_nothing(tmp_path: Path, fake: FakeHsm) -> None:
    for function in ("dlopen", "C_Initialize", "C_GetTokenInfo", "CA_LogGetStatus"):
        fake.fault(function, noise='{"slots": [1, 2, 3]}')
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        poll = await hsm.poll()

    assert value(poll, "alpha", "token_memory_private_total_bytes") == 1_000_000
    assert not poll.errors


async def test_last_words_on_stderr_are_in_the_reason(tmp_path: Path, fake: FakeHsm) -> None:
    fake.fault("C_Initialize", noise="licence expired", exit=1)
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        with pytest.raises(SourceFailure, match=r"exit code 1 in C_Initialize.*it said: licence expired"):
            await hsm.poll()


async def test_garbage_is_shown_as_unavailable_or_replaced_never_an_error(tmp_path: Path, fake: FakeHsm) -> None:
    fake.set("token.label_hex", "c3ff41", token="alpha")
    fake.set("token.utc_time", "99999999999999xx", token="alpha")
    fake.set("token.free_private", 2_000_000, token="alpha")
    fake.set("token.total_private", 1_000_000, token="alpha")
    fake.set("token.garbage", 0xFF, token="beta")
    async with source(tmp_path, fake.module, environment=fake.environment, **KEYS) as hsm:
        poll = await hsm.poll()

    assert find(poll, "\ufffd\ufffdA", "token_clock_offset_seconds").value is None
    assert "cannot be" in find(poll, "\ufffd\ufffdA", "token_memory_private_used_percent").reason
    garbage = {r.metric: r for r in poll.readings if r.resource.startswith("\ufffd" * 8)}
    assert garbage["token_present"].value == 1
    assert garbage["token_memory_private_used_percent"].value is None
    assert garbage["token_sessions_used_percent"].value is None


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("missing.so", None, "does not exist: install the vendor's client or correct `module`"),
        ("text.so", b"#!/bin/sh\n" * 100, "is not a shared library"),
        ("libc.so.6", "libc.so.6", "is not a PKCS#11 module: it has no C_GetFunctionList"),
    ],
)
async def test_a_module_that_cannot_be_loaded_says_what_to_check(
    tmp_path: Path, name: str, content: bytes | str | None, text: str
) -> None:
    module = Path(content) if isinstance(content, str) else tmp_path / name
    if isinstance(content, bytes):
        module.write_bytes(content)
    async with source(tmp_path, module, environment={}) as hsm:
        with pytest.raises(SourceFailure, match=text):
            await hsm.poll()


async def test_a_module_whose_library_is_missing_names_it(tmp_path: Path) -> None:
    needed, module = tmp_path / "libneeded.so", tmp_path / "module.so"
    for path, code, extra in (
        (needed, "int f(void){return 1;}", []),
        (module, "int f(void);int g(void){return f();}", [needed]),
    ):
        command = [
            str(require("cc")),
            "-shared",
            "-fPIC",
            "-x",
            "c",
            "-",
            "-x",
            "none",
            *map(str, extra),
            "-o",
            str(path),
        ]
        subprocess.run(command, input=code.encode(), check=True, timeout=30)
    needed.unlink()
    async with source(tmp_path, module, environment={}) as hsm:
        with pytest.raises(SourceFailure, match=r"needs .*libneeded.so, which was not found: .* LD_LIBRARY_PATH"):
            await hsm.poll()
