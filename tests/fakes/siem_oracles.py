"""Readers of CEF and LEEF, written from their descriptions character by character; they share nothing with our code.

CEF: "Implementing ArcSight CEF": in the header `\\|` and `\\\\`, in the extension `\\=`, `\\\\`, `\\n` and `\\r`. LEEF 2.0:
IBM's "LEEF event components": the sixth field of the header is the delimiter of the attributes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CEF_KEY = re.compile(r"(?:^| )([A-Za-z0-9_.\[\]]+)=")


@dataclass(frozen=True, slots=True)
class SiemRecord:
    """The fields of the header without the format's version, and the extension."""

    header: list[str]
    fields: dict[str, str]


def read_cef(body: str) -> SiemRecord:
    assert body.startswith("CEF:0|"), body
    header: list[str] = []
    rest, field, at = body[6:], "", 0
    while len(header) < 6:
        character = rest[at]
        if character == "\\":
            assert rest[at + 1] in "\\|", rest[at : at + 2]
            field += rest[at + 1]
            at += 2
            continue
        at += 1
        if character == "|":
            header.append(field)
            field = ""
        else:
            field += character
    return SiemRecord(header, _cef_extension(rest[at:]))


def _cef_extension(text: str) -> dict[str, str]:
    """A key begins behind a blank and ends at the first equals sign that is not escaped."""
    starts: list[re.Match[str]] = []
    for found in _CEF_KEY.finditer(text):
        if not starts or _unescaped(text[: found.end() - 1]):
            starts.append(found)
    fields: dict[str, str] = {}
    for found, following in zip(starts, [*starts[1:], None], strict=True):
        raw = text[found.end() : following.start() if following is not None else len(text)]
        assert found[1] not in fields, found[1]
        assert re.search(r"(?<!\\)(?:\\\\)*=", raw) is None, raw
        fields[found[1]] = re.sub(r"\\(.)", lambda each: {"n": "\n", "r": "\r"}.get(each[1], each[1]), raw)
    return fields


def _unescaped(before: str) -> bool:
    return (len(before) - len(before.rstrip("\\"))) % 2 == 0


def read_leef(body: str) -> SiemRecord:
    version, vendor, product, release, event_id, delimiter, rest = body.split("|", 6)
    assert version == "LEEF:2.0"
    if re.fullmatch(r"0?x[0-9A-Fa-f]{2,4}", delimiter):
        delimiter = chr(int(delimiter.removeprefix("0")[1:], 16))
    assert len(delimiter) == 1
    fields: dict[str, str] = {}
    for pair in rest.split(delimiter):
        key, equals, value = pair.partition("=")
        assert equals, pair
        assert re.fullmatch(r"[A-Za-z0-9]+", key), key
        assert key not in fields, key
        fields[key] = value
    return SiemRecord([vendor, product, release, event_id], fields)
