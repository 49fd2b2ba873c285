"""How a token and its PINs are, in one word each."""

from __future__ import annotations

import pytest

from hsm_agent.serve.snapshot import PinStatus, TokenStatus, pin_status, token_status


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"token_present": 1, "token_initialized": 1}, TokenStatus.PRESENT),
        ({"token_present": 1}, TokenStatus.PRESENT),
        ({"token_present": 0, "token_initialized": 0}, TokenStatus.ABSENT),
        ({"token_present": 1, "token_initialized": 0}, TokenStatus.UNINITIALIZED),
        ({"token_present": None}, TokenStatus.FAILED),
        ({}, TokenStatus.FAILED),
    ],
)
def test_a_token_is_what_its_readings_say(values: dict[str, float | None], status: TokenStatus) -> None:
    assert token_status(values.get, is_down=False) is status
    assert token_status(values.get, is_down=True) is TokenStatus.UNKNOWN


def test_a_token_whose_information_was_asked_for_in_vain_has_failed() -> None:
    assert token_status({"token_present": 1}.get, is_down=False, info_is_missing=True) is TokenStatus.FAILED


@pytest.mark.parametrize("pin", ["token_pin", "token_so_pin"])
def test_a_pin_is_what_its_worst_flag_says(pin: str) -> None:
    def said(**flags: float | None) -> PinStatus:
        return pin_status({f"{pin}_{name}": flag for name, flag in flags.items()}.get, pin)

    assert said() is PinStatus.UNKNOWN
    assert said(locked=None, final_try=None) is PinStatus.UNKNOWN
    assert said(locked=0, final_try=0, count_low=0) is PinStatus.OK
    assert said(locked=0, final_try=0, count_low=1) is PinStatus.COUNT_LOW
    assert said(locked=0, final_try=1, count_low=1) is PinStatus.FINAL_TRY
    assert said(locked=1, final_try=1, count_low=1) is PinStatus.LOCKED
