"""Errors of the configuration in the operator's words: the place of the key, what is wrong, what was meant."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Union, get_args, get_origin, runtime_checkable

from pydantic import BaseModel

from hsm_agent.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


_MAPPING = "must be a mapping of keys to values"
_WANTED = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": _MAPPING,
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "model_attributes_type": _MAPPING,
    "model_type": _MAPPING,
    "path_type": "must be a path",
    "string_type": "must be text",
    "tuple_type": "must be a list",
}
"""Wrong types in the words of the file's language, not of Python's."""
_REFERENCE = "a secret is never written here: {file: PATH}, {credential: NAME} or {env: NAME}"


@runtime_checkable
class StandsForClasses(Protocol):
    """An annotation whose value is validated by other classes than the annotated type."""

    def classes(self) -> tuple[type[BaseModel], ...]: ...


class ConfigError(Exception):
    """The configuration is refused; `lines` say why, one thing a line."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


def explain(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """A line for each error: `sources.0.modul: unknown key, did you mean 'module'?`."""
    lines = []
    details = error.errors(include_url=False, include_context=True, include_input=False)
    for detail in details:
        if detail["type"] == "too_short" and any(_is_below(other["loc"], detail["loc"]) for other in details):
            continue  # it is short only of the entries that are wrong
        place, siblings, keys = _walk(detail["loc"], root)
        message = _message(detail, siblings)
        # A validator of a whole group of keys names the one it means: `ca: no such file` of tls is tls.ca.
        joint = "." if message.partition(":")[0].partition(".")[0] in keys else ": "
        lines.append(f"{place}{joint}{message}" if place else message)
    return list(dict.fromkeys(lines))


def _is_below(place: Sequence[int | str], other: Sequence[int | str]) -> bool:
    return len(place) > len(other) and tuple(place[: len(other)]) == tuple(other)


def _message(detail: ErrorDetails, siblings: Iterable[str]) -> str:
    kind, message = detail["type"], detail["msg"]
    if kind == "extra_forbidden":
        return f"unknown key{suggestion(str(detail['loc'][-1]), siblings)}"
    if kind == "missing":
        return "required key is missing"
    if kind == "union_tag_not_found":
        return f"{_discriminator(detail)}: required key is missing"
    if kind == "union_tag_invalid":
        context = detail.get("ctx", {})
        return f"{_discriminator(detail)}: unknown {context.get('tag')!r}, known are {context.get('expected_tags')}"
    if kind == "model_type" and detail.get("ctx", {}).get("class_name") == "Secret":
        return _REFERENCE
    if kind in _WANTED:
        return _WANTED[kind]
    return message.removeprefix("Value error, ")[:1].lower() + message.removeprefix("Value error, ")[1:]


def _discriminator(detail: ErrorDetails) -> str:
    return str(detail.get("ctx", {}).get("discriminator", "'kind'")).strip("'")


def _walk(loc: Sequence[int | str], root: type[BaseModel]) -> tuple[str, list[str], list[str]]:
    """The place as the operator wrote it (without the tags of unions), the keys beside it, and the keys below it."""
    shown: list[str] = []
    candidates: list[Any] = [root]
    siblings: list[str] = []
    for step in loc:
        models = _models(candidates)
        fields = {key: field for model in models for key, field in _fields(model).items()}
        if isinstance(step, int):
            shown.append(str(step))
            candidates = [inner for each in candidates for inner in _items(each)]
        elif step in fields:
            shown.append(step)
            siblings = list(fields)
            # pydantic takes the marks of a field's outermost annotation apart from it.
            candidates = _marked(fields[step].metadata) or _unfold(fields[step].annotation)
        elif tagged := [model for model in models if _carries_tag(model, step)]:
            candidates = list(tagged)
        elif values := [inner for each in candidates for inner in _values(each)]:
            shown.append(step)
            candidates = values
        else:
            siblings = list(fields)
            if not _is_internal(step):
                shown.append(step)
    return ".".join(shown), siblings, [key for model in _models(candidates) for key in _fields(model)]


def _models(candidates: Iterable[Any]) -> list[type[BaseModel]]:
    return [each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)]


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _is_internal(step: str) -> bool:
    """Steps pydantic adds for validators and union members, which no operator wrote."""
    return any(mark in step for mark in ("[", "(")) or step in {"str", "int", "float", "bool", "list", "dict", "Secret"}


def _unfold(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        return _marked(marks) or _unfold(inner)
    if origin in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in _unfold(member)]
    return [annotation]


def _marked(marks: Iterable[Any]) -> list[Any]:
    return [found for mark in marks if isinstance(mark, StandsForClasses) for found in mark.classes()]


def _items(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (list, tuple, set, frozenset):
        return [inner for member in get_args(annotation) if member is not ... for inner in _unfold(member)]
    return []


def _values(annotation: Any) -> list[Any]:
    return _unfold(get_args(annotation)[1]) if get_origin(annotation) is dict else []


def _carries_tag(model: type[BaseModel], tag: str) -> bool:
    field = model.model_fields.get("kind")
    return field is not None and tag in get_args(field.annotation)
