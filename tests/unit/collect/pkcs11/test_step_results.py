from __future__ import annotations

import math
from typing import Any

import pytest

from hsm_agent.collect.pkcs11.parse import ParsedPoll, parse
from hsm_agent.collect.pkcs11.poll_state import ParseOptions, PollMemory
from tests.unit.collect.pkcs11_raws import asked, raw, swept

WATCH = ParseOptions(name="hsm")
ALPHA = ("alpha", "S1", -1)
LUNA: dict[str, Any] = {"functions": ["CA_GetFirmwareVersion", "CA_GetTokenStorageInformation", "CA_LogGetStatus"]}
OPEN, RANDOM, CLOSE = ["C_OpenSession", 0, 1], ["C_GenerateRandom", 0, 1], ["C_CloseSession", 0, 1]
REFUSED = ["alive", 1, 0.0, [["C_OpenSession", 0xB1, 1]], None]
ALIVE = ["alive", 1, 0.0, [OPEN, RANDOM, CLOSE], [0]]


def _after(
    *results: list[Any], known: PollMemory | None = None, watch: ParseOptions = WATCH, **more: Any
) -> ParsedPoll:
    return parse(raw(*results, **more), watch, known or PollMemory())


def _read(parsed: ParsedPoll, metric: str, resource: str = "alpha") -> Any:
    (found,) = [reading for reading in parsed.readings if (reading.resource, reading.metric) == (resource, metric)]
    return found.reason if found.value is None else found.value


def test_audit_readings_alone_leave_the_sweep_s_readings_alone() -> None:
    parsed = _after(swept(1), **LUNA)
    for at, records in ((0.0, 20_000), (5.0, 30_000), (10.0, 40_000)):
        audit = asked("audit", 1, "CA_LogGetStatus", [1, 0, 0, 1, records], at=at)
        parsed = _after(audit, known=parsed.memory, sweep=False, **LUNA)

    assert _read(parsed, "audit_seconds_to_full") == pytest.approx((198_120 - 40_000) / 2000)
    assert len(parsed.readings) == 6


def test_a_fresh_process_needs_three_readings_again() -> None:
    parsed = _after(swept(1), asked("audit", 1, "CA_LogGetStatus", [1, 0, 0, 1, 90_000]), **LUNA)

    assert _read(parsed, "audit_seconds_to_full") == math.inf


def test_a_function_the_slot_does_not_know_is_not_asked_again_and_is_no_error() -> None:
    parsed = _after(swept(1), asked("audit", 1, "CA_LogGetStatus", None, rv=0x54), **LUNA)

    assert parsed.errors == ()
    assert ("audit", ALPHA) in parsed.memory.unsupported
    assert not [reading for reading in parsed.readings if reading.metric.startswith("audit_")]


def test_a_function_that_is_no_longer_known_makes_its_readings_unavailable() -> None:
    known = _after(swept(1), asked("audit", 1, "CA_LogGetStatus", [1, 0, 0, 1, 5]), **LUNA).memory
    parsed = _after(asked("audit", 1, "CA_LogGetStatus", None, rv=0x54), known=known, sweep=False, **LUNA)

    assert _read(parsed, "audit_records") == "no longer supported"


def test_objects_that_are_counted_stay_known_when_a_fresh_worker_asks_in_vain_for_luna_s_own_count() -> None:
    storage = asked("storage", 1, "CA_GetTokenStorageInformation", None, rv=0x54)
    known = _after(swept(1), storage, **LUNA).memory
    known = _after(asked("objects", 1, "C_FindObjectsInit", [7]), known=known, sweep=False, **LUNA).memory

    # The second worker may be replaced before Luna's own count is due.
    parsed = _after(storage, known=known.for_fresh_worker().for_fresh_worker(), sweep=False, **LUNA)

    assert parsed.readings == ()
    assert parsed.memory.series["alpha"].facts["", "token_objects", ()].value == 7
    assert ("storage", ALPHA) in parsed.memory.unsupported


