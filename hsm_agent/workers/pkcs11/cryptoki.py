"""A thin ctypes binding of the few PKCS#11 functions a monitor needs. Raw return values, raw structures.

It must not grow functions that log in, write, reset, close other people's sessions or change a configuration:
what is not bound here cannot be called by mistake.
"""

from __future__ import annotations

import ctypes
import time
from ctypes import POINTER, byref, c_ubyte, c_ulong, c_void_p
from typing import TYPE_CHECKING, Any

from hsm_agent.workers.pkcs11.return_values import (
    ALREADY_INITIALIZED,
    BUFFER_TOO_SMALL,
    CANT_LOCK,
    FUNCTION_NOT_SUPPORTED,
    OK,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CKF_OS_LOCKING_OK = 2
CKF_SERIAL_SESSION = 4

# Structures are handed over as the module wrote them. Sizes are for the process's own CK_ULONG, natural alignment.
# A module that writes past the end of its structure finds slack there, not our heap.
_SLACK = 1024
INFO_SIZE = 2 + 32 + ctypes.sizeof(c_ulong) * 2 + 32 + 2 + 4
SLOT_INFO_BYTES = 64 + 32 + ctypes.sizeof(c_ulong) + 4
TOKEN_INFO_BYTES = 96 + ctypes.sizeof(c_ulong) * 11 + 4 + 16

# Positions in CK_FUNCTION_LIST (PKCS#11 2.40, section 3.6): a CK_VERSION, then 68 pointers.
_FUNCTIONS = {
    "C_Initialize": 0,
    "C_Finalize": 1,
    "C_GetInfo": 2,
    "C_GetSlotList": 4,
    "C_GetSlotInfo": 5,
    "C_GetTokenInfo": 6,
    "C_OpenSession": 12,
    "C_CloseSession": 13,
    "C_FindObjectsInit": 26,
    "C_FindObjects": 27,
    "C_FindObjectsFinal": 28,
    "C_GenerateRandom": 64,
}
_OBJECTS_A_CALL = 1000
_MOST_SLOTS = 4096


class _InitializeArgs(ctypes.Structure):
    _fields_ = (
        ("mutexes", c_void_p * 4),
        ("flags", c_ulong),
        ("reserved", c_void_p),
    )


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", c_ubyte * 2), ("entry", c_void_p * 68))


class Failed(Exception):
    """A call that several others depend on returned something other than CKR_OK."""

    def __init__(self, function: str, value: int) -> None:
        super().__init__(function, value)
        self.function = function
        self.value = value


class Module:
    """One loaded library. `before` is called with each function before it is called; `calls` keeps the results."""

    def __init__(self, path: str, before: Callable[[str, int | None], None]) -> None:
        self.calls: list[tuple[str, int, int]] = []
        """Function, return value and microseconds of each call since the list was last taken."""
        self._before = before
        before("dlopen", None)
        self.library = ctypes.CDLL(path)
        self._entries: dict[str, Any] = {}
        self._slot_buffer = (c_ubyte * (SLOT_INFO_BYTES + _SLACK))()
        self._token_buffer = (c_ubyte * (TOKEN_INFO_BYTES + _SLACK))()

    def bind(self) -> None:
        """Fetch the function list. AttributeError if the library is no PKCS#11 module."""
        get = self.library.C_GetFunctionList
        get.restype = c_ulong
        found = POINTER(_FunctionList)()
        value = self.timed("C_GetFunctionList", None, get, byref(found))
        if value != OK or not found:
            raise Failed("C_GetFunctionList", value)
        prototype = ctypes.CFUNCTYPE(c_ulong)
        for name, position in _FUNCTIONS.items():
            pointer = found.contents.entry[position]
            if pointer:
                function = prototype(pointer)
                self._entries[name] = function

    def vendor_function(self, name: str, arguments: Sequence[Any]) -> None:
        """Bind a function that is exported by name only; quietly absent where there is none."""
        function = getattr(self.library, name, None)
        if function is not None:
            function.restype = c_ulong
            function.argtypes = list(arguments)
            self._entries[name] = function

    def has(self, name: str) -> bool:
        """Whether the library brings that function."""
        return name in self._entries

    def timed(self, name: str, slot: int | None, function: Callable[..., int], *arguments: object) -> int:
        """Make one call, and note what it returned and how long it took."""
        self._before(name, slot)
        started = time.perf_counter_ns()
        value = function(*arguments)
        self.calls.append((name, value, (time.perf_counter_ns() - started) // 1000))
        return value

    def call(self, name: str, slot: int | None, *arguments: object) -> int:
        """Call a bound function; FUNCTION_NOT_SUPPORTED for one the module leaves out of its list."""
        function = self._entries.get(name)
        if function is None:
            raise Failed(name, FUNCTION_NOT_SUPPORTED)
        return self.timed(name, slot, function, *arguments)

    def need(self, name: str, slot: int | None, *arguments: object) -> None:
        """Call a bound function whose success the rest depends on."""
        value = self.call(name, slot, *arguments)
        if value != OK:
            raise Failed(name, value)

    def initialize(self, reserved: str | None) -> None:
        """C_Initialize with operating system locks, and the vendor's parameter string where one is needed (NSS).

        A module that cannot lock is initialised without: one thread calls it.
        """
        text = None if reserved is None else ctypes.create_string_buffer(reserved.encode())
        arguments = _InitializeArgs(flags=CKF_OS_LOCKING_OK)
        arguments.reserved = None if text is None else ctypes.addressof(text)
        value = self.call("C_Initialize", None, byref(arguments))
        if value == CANT_LOCK:
            # NULL says the same as no flag and no mutexes; the parameter string needs the structure (section 5.4).
            arguments.flags = 0
            value = self.call("C_Initialize", None, None if text is None else byref(arguments))
        if value not in {OK, ALREADY_INITIALIZED}:
            raise Failed("C_Initialize", value)

    def finalize(self) -> int:
        """C_Finalize: the polite end, so that the token's server sees us leave."""
        return self.call("C_Finalize", None, None)

    def info(self) -> bytes | None:
        """CK_INFO as the module wrote it; None from a module that does not have the call: nothing depends on it."""
        buffer = (c_ubyte * (INFO_SIZE + _SLACK))()
        value = self.call("C_GetInfo", None, byref(buffer)) if self.has("C_GetInfo") else FUNCTION_NOT_SUPPORTED
        if value == FUNCTION_NOT_SUPPORTED:
            return None
        if value != OK:
            raise Failed("C_GetInfo", value)
        return bytes(buffer)[:INFO_SIZE]

    def slots(self) -> list[int]:
        """All slots, with or without a token in them."""
        present = c_ubyte(0)
        count = c_ulong(0)
        for _ in range(3):  # a slot may appear between the two calls
            self.need("C_GetSlotList", None, present, None, byref(count))
            if count.value == 0:  # room for none: some modules call that too small a buffer
                return []
            room = min(count.value, _MOST_SLOTS)
            found = (c_ulong * room)()
            count.value = room
            value = self.call("C_GetSlotList", None, present, byref(found), byref(count))
            if value == OK:
                return list(found[: min(count.value, room)])
            if value != BUFFER_TOO_SMALL:
                raise Failed("C_GetSlotList", value)
        raise Failed("C_GetSlotList", BUFFER_TOO_SMALL)

    def slot_info(self, slot: int) -> bytes | None:
        """CK_SLOT_INFO; None if the call failed."""
        ctypes.memset(self._slot_buffer, 0, SLOT_INFO_BYTES)
        if self.call("C_GetSlotInfo", slot, c_ulong(slot), self._slot_buffer) != OK:
            return None
        return bytes(memoryview(self._slot_buffer)[:SLOT_INFO_BYTES])

    def token_info(self, slot: int) -> bytes | None:
        """CK_TOKEN_INFO; None if the call failed."""
        ctypes.memset(self._token_buffer, 0, TOKEN_INFO_BYTES)
        if self.call("C_GetTokenInfo", slot, c_ulong(slot), self._token_buffer) != OK:
            return None
        return bytes(memoryview(self._token_buffer)[:TOKEN_INFO_BYTES])

    def open_session(self, slot: int) -> int:
        """A read-only session of our own."""
        session = c_ulong(0)
        self.need("C_OpenSession", slot, c_ulong(slot), c_ulong(CKF_SERIAL_SESSION), None, None, byref(session))
        return session.value

    def close_session(self, slot: int, session: int) -> None:
        """Close a session of our own."""
        self.call("C_CloseSession", slot, c_ulong(session))

    def generate_random(self, slot: int, session: int) -> int:
        """C_GenerateRandom of 8 bytes, which are forgotten at once."""
        return self.call("C_GenerateRandom", slot, c_ulong(session), (c_ubyte * 8)(), c_ulong(8))

    def count_objects(self, slot: int, session: int) -> int:
        """Objects visible without a login, counted in batches, no attribute read."""
        self.need("C_FindObjectsInit", slot, c_ulong(session), None, c_ulong(0))
        batch = (c_ulong * _OBJECTS_A_CALL)()
        found = c_ulong(0)
        total = 0
        try:
            while True:
                self.need("C_FindObjects", slot, c_ulong(session), batch, c_ulong(_OBJECTS_A_CALL), byref(found))
                total += found.value
                if found.value == 0:
                    return total
        finally:
            self.call("C_FindObjectsFinal", slot, c_ulong(session))
