"""`hsm-agent check` as Nagios calls it: one line, performance data, exit codes 0 to 3."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.peers.testmodule import FakeHsm

ROOT = Path(__file__).resolve().parents[2]
TRAIL = ROOT / "tests" / "data" / "craton" / "audit_real.jsonl"
TOTAL, USED = 14286412, 43968


@pytest.fixture
def hsm(tmp_path: Path) -> FakeHsm:
    made = FakeHsm(tmp_path, "payments")
    made.set_memory(total=TOTAL, free=TOTAL - USED)
    return made


def hsm_environment(hsm: FakeHsm) -> dict[str, str]:
    return {**os.environ, **hsm.environment, "PYTHONPATH": str(ROOT)}


def _check(hsm: FakeHsm, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "hsm_agent", "check", *words],
        capture_output=True, text=True, check=False, timeout=30, env=hsm_environment(hsm), cwd=hsm.softhsm.tokens,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_token_with_room_is_ok_with_bytes_as_performance_data(hsm: FakeHsm) -> None:
    code, out = _check(hsm, "-p", str(hsm.module))

    assert code == 0
    assert out == (
        "OK: payments: private memory 0.3 % used, 14242444 of 14286412 bytes free"
        " | 'private memory'=43968B;10714809;12857770;0;14286412\n"
    )


@pytest.mark.parametrize(
    ("free", "code", "word"),
    [(2500, 0, "OK"), (2490, 1, "WARNING"), (1000, 1, "WARNING"), (990, 2, "CRITICAL"), (0, 2, "CRITICAL")],
)
def test_the_default_levels_are_75_and_90_percent(hsm: FakeHsm, free: int, code: int, word: str) -> None:
    hsm.set_memory(total=10_000, free=free)

    found, out = _check(hsm, "-p", str(hsm.module), "-l", "payments")

    assert (found, out.split(":")[0]) == (code, word)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-w", "50", "-c", "90"), 1),
        (("-w", "50", "-c", "59"), 2),
        (("-w", "70:", "-c", "10:"), 1),
        (("-w", "~:70", "-c", "@60:61"), 2),
        (("-w", "@10:20", "-c", "90"), 0),
    ],
)
def test_ranges_are_percent_with_the_guidelines_meaning(hsm: FakeHsm, words: tuple[str, ...], code: int) -> None:
    hsm.set_memory(total=10_000, free=4_000)

    found, out = _check(hsm, "-p", str(hsm.module), *words)

    assert found == code, out


def test_a_total_given_replaces_the_modules_own(hsm: FakeHsm) -> None:
    hsm.set_memory(total=1, free=5_000)  # a module that reports a dummy total

    code, out = _check(hsm, "-p", str(hsm.module), "-m", "10000")

    assert (code, out.split(" | ")[1]) == (0, "'private memory'=5000B;7500;9000;0;10000\n")


def test_what_the_token_reports_as_used_is_measured_against_a_total_given(hsm: FakeHsm) -> None:
    code, out = _check(hsm, "-p", str(hsm.module), "-m", "50000")

    assert code == 1
    assert out == (
        "WARNING: payments: private memory 87.9 % used, 6032 of 50000 bytes free"
        " | 'private memory'=43968B;37500;45000;0;50000\n"
    )


def test_verbose_prints_what_p11memmon_did(hsm: FakeHsm) -> None:
    _, out = _check(hsm, "-p", str(hsm.module), "-v")
    library, slots, token, private, public = out.splitlines()[1:6]

    assert library == "library: SoftHSM Implementation of PKCS11, version 2.6, Cryptoki 2.40"
    assert slots == "slots found: 2"
    assert re.fullmatch(r"token payments: slot \d+, serial [\da-f]{16}", token)
    assert private == f"private memory: total {TOTAL} B, used {USED} B, free {TOTAL - USED} B"
    assert public == "public memory: not reported"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param((), "give either -p MODULE or --metric NAME", id="nothing asked"),
        pytest.param(("-p", "/nowhere.so"), "/nowhere.so does not exist", id="no module"),
        pytest.param(("-p", "{module}", "-l", "nobody"), "no token 'nobody'", id="no such token"),
        pytest.param(("-p", "{module}", "-w", "20:10"), "its start is above its end", id="no range"),
        pytest.param(("-p", "{module}", "-m", "0"), "the total must be above 0", id="no total"),
        pytest.param(("-p", "{module}", "-t", "0"), "not between 0 and 3600", id="no time"),
        pytest.param(("-p", "{module}", "-t", "soon"), "not a number of seconds", id="no number"),
        pytest.param(("--bogus",), "unrecognized arguments: --bogus", id="unknown option"),
        pytest.param(("--metric", "x", "--config", "/nowhere.yaml"), "/nowhere.yaml: No such file", id="no file"),
    ],
)
def test_whatever_is_unclear_is_unknown_and_3(hsm: FakeHsm, words: tuple[str, ...], said: str) -> None:
    code, out = _check(hsm, *(word.format(module=hsm.module) for word in words))

    assert code == 3
    assert out.startswith("UNKNOWN: ")
    assert said in out
    assert out.count("\n") == 1


def test_help_and_version_are_3(hsm: FakeHsm) -> None:
    code, out = _check(hsm, "--help")
    assert (code, out.startswith("usage: hsm-agent check")) == (3, True)
    assert _check(hsm, "--version") == (3, "hsm-agent 0.1.0\n")


@pytest.mark.parametrize("function", ["C_Initialize", "C_GetSlotList", "C_GetTokenInfo"])
def test_a_module_that_hangs_is_unknown_within_the_time_given(hsm: FakeHsm, function: str) -> None:
    hsm.fault(function, hang_ms=20_000)

    code, out = _check(hsm, "-p", str(hsm.module), "-t", "1")

    assert code == 3
    assert re.search(rf"{function}\b.* did not return within \S+ s", out), out


def test_a_slow_module_has_the_whole_time(hsm: FakeHsm) -> None:
    hsm.fault("C_GetTokenInfo", hang_ms=700)

    code, out = _check(hsm, "-p", str(hsm.module), "-t", "4")

    assert (code, out.partition(":")[0]) == (0, "OK")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        pytest.param({"hang_ms": 20_000}, "OK: payments: private memory", id="hangs"),
        pytest.param({"segv": 1}, "OK: payments: private memory", id="crashes"),
        pytest.param({"rv": "0x30"}, "OK: payments: private memory", id="fails"),
    ],
)
def test_another_token_in_trouble_hides_none(hsm: FakeHsm, how: dict[str, Any], said: str) -> None:
    hsm.softhsm.create_token("archive")
    hsm.fault("C_GetTokenInfo", token="archive", **how)

    code, out = _check(hsm, "-p", str(hsm.module), "-l", "payments", "-t", "4")

    assert (code, out[: len(said)]) == (0, said)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        pytest.param({"segv": 1}, "the module was killed by SIGSEGV in C_GetTokenInfo", id="crashes"),
        pytest.param({"rv": "0x30"}, "returned CKR_DEVICE_ERROR (0x30)", id="fails"),
    ],
)
def test_a_token_in_trouble_is_unknown_with_the_reason(hsm: FakeHsm, how: dict[str, Any], said: str) -> None:
    hsm.fault("C_GetTokenInfo", **how)

    code, out = _check(hsm, "-p", str(hsm.module))

    assert code == 3
    assert said in out


def test_several_tokens_need_a_label_and_verbose_lists_readings(hsm: FakeHsm) -> None:
    hsm.softhsm.create_token("archive")

    code, out = _check(hsm, "-p", str(hsm.module), "-v")

    assert code == 3
    assert out.startswith("UNKNOWN: 2 tokens, name one with -l: archive, payments\n")
    assert "payments token_memory_private_free_bytes 14242444\n" in out
    assert _check(hsm, "-p", str(hsm.module), "-l", "archive")[0] == 0


def test_memory_a_module_does_not_report_is_unknown_never_ok(hsm: FakeHsm) -> None:
    code, out = _check(hsm, "-p", str(hsm.softhsm.module))

    assert (code, out) == (3, "UNKNOWN: payments: private memory is unavailable: the module does not report it\n")


@pytest.mark.parametrize("words", [("-p", "{module}"), ("--help",), ("-p",)])
def test_a_check_imports_no_library(hsm: FakeHsm, words: tuple[str, ...]) -> None:
    code = (
        "import sys, hsm_agent.__main__ as command\n"
        f"sys.argv = ['hsm-agent', 'check', *{[word.format(module=hsm.module) for word in words]!r}]\n"
        "try:\n    command.main()\n"
        "finally:\n    print(*{'asyncio', 'click', 'pydantic', 'pydantic_core', 'yaml', 'ssl', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=hsm_environment(hsm)
    )

    assert done.stdout.splitlines()[-1] == "", done


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_a_parent_that_closes_standard_descriptors_changes_nothing(hsm: FakeHsm, closed: str) -> None:
    code = "import sys; from hsm_agent.collect.pkcs11.single_sweep import SingleSweep as S\n"
    code += "with S(sys.argv[1], 5.0) as sweep: print(len(sweep.read()['results']))"
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", code, str(hsm.module)],
        capture_output=True, text=True, check=False, timeout=30, env=hsm_environment(hsm),
    )  # fmt: skip

    assert done.stdout == "2\n"


STOPPED = """
import os, signal, sys, time
from hsm_agent.collect.pkcs11.single_sweep import SingleSweep, SweepHung
from hsm_agent.workers import CHILD, CHILD_AT

