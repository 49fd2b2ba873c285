from __future__ import annotations

import pytest

from hsm_agent.collect.canary.signer import (
    PinRecord,
    PinRecordStatus,
    failure_text,
    is_not_the_pin,
    not_tried_text,
    return_value,
)

LUNA = "SafeNet, Inc."
OTHER = {"manufacturer": "Another Inc."}
LOG_FULL = (
    "C_Sign returned CKR_LOG_FULL (0x80000035): the audit store is full and the HSM refuses all cryptography: "
    "drain it now"
)
NOT_LOADED = (
    "C_Initialize: OS exception while loading /x.so: no file: check `module`, and that the client is installed whole"
)


def answer(step: str, error: str, text: str = "") -> dict[str, str]:
    return {"failed": step, "error": error, "text": text, "manufacturer": LUNA}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answer("C_Login", "PinLocked"), "C_Login returned CKR_PIN_LOCKED: have the security officer unlock it"),
        (answer("C_Sign", "DeviceError"), "C_Sign returned CKR_DEVICE_ERROR: check the HSM"),
        (answer("C_Sign", "FunctionFailed"), "C_Sign returned CKR_FUNCTION_FAILED"),
        (answer("C_FindObjects", "NoSuchKey", "x"), "C_FindObjects: no key of that label or id is there: check `key`"),
        (answer("C_FindObjects", "MultipleObjectsReturned"), "C_FindObjects: several keys match: check `key`"),
        (
            answer("C_Sign", "PKCS11Error", "Unmapped error code 0x80000035"),
            LOG_FULL,
        ),
        (
            answer("C_Initialize", "PKCS11Error", "OS exception while loading /x.so:\nno file"),
            NOT_LOADED,
        ),
        (
            answer("C_Sign", "AttributeError", "the key cannot sign with this mechanism"),
            "C_Sign: the key cannot sign with this mechanism: check `mechanism` and `key`",
        ),
    ],
)
def test_a_failure_is_one_line_with_step_code_and_advice(given: dict[str, str], said: str) -> None:
    assert failure_text(given) == said


def test_a_vendors_code_is_named_only_for_that_vendor() -> None:
    given = answer("C_Sign", "PKCS11Error", "Unmapped error code 0x80000035")

    assert failure_text(given | OTHER) == "C_Sign returned vendor code 0x80000035"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("PinIncorrect", "CKR_PIN_INCORRECT"),
        ("PinLenRange", "CKR_PIN_LEN_RANGE"),
        ("SlotIDInvalid", "CKR_SLOT_ID_INVALID"),
        ("RandomNoRNG", "CKR_RANDOM_NO_RNG"),
    ],
)
def test_a_return_value_is_called_as_the_standard_calls_it(kind: str, name: str) -> None:
    assert return_value(kind) == name


@pytest.mark.parametrize(
    ("given", "innocent"),
    [
        (answer("C_Login", "DeviceRemoved"), True),
        (answer("C_Login", "PKCS11Error", "Unmapped error code 0x80000035"), True),
        (answer("C_Login", "PKCS11Error", "Unmapped error code 0x80000042"), False),
        (answer("C_Login", "GeneralError"), False),
        (answer("C_Login", "PinIncorrect"), False),
    ],
)
def test_only_what_surely_has_not_looked_at_the_pin_is_innocent(given: dict[str, str], innocent: bool) -> None:
    assert is_not_the_pin(given) is innocent
    assert not is_not_the_pin({**given, **OTHER, "error": "PKCS11Error"})


def test_a_pin_that_is_not_tried_says_since_when_and_how_it_is_mended() -> None:
    refused = not_tried_text(PinRecord(status=PinRecordStatus.REFUSED, at=1e9, why="CKR_PIN_INCORRECT"))
    unseen = not_tried_text(PinRecord(status=PinRecordStatus.TRYING, at=1e9))

    assert refused.startswith("the token refused the PIN on 2001-09-")
    assert "(CKR_PIN_INCORRECT); it is not tried again until the PIN is corrected" in refused
    assert "nobody saw how that ended" in unseen
