from __future__ import annotations

import pytest

from hsm_agent.workers.pkcs11.return_values import LUNA_MANUFACTURERS, is_refusal, name


@pytest.mark.parametrize(
    ("value", "luna", "text"),
    [
        (0x0, False, "CKR_OK (0x0)"),
        (0x32, False, "CKR_DEVICE_REMOVED (0x32)"),
        (0x191, True, "CKR_CRYPTOKI_ALREADY_INITIALIZED (0x191)"),
        (0x80000035, True, "CKR_LOG_FULL (0x80000035)"),
        (0x80000035, False, "vendor code 0x80000035"),
        (0x80000042, True, "vendor code 0x80000042"),
        (0x7777, False, "unknown code 0x7777"),
        (2**64 - 1, False, "no PKCS#11 code at all (0xffffffffffffffff)"),
        (2**32 - 1, True, "no PKCS#11 code at all (0xffffffff)"),
    ],
)
def test_names_of_return_values(value: int, luna: bool, text: str) -> None:
    assert name(value, luna=luna) == text


def test_luna_libraries_are_known_by_their_makers_names() -> None:
    assert "SafeNet".startswith(LUNA_MANUFACTURERS)
    assert "Thales".startswith(LUNA_MANUFACTURERS)
    assert not "SoftHSM".startswith(LUNA_MANUFACTURERS)


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (0x8000001A, True),
        (0x7, True),
        pytest.param(0x80004711, True, id="a vendor code nobody knows"),
        (0x30, False),
        (0x80000024, False),
        (2**32 - 1, False),
        (2**64 - 1, False),
    ],
)
def test_refusals_are_told_from_failures(value: int, *, refusal: bool) -> None:
    assert is_refusal(value) is refusal
