"""The steps that read one slot. Each returns a payload: raw data, or None where a call failed.

The return values stand in the calls that are sent beside it; nothing is interpreted here.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from hsm_agent.workers.pkcs11 import luna
from hsm_agent.workers.pkcs11.cryptoki import Failed, Module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CKF_TOKEN_PRESENT = 1
_CKF_REMOVABLE_DEVICE = 2
_FLAGS_AT = 96


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
    return _vendor(lambda module, slot: luna.ask(module, name, slot))


def _pairs(name: str) -> Callable[[Module, int], Any]:
    return _vendor(lambda module, slot: luna.pairs(module, name, slot))


def _role(user_type: int) -> Callable[[Module, int], Any]:
    return _vendor(lambda module, slot: luna.role(module, slot, user_type))


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


STEPS: dict[str, Callable[[Module, int], Any]] = {
    "token": _token,
    "audit": _numbers("CA_LogGetStatus"),
    "ha": _vendor(luna.ha_state),
    "stats": _vendor(luna.statistics),
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
    for entry, size in _sizes(directory):
        total += size
        if entry.is_dir(follow_symlinks=False) and len(folders) < _MOST_FOLDERS:
            folders[os.fsencode(entry.name).decode("utf-8", "replace")] = size
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
