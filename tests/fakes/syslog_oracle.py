"""A strict reader of RFC 5424 messages, written from its ABNF and sections 6.2 and 6.3; shares nothing with our code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

_REGISTERED = {"timeQuality", "origin", "meta", "alarm"}  # IANA: RFC 5424 section 7, RFC 5674
_HEADER = re.compile(
    rb"<(?P<pri>0|[1-9][0-9]{0,2})>(?P<version>[1-9][0-9]{0,2}) (?P<timestamp>[^ ]+)"
    rb" (?P<host>[\x21-\x7e]{1,255}) (?P<app>[\x21-\x7e]{1,48}) (?P<procid>[\x21-\x7e]{1,128})"
    rb" (?P<msgid>[\x21-\x7e]{1,32}) "
)
_TIMESTAMP = re.compile(
    r"-|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_SD_NAME = re.compile(rb"[\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32}")
_PEN = re.compile(r"[0-9]+(\.[0-9]+)*")
_BOM = b"\xef\xbb\xbf"


class InvalidMessageError(Exception):
    """The message breaks the RFC; the text says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What the message says. `elements` in order; `text` is None where there is no MSG."""

    facility: int
    severity: int
    timestamp: str
    host_name: str
    app_name: str
    process_id: str
    message_id: str
    elements: tuple[tuple[str, dict[str, str]], ...]
    text: str | None

    @property
    def data(self) -> dict[str, dict[str, str]]:
        """The elements by SD-ID."""
        return dict(self.elements)


def read(wire: bytes) -> Message:
    """The message. Raises InvalidMessageError for anything the RFC does not allow, SHOULDs about names included."""
    header = _HEADER.match(wire)
    _require(header is not None, "header")
    assert header is not None
    pri = int(header["pri"])
    _require(pri <= 191, "PRI")
    _require(header["version"] == b"1", "VERSION")
    timestamp = header["timestamp"].decode("ascii")
    _require(_TIMESTAMP.fullmatch(timestamp) is not None, f"TIMESTAMP {timestamp}")
    if timestamp != "-":
        datetime.fromisoformat(timestamp)
    elements, rest = _structured_data(wire[header.end() :])
    return Message(
        facility=pri // 8,
        severity=pri % 8,
        timestamp=timestamp,
        host_name=header["host"].decode("ascii"),
        app_name=header["app"].decode("ascii"),
        process_id=header["procid"].decode("ascii"),
        message_id=header["msgid"].decode("ascii"),
        elements=tuple(elements),
        text=_text(rest),
    )


def _structured_data(rest: bytes) -> tuple[list[tuple[str, dict[str, str]]], bytes]:
    if rest.startswith(b"-"):
        return [], rest[1:]
    elements: list[tuple[str, dict[str, str]]] = []
    while rest.startswith(b"["):
        name, rest = _name(rest[1:])
        local, at, number = name.rpartition("@")
        _require(bool(local and _PEN.fullmatch(number)) if at else name in _REGISTERED, f"SD-ID {name}")
        _require(name not in dict(elements), f"SD-ID {name} twice")
        parameters: dict[str, str] = {}
        while rest.startswith(b" "):
            parameter, rest = _name(rest[1:])
            _require(rest.startswith(b'="'), f"no value of {parameter}")
            _require(parameter not in parameters, f"PARAM-NAME {parameter} twice")
            parameters[parameter], rest = _value(rest[2:])
        _require(rest.startswith(b"]"), f"end of {name}")
        rest = rest[1:]
        elements.append((name, parameters))
    _require(bool(elements), "STRUCTURED-DATA")
    return elements, rest


def _name(rest: bytes) -> tuple[str, bytes]:
    found = _SD_NAME.match(rest)
    _require(found is not None, f"SD-NAME at {rest[:20]!r}")
    assert found is not None
    return found[0].decode("ascii"), rest[found.end() :]


def _value(rest: bytes) -> tuple[str, bytes]:
    value = bytearray()
    position = 0
    while rest[position : position + 1] != b'"':
        octet = rest[position : position + 1]
        _require(octet not in {b"", b"]"}, "an unescaped ] or the end in a PARAM-VALUE")
        if octet == b"\\" and rest[position + 1 : position + 2] in {b'"', b"\\", b"]"}:
            position += 1
            octet = rest[position : position + 1]
        value += octet
        position += 1
    return _utf8(bytes(value)), rest[position + 1 :]


def _text(rest: bytes) -> str | None:
    if not rest:
        return None
    _require(rest.startswith(b" " + _BOM), "SP and BOM before MSG")
    return _utf8(rest[1 + len(_BOM) :])


def _utf8(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidMessageError("UTF-8") from error


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise InvalidMessageError(what)