def test_a_function_that_a_fresh_worker_had_and_lost_makes_its_readings_unavailable() -> None:
    storage = asked("storage", 1, "CA_GetTokenStorageInformation", None, rv=0x54)
    known = _after(swept(1), storage, **LUNA).memory.for_fresh_worker()
    had = asked("storage", 1, "CA_GetTokenStorageInformation", [0, 100, 50, 50, 7])
    known = _after(had, known=known, sweep=False, **LUNA).memory

    parsed = _after(storage, known=known, sweep=False, **LUNA)

    assert _read(parsed, "token_objects") == "no longer supported"


def test_a_failing_function_is_an_error_with_its_own_reason() -> None:
    parsed = _after(swept(1), asked("storage", 1, "CA_GetTokenStorageInformation", None, rv=0x80000024), **LUNA)

    returned = "CA_GetTokenStorageInformation on slot 1 returned CKR_TIMEOUT (0x80000024)"
    reason = f"{returned}: check the HSM and the link to it"
    assert _read(parsed, "token_storage_used_percent") == reason
    assert parsed.errors == (f"alpha: {reason}",)
    assert _read(parsed, "token_present") == 1


def test_an_audit_role_that_is_not_initialised_is_a_finding() -> None:
    parsed = _after(swept(1), asked("audit", 1, "CA_LogGetStatus", None, rv=0x80000039), **LUNA)

    assert _read(parsed, "audit_records") == "the HSM's audit role is not initialised"
    assert parsed.errors == ()


def test_a_full_log_met_by_another_call_fills_the_audit_reading() -> None:
    audit = asked("audit", 1, "CA_LogGetStatus", [1, 0, 0, 1, 500])
    storage = asked("storage", 1, "CA_GetTokenStorageInformation", None, rv=0x80000035)
    parsed = _after(swept(1), audit, storage, **LUNA)

    assert _read(parsed, "audit_used_percent") == 100
    assert _read(parsed, "audit_records") == 500
    assert "CKR_LOG_FULL" in _read(parsed, "token_storage_used_percent")


def test_another_vendor_s_code_of_that_number_is_no_full_log() -> None:
    parsed = _after(swept(1), ["alive", 1, 0.0, [OPEN, ["C_GenerateRandom", 0x80000035, 1], CLOSE], None])

    assert _read(parsed, "token_alive") == 0
    assert "vendor code 0x80000035" in parsed.errors[0]
    assert not [reading for reading in parsed.readings if reading.metric.startswith("audit_")]


def test_refused_sessions_stand_until_one_is_opened() -> None:
    refused = _after(swept(1), REFUSED)
    later = _after(swept(1), known=refused.memory)
    opened = _after(swept(1), ALIVE, known=later.memory)

    assert _read(refused, "token_sessions_used_percent") == 100
    assert "CKR_SESSION_COUNT" in _read(refused, "token_alive")
    assert refused.errors == ()
    assert _read(later, "token_sessions_used_percent") == 100
    assert _read(_after(swept(1), known=opened.memory), "token_sessions_used_percent") != 100


def test_a_newer_count_outranks_an_older_refusal() -> None:
    refused = _after(swept(1, sessions=50, max_sessions=50), REFUSED)
    later = _after(swept(1, sessions=5, max_sessions=50), known=refused.memory)

    assert _read(later, "token_sessions_used_percent") == 10


@pytest.mark.parametrize(
    ("calls", "payload", "alive", "errors"),
    [
        pytest.param([OPEN, RANDOM, CLOSE], [0], 1, 0, id="answers"),
        pytest.param([OPEN, ["C_GenerateRandom", 0x5, 1], CLOSE], None, 0, 1, id="fails"),
        pytest.param([["C_OpenSession", 0x30, 1]], None, 0, 1, id="no session"),
        pytest.param(
            [OPEN, ["C_GenerateRandom", 0x121, 1], CLOSE],
            None,
            "C_GenerateRandom on slot 1 returned CKR_RANDOM_NO_RNG (0x121)",
            0,
            id="has no generator",
        ),
    ],
)
def test_liveness(calls: list[Any], payload: list[int] | None, alive: object, errors: int) -> None:
    parsed = _after(swept(1), ["alive", 1, 0.0, calls, payload])

    assert _read(parsed, "token_alive") == alive
    assert len(parsed.errors) == errors


