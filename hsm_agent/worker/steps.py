"""What can be asked of one slot. Each step ends in a payload, whatever the module returns: raw data or None.

The return values are in the calls beside it; nothing is judged here.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from hsm_agent.worker import luna
from hsm_agent.worker.cryptoki import Failed, Module

if TYPE_CHECKING:
    from collections.abc import Callable

_CKF_TOKEN_PRESENT = 1
_FLAGS_AT = 96


def _token(module: Module, slot: int) -> list[str | None]:
    """CK_SLOT_INFO and, where it says that a token is there, CK_TOKEN_INFO; both as hexadecimal."""
    slot_info = module.slot_info(slot)
    if slot_info is not None and not int.from_bytes(slot_info[_FLAGS_AT:-4], sys.byteorder) & _CKF_TOKEN_PRESENT:
        return [slot_info.hex(), None]
    token_info = module.token_info(slot)
    return [None if found is None else found.hex() for found in (slot_info, token_info)]


def _vendor(name: str) -> Callable[[Module, int], Any]:
    def ask(module: Module, slot: int) -> list[int] | None:
        try:
            return luna.ask(module, name, slot)
        except Failed:
            return None

    return ask


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
    "audit": _vendor("CA_LogGetStatus"),
    "storage": _vendor("CA_GetTokenStorageInformation"),
    "firmware": _vendor("CA_GetFirmwareVersion"),
    "alive": _in_session(lambda module, slot, session: module.generate_random(slot, session)),
    "objects": _in_session(lambda module, slot, session: module.count_objects(slot, session)),
}


def directory_bytes(directory: str) -> int:
    """Sum of the sizes of all files below a directory. Here, because a stuck file system can only be killed."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    total += directory_bytes(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:  # destroyed since the directory was read
                continue
    return total
