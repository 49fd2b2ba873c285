"""Craton HSM's audit log, JSON lines: as the software writes it, and as its documentation describes it. Pure.

*As written* (0.9): nanoseconds, tagged operations, `previous_hash` as 32 numbers at the line's end. The hash of an
entry is SHA-256 over its predecessor's hash (32 raw octets) and the line without `previous_hash`, octet by octet as it
is written; the first entry's predecessor is zero. Entries of `format_version` 1 are chained with a keyed HMAC.

*As documented*: seconds, an operation's name, `previous_hash` in hex. The hash of an entry is SHA-256 over its keys in
order without `previous_hash`, so it does not cover what came before: every link vouches for one entry only.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from hsm_agent.collect.trails.chain import Chain, ChainState, Entry, seconds_of
from hsm_agent.collect.trails.mechanisms import mechanism_name
from hsm_agent.metrics.tables import SUCCESS
from hsm_agent.workers.pkcs11.return_values import symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LINK = b',"previous_hash":['
_LINK_END = b"]}"
_DECIMAL = tuple(b"%d" % number for number in range(256))
_KEYED = re.compile(rb'"format_version":[1-9]')
_VERSION_WITHIN = 64
"""`format_version` stands at a line's beginning; further on, the name of a key could look like it."""
_USUAL_BEGIN = b'{"format_version":0,'
_ENTRY = re.compile(
    rb'\{"format_version":0,"timestamp":([1-9][0-9]{0,18}),"session_handle":(0|[1-9][0-9]{0,19}),'
    rb'"operation":("[A-Za-z]+"|\{"[A-Za-z]+":\{[a-z_":0-9,]*\}\}),"key_id":(?:null|"[ !#-\[\]-~]*"),'
    rb'"result":("Success"|\{"Failure":[0-9]{1,20}\}),"previous_hash":\['
)
"""The usual line, read in a fifth of the time that JSON takes."""
_NANOSECONDS = 1e9
_HASH_BYTES = 32


def _link(digest: bytes) -> bytes:
    """How a line ends whose predecessor has this hash."""
    return _LINK + b",".join([_DECIMAL[octet] for octet in digest]) + _LINK_END


def _split(line: bytes) -> tuple[bytes, bytes] | None:
    """What is hashed of a line, and the hash it carries; None where it has none at its end."""
    at = line.rfind(_LINK)
    if at < 0 or not line.endswith(_LINK_END) or not line.startswith(b"{"):
        return None
    try:
        carried = bytes(map(int, line[at + len(_LINK) : -len(_LINK_END)].split(b",")))
    except ValueError:  # no number, or one above 255
        return None
    return (line[:at] + b"}", carried) if len(carried) == _HASH_BYTES else None


class CratonChain(Chain):
    """The chain as the software writes it."""

    format = "craton"

    def __init__(self, state: ChainState | None = None, *, follows: str = "") -> None:
        super().__init__(state, follows=follows)
        self._newest = bytes.fromhex(self.state.newest)
        self._expected = _link(self._newest) if self._newest else b""

    def feed_all(self, lines: Sequence[bytes]) -> None:
        """Verify many lines; the usual one takes a fifth of the time of `feed`."""
        newest, expected, fed = self._newest, self._expected, 0
        for line in lines:
            if not (expected and line.startswith(_USUAL_BEGIN) and line.endswith(expected)):
                self._take(newest, expected, fed)
                self.feed(line)
                newest, expected, fed = self._newest, self._expected, 0
                continue
            newest = sha256(newest + line[: -len(expected)] + b"}").digest()
            expected = b"%b%b]}" % (_LINK, b",".join([_DECIMAL[octet] for octet in newest]))
            fed += 1
        self._take(newest, expected, fed)

    def _take(self, newest: bytes, expected: bytes, fed: int) -> None:
        self._newest, self._expected = newest, expected
        self.state.newest = newest.hex()
        self.state.lines += fed
        self.state.entries += fed

    def feed(self, line: bytes) -> bool:
        """Verify the next line: whether it is an entry."""
        state = self.state
        state.lines += 1
        line = line.removesuffix(b"\r")
        found = _split(line)
        if found is None:
            return not line or self._refuse(line)
        hashed, carried = found
        if not self._expected:
            state.anchor = state.anchor or carried.hex()
        elif carried != self._newest:
            self._break(self._newest.hex(), carried.hex())
        state.entries += 1
        if _KEYED.search(hashed, 0, _VERSION_WITHIN):
            # What follows an entry whose hash needs a key is not linked to anything known.
            state.unverifiable_line = state.unverifiable_line or state.lines
            self._newest, self._expected, state.newest = b"", b"", ""
            return True
        self._newest = sha256(carried + hashed).digest()
        self._expected = _link(self._newest)
        state.newest = self._newest.hex()
        return True

    def decode(self, line: bytes) -> Entry:
        """What the line records."""
        usual = _ENTRY.match(line)
        if usual is not None:
            timestamp, session, operation, result = usual.groups()
            name, outcome, mechanism = _names(operation, result)
            return Entry(int(timestamp) / _NANOSECONDS, name, outcome, session.decode(), mechanism)
        at = line.rfind(_LINK)
        # Without its 32 numbers a line is half as long, and read twice as fast.
        return _entry(json.loads(line[:at] + b"}" if at > 0 else line), _NANOSECONDS)