def test_a_liveness_call_that_hung_is_a_token_that_is_not_alive() -> None:
    parsed = _after(swept(1), failed=[["alive", 1, "C_GenerateRandom hung"]])

    assert _read(parsed, "token_alive") == 0
    assert parsed.errors == ("alpha: C_GenerateRandom hung",)


def test_firmware_of_luna_outranks_the_short_one() -> None:
    parsed = _after(swept(1), asked("firmware", 1, "CA_GetFirmwareVersion", [7, 8, 400]), **LUNA)

    (reading,) = [reading for reading in parsed.readings if reading.metric == "hsm_firmware_info"]
    assert reading.labels == (("version", "7.8.400"),)


def test_firmware_that_cannot_be_read_keeps_its_name_without_a_value() -> None:
    known = _after(swept(1), asked("firmware", 1, "CA_GetFirmwareVersion", [7, 8, 400]), **LUNA).memory
    parsed = _after(asked("firmware", 1, "CA_GetFirmwareVersion", None, rv=0x30), known=known, sweep=False, **LUNA)

    (reading,) = [reading for reading in parsed.readings if reading.metric == "hsm_firmware_info"]
    assert (reading.value, reading.labels) == (None, (("version", "7.8.400"),))


@pytest.mark.parametrize(
    ("directory", "slots", "resource"),
    [
        ("/var/lib/softhsm/tokens", [swept(1)], "alpha"),
        ("/var/lib/softhsm/tokens", [swept(1), swept(2, label="beta", serial="S2")], ""),
        ("/var/tokens/1b2c-00-5a5a", [swept(1, serial="005a5a"), swept(2, label="beta", serial="S2")], "alpha"),
    ],
)
def test_whose_object_store_it_is(directory: str, slots: list[list[Any]], resource: str) -> None:
    watch = ParseOptions(name="hsm", store_directory=directory, store_capacity=1000)
    parsed = _after(*slots, watch=watch, fill={"bytes": 250})

    assert _read(parsed, "token_storage_used_percent", resource) == 25
    assert _read(parsed, "token_storage_free_bytes", resource) == 750


BOTH = [swept(1, serial="005a5a"), swept(2, label="beta", serial="S2"), swept(3, label="gamma", serial="S3")]
SHARED = ParseOptions(name="hsm", store_directory="/var/lib/softhsm/tokens", store_capacity=1000)


def test_a_store_that_serves_several_tokens_is_shared_out_among_them() -> None:
    parts = {"1b2c-00-5a5a": 150, "9-S2": 80, "lost+found": 20}
    parsed = _after(*BOTH, watch=SHARED, fill={"bytes": 250, "parts": parts})

    used = [_read(parsed, "token_storage_used_bytes", resource) for resource in ("alpha", "beta", "")]
    assert used == [150, 80, 250]
    percent = [_read(parsed, "token_storage_used_percent", resource) for resource in ("alpha", "beta", "")]
    assert percent == [15, 8, 25]
    assert {_read(parsed, "token_storage_free_bytes", resource) for resource in ("alpha", "beta", "")} == {750}
    assert "serial in its name" in _read(parsed, "token_storage_used_bytes", "gamma")


def test_a_shared_store_that_cannot_be_read_is_unavailable_for_each() -> None:
    parsed = _after(*BOTH, watch=SHARED, fill={"error": "gone"})

    assert {_read(parsed, "token_storage_used_percent", resource) for resource in ("alpha", "beta", "gamma", "")} == {
        "gone"
    }
    assert parsed.errors == ("object_store: gone",)
