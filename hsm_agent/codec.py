"""JSON of frozen dataclasses, for rows that are kept on disk. Pure.

A member of the JSON object is a field of the dataclass: a text, flag, number, enumeration, labels, or None,
or a nested dataclass. A field that equals its default is left out. `stored` makes the metadata of a field that differs
from that.

Whatever cannot be read raises ValueError: a damaged row is reported as such, and never read in half.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from functools import partial
from math import isfinite, isnan
from operator import attrgetter
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from hsm_agent.model import Labels

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

T = TypeVar("T")

_INTEGER_LIMIT = 2**63
_SEPARATORS = (",", ":")


def stored(
    name: str = "", *, check: Callable[[object], object] | None = None, always: bool = False, inline: bool = False
) -> dict[str, object]:
    """Metadata of a field: how it is stored.

    `name` is the member's name where it is not the field's. `check` reads the JSON value instead of what the type asks
    for. `always` writes the member even if it equals the default, for older versions that require it. `inline` puts the
    members of a nested dataclass among those of the outer one.
    """
    return {"name": name, "check": check, "always": always, "inline": inline}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    field: str
    name: str
    default: object
    """MISSING for a field that must be given, or that has a factory."""
    is_required: bool
    missing: object
    """What a missing member stands for, MISSING where the default applies or where there must be one."""
    always: bool
    inline: type[Any] | None
    to_json: Callable[[Any], object] | None
    """None where the value itself is JSON."""
    from_json: Callable[[object], object]


def encode(value: object) -> dict[str, object]:
    """The JSON object of a dataclass instance."""
    members: dict[str, object] = {}
    for member in _members(type(value)):
        content = getattr(value, member.field)
        if member.inline is not None:
            members |= encode(content)
        # The type counts as well: 0 and 0.0 equal False.
        elif member.always or content != member.default or type(content) is not type(member.default):
            members[member.name] = content if member.to_json is None or content is None else member.to_json(content)
    return members


def decode(kind: type[T], value: object, *, ignored: Collection[str] | None = ()) -> T:
    """The dataclass instance of a JSON object.

    Unknown members make it unreadable unless they are among `ignored`; None ignores all of them.
    """
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the stored data is wrong, not the argument
    if ignored is not None and not value.keys() <= {*_names(kind), *ignored}:
        raise ValueError(f"unknown members: {', '.join(sorted(value.keys() - _names(kind)))}")
    found: dict[str, object] = {}
    for member in _members(kind):
        if member.inline is not None:
            found[member.field] = decode(member.inline, value, ignored=None)
        elif member.name in value:
            found[member.field] = member.from_json(value[member.name])
        elif member.missing is not MISSING:
            found[member.field] = member.missing
        elif member.is_required:  # else the constructor sets the default
            raise ValueError(f"{member.name} is missing")
    return kind(**found)


def to_bytes(value: object) -> bytes:
    """The dataclass instance as ASCII JSON, in which even a lone surrogate survives."""
    return json.dumps(encode(value), separators=_SEPARATORS).encode("ascii")


def from_bytes(kind: type[T], payload: bytes) -> T:
    """The instance of `to_bytes`; members of a newer version are ignored."""
    return decode(kind, parse(payload), ignored=None)


def dump(value: object) -> str:
    """Compact JSON; in ASCII only with a lone surrogate, which no file takes: the keys of rows must stay the same."""
    text = json.dumps(value, ensure_ascii=False, separators=_SEPARATORS)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=_SEPARATORS)
    return text


def parse(content: str | bytes) -> Any:
    """The value of a JSON text."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _names(kind: type[Any]) -> set[str]:
    """Names of all members of the object, those of inline dataclasses included."""
    names = set()
    for member in _members(kind):
        names |= {member.name} if member.inline is None else _names(member.inline)
    return names


_known: dict[type[Any], tuple[_Member, ...]] = {}