@lru_cache(maxsize=1024)
def _names(operation: bytes, result: bytes) -> tuple[str, str, str]:
    """Operation, result and mechanism of an entry. There are few, and they come again and again. Raises ValueError."""
    entry = _entry({"operation": json.loads(operation), "result": json.loads(result)}, _NANOSECONDS)
    return entry.operation, entry.result, entry.mechanism


def _compact(entry: dict[str, object]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _spaced(entry: dict[str, object]) -> bytes:
    return json.dumps(entry, sort_keys=True).encode()


_SCALAR = rb'(?:null|true|false|-?[0-9]+|"[ !#-\[\]-~]*")'
_USUAL = re.compile(
    rb'\{\s*"timestamp"\s*:\s*(?P<timestamp>-?[0-9]+)\s*,\s*"session_handle"\s*:\s*(?P<session>-?[0-9]+)\s*,'
    rb'\s*"operation"\s*:\s*(?P<operation>' + _SCALAR + rb')\s*,\s*"key_id"\s*:\s*(?P<key>' + _SCALAR + rb")\s*,"
    rb'\s*"result"\s*:\s*\{\s*(?P<name>"[A-Za-z]+")\s*:\s*(?P<code>' + _SCALAR + rb")\s*\}\s*,"
    rb'\s*"previous_hash"\s*:\s*"(?P<link>[0-9a-f]{64})"\s*\}'
)
"""A line with its keys as documented, and nothing in it that JSON could spell in two ways."""
_SORTED = {
    "compact": b'{"key_id":%b,"operation":%b,"result":{%b:%b},"session_handle":%b,"timestamp":%b}',
    "spaced": b'{"key_id": %b, "operation": %b, "result": {%b: %b}, "session_handle": %b, "timestamp": %b}',
}
_HEX_LINK = re.compile(rb'"previous_hash"\s*:\s*"([0-9a-fA-F]{64})"(?=\s*[,}])')
_FORMS: dict[str, Callable[[dict[str, object]], bytes]] = {"compact": _compact, "spaced": _spaced}


class CratonDocumentedChain(Chain):
    """The chain as it is documented; how the sorted keys are spelt is left open there, and found from the lines."""

    format = "craton-documented"

    def feed_all(self, lines: Sequence[bytes]) -> None:
        """Verify many lines; the usual one takes a quarter of the time of `feed`."""
        state = self.state
        for line in lines:
            usual, spelling = _USUAL.fullmatch(line), _SORTED.get(state.form)
            if usual is None or spelling is None or usual["link"].decode() != state.newest:
                self.feed(line)
                continue
            state.lines += 1
            state.entries += 1
            timestamp, session, operation, key, name, code, _ = usual.groups()
            state.newest = sha256(spelling % (key, operation, name, code, session, timestamp)).hexdigest()

    def feed(self, line: bytes) -> bool:
        """Verify the next line: whether it is an entry."""
        state = self.state
        state.lines += 1
        line = line.removesuffix(b"\r")
        link = _HEX_LINK.search(line)
        if link is None or not line.startswith(b"{") or not line.endswith(b"}"):
            return not line or self._refuse(line)
        carried = link[1].decode().lower()
        state.entries += 1
        if not state.newest:
            state.anchor = carried
        elif state.respelt and carried in {state.newest, state.respelt}:
            state.form = "compact" if carried == state.newest else "spaced"
        elif carried != state.newest:
            self._break(state.newest, carried)
        state.newest, state.respelt = _digests(line, state.form)
        return True

    def decode(self, line: bytes) -> Entry:
        """What the line records."""
        return _entry(json.loads(line), 1.0)


def _digests(line: bytes, form: str) -> tuple[str, str]:
    """The hash of a line's entry in a form; where that is not known yet, of both, the compact one first.

    Of a line that is no JSON object it is the hash of its octets.
    """
    try:
        entry = json.loads(line)
        entry.pop("previous_hash", None)
    except (ValueError, RecursionError):
        return sha256(line).hexdigest(), ""
    if form:
        return sha256(_FORMS[form](entry)).hexdigest(), ""
    return sha256(_compact(entry)).hexdigest(), sha256(_spaced(entry)).hexdigest()


def _entry(raw: object, per_second: float) -> Entry:
    """An entry of either form. Raises ValueError."""
    if not isinstance(raw, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - as every line that is no entry
    entry = cast("dict[str, object]", raw)
    operation, parameters = _tagged(entry.get("operation"))
    result, failure = _tagged(entry.get("result"))
    mechanism = parameters.get("mechanism") if isinstance(parameters, dict) else entry.get("mechanism")
    return Entry(
        time=seconds_of(entry.get("timestamp"), per_second),
        operation=operation,
        result=SUCCESS if result == "Success" else _failure(failure),
        session=str(entry.get("session_handle", "")),
        mechanism=mechanism_name(mechanism) if isinstance(mechanism, int) else str(mechanism or ""),
    )


def _tagged(value: object) -> tuple[str, object]:
    """The name and the content of a Rust enumeration: `"Logout"` or `{"Login": {"user_type": 1}}`."""
    if isinstance(value, str):
        return value, None
    if isinstance(value, dict) and len(value) == 1:
        ((name, content),) = value.items()
        return name, content
    raise ValueError("no operation or result")


def _failure(code: object) -> str:
    """The name of a return value, which is a number as written and its symbol as documented."""
    if isinstance(code, int) and not isinstance(code, bool):
        return symbol(code)
    return code if isinstance(code, str) and code else "FAILURE"
