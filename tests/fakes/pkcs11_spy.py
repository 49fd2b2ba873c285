"""The canary's two attempts on a real module, with every call that arrives at the module counted: names on stdout.

`python -m tests.fakes.pkcs11_spy MODULE TOKEN PIN MECHANISM`. The entries of the module's function list are replaced
in this process, so it must be one of its own.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from hsm_agent.workers.canary.signing import Canary
from tests.unit.workers.pkcs11.never_called import FUNCTION_LIST

# No function has more arguments, and all are words: pointers, handles and lengths.
_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_ulong, *[ctypes.c_void_p] * 8)


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", ctypes.c_ubyte * 2), ("entry", ctypes.c_void_p * len(FUNCTION_LIST)))


def spy(module: str, seen: set[str]) -> list[Any]:
    """Replace the entries of the module's function list; what is returned must be kept alive."""
    found = ctypes.POINTER(_FunctionList)()
    assert ctypes.CDLL(module).C_GetFunctionList(ctypes.byref(found)) == 0
    return [_replaced(found.contents, position, name, seen) for position, name in enumerate(FUNCTION_LIST)]


def _replaced(table: _FunctionList, position: int, name: str, seen: set[str]) -> Any:
    original = _PROTOTYPE(table.entry[position])

    def note(*arguments: Any) -> Any:
        seen.add(name)
        return original(*arguments)

    noted = _PROTOTYPE(note)
    table.entry[position] = ctypes.cast(noted, ctypes.c_void_p).value
    return noted


def main(module: str, token: str, pin: str, mechanism: str) -> None:
    seen: set[str] = set()
    kept = spy(module, seen)
    canary = Canary(lambda _step: None)
    for _ in range(2):
        canary.reach(module, token)
        canary.sign(pin, {"label": "canary"}, mechanism, bytes(32))
    canary.end()
    print(*sorted(seen), flush=True)
    del kept


if __name__ == "__main__":
    main(*sys.argv[1:5])