with SingleSweep(sys.argv[1], 2.0) as sweep:
    while not (child := CHILD.unpack_from(sweep._page, CHILD_AT)[0]):
        time.sleep(0.001)
    os.kill(child, signal.SIGSTOP)
    sweep._send({"do": "read", "steps": [["token", slot] for slot in range(100_000)]})
    try:
        sweep.read()
    except SweepHung as hung:
        print(hung)
"""


def test_a_worker_that_reads_no_request_takes_no_more_than_the_time_given(hsm: FakeHsm) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(hsm.module)],
        capture_output=True, text=True, check=False, timeout=10, env=hsm_environment(hsm),
    )  # fmt: skip

    assert "did not" in done.stdout, done


def test_a_parent_that_ignores_the_end_of_its_children_changes_nothing(hsm: FakeHsm) -> None:
    command = ["/bin/sh", "-c", 'trap "" CHLD; exec "$@"', "sh", sys.executable, "-m", "hsm_agent", "check"]
    done = subprocess.run(
        [*command, "-p", str(hsm.module), "-l", "payments"],
        capture_output=True, text=True, check=False, timeout=30, env=hsm_environment(hsm), cwd=hsm.softhsm.tokens,
    )  # fmt: skip

    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.startswith("OK: payments")


def _unwritable(*arguments: str, output: Any, unbuffered: bool) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    done = subprocess.run(
        [sys.executable, "-m", "hsm_agent", *arguments],
        stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=30, env=environment,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(("arguments", "code"), [(["check", "--help"], 3), (["mib"], 1), (["--version"], 1)])
def test_an_answer_that_a_full_disk_does_not_take_is_unknown_or_failed(
    arguments: list[str], code: int, *, unbuffered: bool
) -> None:
    with Path("/dev/full").open("w") as full:
        found = _unwritable(*arguments, output=full, unbuffered=unbuffered)

    assert found == (code, "hsm-agent: standard output: No space left on device\n")


def _unread(*arguments: str) -> tuple[int, str]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return _unwritable(*arguments, output=writer, unbuffered=False)
    finally:
        os.close(writer)


def test_an_answer_that_its_reader_does_not_take_is_unknown() -> None:
    assert _unread("check", "--help") == (3, "hsm-agent: standard output: Broken pipe\n")


@pytest.mark.parametrize("arguments", [("mib",), ("--version",), ("audit", "dump", "--as", "craton", str(TRAIL))])
def test_a_verb_whose_reader_leaves_ends_as_other_programs_do(arguments: tuple[str, ...]) -> None:
    assert _unread(*arguments) == (-signal.SIGPIPE, "")


def test_a_full_disk_for_errors_too_leaves_the_exit_code() -> None:
    command = f"{sys.executable} -m hsm_agent check --help >/dev/full 2>&1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    assert subprocess.run(["sh", "-c", command], check=False, timeout=30, env=environment).returncode == 3


def test_a_closed_standard_output_is_no_bug() -> None:
    command = f"{sys.executable} -m hsm_agent mib >&-"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], check=False, timeout=30, env=environment, capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
