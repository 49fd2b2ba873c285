"""Why the canary failed, in one line: the step, the return value by its name, what to check. Pure."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.canary.pin_record import PinRecord, PinRecordStatus
from hsm_agent.workers.pkcs11.return_values import LOG_FULL, is_luna_library, name

if TYPE_CHECKING:
    from collections.abc import Mapping

PIN_ERRORS = frozenset({"PinIncorrect", "PinInvalid", "PinLenRange", "PinExpired", "PinLocked"})
"""python-pkcs11's names of the answers after which a PIN is not tried again."""
_NOT_THE_PIN = frozenset(
    {
        *("DeviceError", "DeviceMemory", "DeviceRemoved", "HostMemory", "TokenNotPresent", "TokenNotRecognised"),
        *("SessionClosed", "SessionCount", "SessionHandleInvalid", "SessionReadOnlyExists", "SlotIDInvalid"),
        *("UserPinNotInitialized", "UserTooManyTypes", "AnotherUserAlreadyLoggedIn", "UserAlreadyLoggedIn"),
        *("FunctionNotSupported", "OperationActive", "ArgumentsBad"),
    }
)
"""Answers to C_Login with which a token has neither compared nor counted the PIN."""
_OWN_ERRORS = frozenset({"NoSuchKey", "NoSuchToken", "MultipleObjectsReturned", "MultipleTokensReturned"})
_UNMAPPED = re.compile(r"0x([0-9a-fA-F]+)")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONGEST = 200
_CHECK = {
    "PinLocked": "have the security officer unlock it",
    "PinExpired": "set a new PIN",
    "UserPinNotInitialized": "set the user's PIN on the token",
    "TokenNotPresent": "check the HSM and the link to it",
    "DeviceError": "check the HSM",
    "DeviceRemoved": "check the HSM",
    "MechanismInvalid": "the token does not offer this mechanism: choose another",
    "KeyTypeInconsistent": "the key does not belong to this mechanism",
    "NoSuchToken": "check `token`, and that the partition is still assigned",
}
_OTHER_KEY = "check `key`"
_LOG_FULL = "the audit store is full and the HSM refuses all cryptography: drain it now"


def failed(answer: Mapping[str, Any]) -> str:
    """A step that failed."""
    step, kind, text = str(answer["failed"]), str(answer["error"]), str(answer["text"])
    if kind in _OWN_ERRORS:
        what = {"NoSuchKey": "no key of that label or id is there", "MultipleObjectsReturned": "several keys match"}
        return f"{step}: {what.get(kind, text[:_LONGEST])}: {_CHECK.get(kind, _OTHER_KEY)}"
    if (code := _vendor_code(answer)) is not None:
        shown = name(code, luna=_is_luna(answer))
        return f"{step} returned {shown}" + (f": {_LOG_FULL}" if "LOG_FULL" in shown else "")
    if kind in {"PKCS11Error", "ImportError"}:
        return f"{step}: {' '.join(text.split())[:_LONGEST]}: check `module`, and that the client is installed whole"
    if kind in {"ValueError", "TypeError", "AttributeError", "NotImplementedError"}:
        return f"{step}: {text}: check `mechanism` and `key`"
    advice = _CHECK.get(kind)
    return f"{step} returned {return_value(kind)}" + (f": {advice}" if advice else "")


def is_not_the_pin(answer: Mapping[str, Any]) -> bool:
    """Whether a failed login certainly did not count as a try of the PIN."""
    full = _vendor_code(answer) == LOG_FULL and _is_luna(answer)
    return full or str(answer["error"]) in _NOT_THE_PIN


def _is_luna(answer: Mapping[str, Any]) -> bool:
    return is_luna_library(str(answer.get("manufacturer", "")))


def _vendor_code(answer: Mapping[str, Any]) -> int | None:
    """A return value for which python-pkcs11 has no class: it stands in the text only."""
    text = str(answer["text"])
    found = _UNMAPPED.search(text) if answer["error"] == "PKCS11Error" and "nmapped" in text else None
    return int(found[1], 16) if found is not None else None


def return_value(kind: str) -> str:
    """`PinIncorrect` as the standard writes it: `CKR_PIN_INCORRECT`."""
    return f"CKR_{_HUMP.sub('_', kind).upper()}"


def not_again(record: PinRecord) -> str:
    """Why a PIN is not tried."""
    when = f"{dt.datetime.fromtimestamp(record.at).astimezone():%Y-%m-%d %H:%M}"
    if record.status is PinRecordStatus.REFUSED:
        how = f"the token refused the PIN on {when} ({record.why})"
    else:
        how = f"the PIN was first tried on {when}, and nobody saw how that ended"
    return f"{how}; it is not tried again until the PIN is corrected and the agent reloaded (else: alarms forget)"
