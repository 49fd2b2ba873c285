"""The steps that read one slot. Each returns a payload: raw data, or None where a call failed.

The return values stand in the calls that are sent beside it; nothing is interpreted here. Luna's own functions are
found by name; the declarations are ours, the vendor's header is not used. What is not in the tables here cannot be
called: functions that log in, write, reset, end other people's sessions or change a configuration stay out, and a test
holds a list of them against this package.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, byref, c_ubyte, c_ulong
from typing import TYPE_CHECKING, Any

from hsm_agent.workers.pkcs11.cryptoki import Failed, Module
from hsm_agent.workers.pkcs11.return_values import BUFFER_TOO_SMALL, OK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hsm_agent.workers.pkcs11.cryptoki import Module

_CKF_TOKEN_PRESENT = 1
_CKF_REMOVABLE_DEVICE = 2
_FLAGS_AT = 96

OUTPUTS = {
    # initialised, last poll's result, last configuration's result, configuration in parameter area, records
    "CA_LogGetStatus": 5,
    # overhead, total, used, free, objects
    "CA_GetTokenStorageInformation": 5,
    # overhead, total, used, free
    "CA_GetHSMStorageInformation": 4,
    # major, minor, sub: CK_VERSION cannot hold it
    "CA_GetFirmwareVersion": 3,
    # bits of the master tamper key's state
    "CA_MTKGetState": 1,
    # secure transport mode
    "CA_STMGetState": 1,
}
"""Functions of a slot that fill in so many CK_ULONGs."""

SETS = ("CA_GetHSMCapabilitySet", "CA_GetHSMPolicySet", "CA_GetTokenPolicies")
"""Functions that give a list of ids and a list of values; asked without room first, they say how long both are."""

STATISTICS = (2, 3, 4)
"""Ids of CA_GetHSMStats: time up, time idle, commands executed."""

_MOST_PAIRS = 4096
_MOST_MEMBERS = 32
_SERIAL_BYTES = 20
_SLACK = 1024
_UNTOUCHED = 0xFF


class _Statistic(ctypes.Structure):
    _fields_ = (("id", c_ulong), ("high", c_ulong), ("low", c_ulong))


class _RoleState(ctypes.Structure):
    _fields_ = (("flags", c_ubyte), ("attempts", c_ubyte), ("primary", c_ubyte), ("secondary", c_ubyte))


class _Member(ctypes.Structure):
    _fields_ = (("serial", c_ubyte * _SERIAL_BYTES), ("status", c_ulong))


class _HaState(ctypes.Structure):
    _fields_ = (("serial", c_ubyte * _SERIAL_BYTES), ("members", _Member * _MOST_MEMBERS), ("count", c_ulong))


HA_STATE_BYTES = ctypes.sizeof(_HaState)
"""The larger of the two layouts of CA_GetHAState's answer; libraries with the smaller one leave the rest alone."""


def _token(module: Module, slot: int) -> list[str | None]:
    """CK_SLOT_INFO and, unless it says that no token is there, CK_TOKEN_INFO; both as hexadecimal."""
    slot_info = module.slot_info(slot)
    if slot_info is not None and _is_empty(int.from_bytes(slot_info[_FLAGS_AT:-4], sys.byteorder)):
        return [slot_info.hex(), None]
    token_info = module.token_info(slot)
    return [None if found is None else found.hex() for found in (slot_info, token_info)]


def _is_empty(flags: int) -> bool:
    """CKF_TOKEN_PRESENT speaks of slots with a removable device; any other has its token always (section 3.2)."""
    return bool(flags & _CKF_REMOVABLE_DEVICE) and not flags & _CKF_TOKEN_PRESENT


def _vendor(use: Callable[[Module, int], Any]) -> Callable[[Module, int], Any]:
    def ask(module: Module, slot: int) -> Any:
        try:
            return use(module, slot)
        except Failed:
            return None

    return ask


def _numbers(name: str) -> Callable[[Module, int], Any]:
    return _vendor(lambda module, slot: ask(module, name, slot))


def _pairs(name: str) -> Callable[[Module, int], Any]:
    return _vendor(lambda module, slot: pairs(module, name, slot))


def _role(user_type: int) -> Callable[[Module, int], Any]:
    return _vendor(lambda module, slot: role(module, slot, user_type))


def _in_session(use: Callable[[Module, int, int], int]) -> Callable[[Module, int], Any]:
    def ask(module: Module, slot: int) -> list[int] | None:
        try:
            session = module.open_session(slot)
        except Failed:
            return None
        try:
            return [use(module, slot, session)]
        except Failed:
            return None
        finally:
            module.close_session(slot, session)

    return ask


def bind_vendor_functions(module: Module) -> list[str]:
    """Names of the functions the library has."""
    numbers = POINTER(c_ulong)
    prototypes: dict[str, Sequence[object]] = {
        **{name: [c_ulong] + [numbers] * outputs for name, outputs in OUTPUTS.items()},
        **{name: [c_ulong] + [numbers] * 4 for name in SETS},
        "CA_GetHSMStats": [c_ulong, c_ulong, numbers, POINTER(_Statistic)],
        "CA_RoleStateGet": [c_ulong, c_ulong, POINTER(_RoleState)],
        "CA_GetHAState": [c_ulong, POINTER(c_ubyte)],
    }
    for name, arguments in prototypes.items():
        module.vendor_function(name, arguments)
    return [name for name in prototypes if module.has(name)]


