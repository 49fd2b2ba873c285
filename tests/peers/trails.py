"""Trails as modules write them: Craton's in both forms and CloudHSM's, of any length, to be followed and forged."""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FIRST_NANOSECONDS = 1_795_224_849_257_578_623
_OPERATIONS: Sequence[tuple[object, object]] = (
    ("Initialize", "Success"),
    ({"OpenSession": {"slot_id": 0}}, "Success"),
    ({"Login": {"user_type": 1}}, "Success"),
    ({"GenerateKey": {"mechanism": 0x1080, "key_length": 256, "fips_approved": True}}, "Success"),
    ({"Sign": {"mechanism": 0x1041, "fips_approved": True}}, "Success"),
    ({"GenerateRandom": {"length": 32}}, {"Failure": 0x30}),
    ("Logout", "Success"),
    ("CloseSession", "Success"),
)


def craton_payload(
    number: int, operation: object, result: object = "Success", *, session: int = 1, seconds: float | None = None
) -> dict[str, Any]:
    """An entry without its link."""
    nanoseconds = _FIRST_NANOSECONDS + number * 500_000 if seconds is None else int(seconds * 1e9)
    return {
        "format_version": 0,
        "timestamp": nanoseconds,
        "session_handle": session,
        "operation": operation,
        "key_id": None,
        "result": result,
    }


class CratonWriter:
    """Links entries as the software does: the hash of each covers that of the one before."""

    def __init__(self, anchor: bytes = bytes(32)) -> None:
        self.newest = anchor
        self._numbers = count()

    def line(self, operation: object = "Initialize", result: object = "Success", **more: Any) -> bytes:
        """The next entry with its line end."""
        payload = craton_payload(next(self._numbers), operation, result, **more)
        return self.link(json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode())

    def link(self, payload: bytes) -> bytes:
        """A line of these octets."""
        carried = json.dumps(list(self.newest), separators=(",", ":")).encode()
        self.newest = sha256(self.newest + payload).digest()
        return payload[:-1] + b',"previous_hash":' + carried + b"}\n"

    def lines(self, number: int) -> Iterator[bytes]:
        """So many entries of an application's usual day."""
        for index in range(number):
            operation, result = _OPERATIONS[index % len(_OPERATIONS)]
            yield self.line(operation, result)


class DocumentedWriter:
    """Links entries as the documentation says: the hash of each covers its own keys, in order."""

    def __init__(self, *, spaced: bool = False, sort_lines: bool = False) -> None:
        self.newest = "0" * 64
        self._separators = (", ", ": ") if spaced else (",", ":")
        self._sort_lines = sort_lines
        self._numbers = count()

    def line(self, operation: str = "Login", result: object = None, *, session: int = 1) -> bytes:
        """The next entry with its line end."""
        entry: dict[str, Any] = {
            "timestamp": 1_795_224_849 + next(self._numbers),
            "session_handle": session,
            "operation": operation,
            "key_id": None,
            "result": {"Success": None} if result is None else result,
        }
        whole = {**entry, "previous_hash": self.newest}
        self.newest = sha256(json.dumps(entry, sort_keys=True, separators=self._separators).encode()).hexdigest()
        return json.dumps(whole, sort_keys=self._sort_lines, separators=self._separators).encode() + b"\n"

    def lines(self, number: int) -> Iterator[bytes]:
        """So many entries."""
        for index in range(number):
            yield self.line(("Login", "Sign", "Logout")[index % 3])


def cloudhsm_event(
    sequence: int,
    opcode: str = "CN_LOGIN (0xd)",
    response: str = "0:HSM Return: SUCCESS",
    *,
    reboots: int = 0xE8,
    user: str = "",
    seconds: float = 1_795_224_849.5,
    colon: str = " : ",
    end: str = "\n",
) -> bytes:
    """One event of a CloudHSM's stream."""
    fields = [
        f"Time: 11/29/26 00:00:00.500000, usecs:{int(seconds * 1e6)}",
        f"Sequence No{colon}{sequence:#x}",
        f"Reboot counter{colon}{reboots:#x}",
        f"Command Type(hex){colon}CN_MGMT_CMD (0x0)",
        f"Opcode{colon}{opcode}",
        f"Session Handle{colon}0x1004001",
        f"Response{colon}{response}",
        f"Log type{colon}MINIMAL_LOG_ENTRY (0)",
    ]
    if user:
        fields += [f"User Name{colon}{user}", f"User Type{colon}CN_CRYPTO_USER (1)"]
    return (end.join(fields) + "\n").encode()
