"""Luna's own functions, found by name. Each asks one thing, needs no login and changes nothing.

The declarations are ours; the vendor's header is not used. All parameters are CK_ULONGs passed by address.
"""

from __future__ import annotations

from ctypes import POINTER, byref, c_ulong
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsm_agent.worker.cryptoki import Module

_OUTPUTS = {
    # initialised, last poll's result, last configuration's result, configuration in parameter area, records
    "CA_LogGetStatus": 5,
    # overhead, total, used, free, objects
    "CA_GetTokenStorageInformation": 5,
    # major, minor, sub: CK_VERSION cannot hold it
    "CA_GetFirmwareVersion": 3,
}


def bind(module: Module) -> list[str]:
    """Names of the functions the library has."""
    for name, outputs in _OUTPUTS.items():
        module.vendor_function(name, [c_ulong] + [POINTER(c_ulong)] * outputs)
    return [name for name in _OUTPUTS if module.has(name)]


def ask(module: Module, name: str, slot: int) -> list[int]:
    """What the function says of a slot. Raises Failed."""
    answers = [c_ulong(0) for _ in range(_OUTPUTS[name])]
    module.need(name, slot, slot, *(byref(answer) for answer in answers))
    return [answer.value for answer in answers]
