"""How a token and its PINs are, in one word each: the same for SNMP and for the status document.

The numbers are those of HsmTokenStatus and HsmPinStatus in the MIB; the words are the names.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TokenStatus(Enum):
    """Of a token; unknown while its source is down."""

    UNKNOWN = 1
    PRESENT = 2
    ABSENT = 3
    UNINITIALIZED = 4
    FAILED = 5


class PinStatus(Enum):
    """Of the user's or the security officer's PIN."""

    UNKNOWN = 1
    OK = 2
    COUNT_LOW = 3
    FINAL_TRY = 4
    LOCKED = 5


_WORST_FIRST = (PinStatus.LOCKED, PinStatus.FINAL_TRY, PinStatus.COUNT_LOW)


def token_status(
    value: Callable[[str], float | int | None], *, is_down: bool, info_is_missing: bool = False
) -> TokenStatus:
    """`value` gives the reading of a metric; `info_is_missing`: the token's information was asked for in vain."""
    if is_down:
        return TokenStatus.UNKNOWN
    present = value("token_present")
    if present == 0:
        return TokenStatus.ABSENT
    if value("token_initialized") == 0:
        return TokenStatus.UNINITIALIZED
    return TokenStatus.FAILED if present is None or info_is_missing else TokenStatus.PRESENT


def pin_status(value: Callable[[str], float | int | None], pin: str) -> PinStatus:
    """The worst flag of `token_pin` or `token_so_pin`."""
    flags = {status: value(f"{pin}_{status.name.lower()}") for status in _WORST_FIRST}
    if all(flag is None for flag in flags.values()):
        return PinStatus.UNKNOWN
    return next((status for status, flag in flags.items() if flag), PinStatus.OK)