def ask(module: Module, name: str, slot: int) -> list[int]:
    """What one of OUTPUTS says of a slot. Raises Failed."""
    answers = [c_ulong(0) for _ in range(OUTPUTS[name])]
    module.need(name, slot, slot, *(byref(answer) for answer in answers))
    return [answer.value for answer in answers]


def pairs(module: Module, name: str, slot: int) -> list[list[int]]:
    """Ids and values of one of SETS. Raises Failed."""
    ids_count, values_count = c_ulong(0), c_ulong(0)
    for _ in range(3):  # the list may grow between the two calls
        module.need(name, slot, slot, None, byref(ids_count), None, byref(values_count))
        room = max(1, min(max(ids_count.value, values_count.value), _MOST_PAIRS))
        ids, values = (c_ulong * room)(), (c_ulong * room)()
        ids_count.value = values_count.value = room
        value = module.call(name, slot, slot, ids, byref(ids_count), values, byref(values_count))
        if value == OK:
            found = min(ids_count.value, values_count.value, room)
            return [[ids[position], values[position]] for position in range(found)]
        if value != BUFFER_TOO_SMALL:
            raise Failed(name, value)
    raise Failed(name, BUFFER_TOO_SMALL)


def statistics(module: Module, slot: int) -> list[list[int]]:
    """Id, high and low word of each of STATISTICS. Raises Failed."""
    wanted = (c_ulong * len(STATISTICS))(*STATISTICS)
    answers = (_Statistic * len(STATISTICS))()
    module.need("CA_GetHSMStats", slot, slot, len(STATISTICS), wanted, answers)
    return [[answer.id, answer.high, answer.low] for answer in answers]


def role(module: Module, slot: int, user_type: int) -> list[int]:
    """Flags and login attempts left of a role; CKU_… is the type. Raises Failed."""
    state = _RoleState()
    module.need("CA_RoleStateGet", slot, slot, user_type, byref(state))
    return [state.flags, state.attempts]


def ha_state(module: Module, slot: int) -> str:
    """CA_GetHAState's answer as hexadecimal, in whichever layout the library has; ff where it wrote nothing.

    Raises Failed. The buffer is longer than either layout; only as much as the larger one holds is handed over.
    """
    buffer = (c_ubyte * (HA_STATE_BYTES + _SLACK))()
    ctypes.memset(buffer, _UNTOUCHED, len(buffer))
    module.need("CA_GetHAState", slot, slot, buffer)
    return bytes(memoryview(buffer)[:HA_STATE_BYTES]).hex()


STEPS: dict[str, Callable[[Module, int], Any]] = {
    "token": _token,
    "audit": _numbers("CA_LogGetStatus"),
    "ha": _vendor(ha_state),
    "stats": _vendor(statistics),
    "storage": _numbers("CA_GetTokenStorageInformation"),
    "hsm_storage": _numbers("CA_GetHSMStorageInformation"),
    "tamper": _numbers("CA_MTKGetState"),
    "transport": _numbers("CA_STMGetState"),
    # PKCS#11's types of user; what Luna adds to them has the vendor bit.
    "role_so": _role(0),
    "role_crypto_officer": _role(1),
    "role_crypto_user": _role(0x80000001),
    "firmware": _numbers("CA_GetFirmwareVersion"),
    "capabilities": _pairs("CA_GetHSMCapabilitySet"),
    "policies": _pairs("CA_GetHSMPolicySet"),
    "token_policies": _pairs("CA_GetTokenPolicies"),
    "alive": _in_session(lambda module, slot, session: module.generate_random(slot, session)),
    "objects": _in_session(lambda module, slot, session: module.count_objects(slot, session)),
}


_MOST_FOLDERS = 1024


def store_bytes(directory: str) -> dict[str, Any]:
    """Sizes of an object store: of all its files, and of each folder in it (a token's, as a rule)."""
    folders: dict[str, int] = {}
    total = 0
    try:
        for entry, size in _sizes(directory):
            total += size
            if entry.is_dir(follow_symlinks=False) and len(folders) < _MOST_FOLDERS:
                folders[os.fsencode(entry.name).decode("utf-8", "replace")] = size
    except OSError as error:
        return {"error": f"{directory}: {error.strerror}"}
    return {"bytes": total, "parts": folders}


def directory_bytes(directory: str) -> int:
    """Sum of the sizes of all files below a directory. Here, because a stuck file system can only be killed."""
    return sum(size for _, size in _sizes(directory))


def _sizes(directory: str) -> Iterator[tuple[os.DirEntry[str], int]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield entry, directory_bytes(entry.path)
                else:
                    yield entry, entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:  # destroyed since the directory was read
                continue