def _members(kind: type[Any]) -> tuple[_Member, ...]:
    """The members of a dataclass, read from its fields once: many rows of each kind are written."""
    found = _known.get(kind)
    if found is not None:
        return found
    hints = get_type_hints(kind)
    made = []
    for field in fields(kind):
        hint, metadata = hints[field.name], field.metadata
        to_json, from_json = _converters(hint)
        made.append(
            _Member(
                field=field.name,
                name=metadata.get("name") or field.name,
                default=field.default,
                is_required=field.default is MISSING and field.default_factory is MISSING,
                missing=metadata.get("missing", MISSING),
                always=metadata.get("always", False),
                inline=hint if metadata.get("inline") else None,
                to_json=to_json,
                from_json=metadata.get("check") or from_json,
            )
        )
    _known[kind] = tuple(made)
    return _known[kind]


def _converters(hint: Any) -> tuple[Callable[[Any], object] | None, Callable[[object], object]]:
    """To JSON and back, for a type."""
    if isinstance(hint, UnionType):
        (inner,) = (each for each in get_args(hint) if each is not type(None))
        to_json, from_json = _converters(inner)
        return to_json, partial(optional, from_json)
    if get_origin(hint) is dict:
        to_json, from_json = _converters(get_args(hint)[1])
        return None if to_json is None else partial(_mapped, to_json), partial(mapping, from_json)
    if get_origin(hint) is list:
        return None, partial(listed, _converters(get_args(hint)[0])[1])
    if hint in _CHECKS:
        return None, _CHECKS[hint]
    if issubclass(hint, Enum):
        return attrgetter("value"), hint
    return encode, partial(decode, hint)


def _mapped(to_json: Callable[[Any], object], value: dict[str, Any]) -> dict[str, object]:
    return {key: to_json(each) for key, each in value.items()}


def mapping(from_json: Callable[[object], object], value: object) -> dict[str, object]:
    """An object with members of one type."""
    if not isinstance(value, dict):
        raise ValueError(f"not an object: {value!r:.40}")  # noqa: TRY004 - the stored data is wrong, not the argument
    return {str(key): from_json(each) for key, each in value.items()}


def listed(from_json: Callable[[object], object], value: object) -> list[object]:
    """An array with elements of one type."""
    if not isinstance(value, list):
        raise ValueError(f"not an array: {value!r:.40}")  # noqa: TRY004 - as above
    return [from_json(each) for each in value]


def text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r:.40}")  # noqa: TRY004 - the stored data is wrong, not the argument
    return value


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"neither true nor false: {value!r:.40}")  # noqa: TRY004 - as above
    return value


def number(value: object) -> float | int:
    """A number as readings have them, infinity included."""
    if isinstance(value, float) and not isnan(value):
        return value
    return whole(value)


def whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _INTEGER_LIMIT:
        raise ValueError(f"not a number: {value!r:.40}")
    return value


def finite(value: object) -> float | int:
    """A number that is not infinite: a time, or a duration."""
    if not isinstance(value, float):
        return whole(value)
    if not isfinite(value):
        raise ValueError(f"not finite: {value!r}")
    return value


def positive(value: object) -> float | int:
    """A finite number above 0, which can be divided by."""
    found = finite(value)
    if found <= 0:
        raise ValueError(f"not above 0: {value!r}")
    return found


def labels(value: object) -> Labels:
    """Pairs of texts."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"no list of labels: {value!r:.40}")  # noqa: TRY004 - as above
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):  # noqa: PLR2004 - name and value
        raise ValueError(f"not pairs: {value!r:.40}")
    return tuple((text(name), text(content)) for name, content in value)


def optional(check: Callable[[Any], T], value: object) -> T | None:
    return None if value is None else check(value)


_CHECKS: dict[Any, Callable[[object], object]] = {
    str: text,
    bool: flag,
    int: whole,
    float: finite,
    Labels: labels,
}
