"""The configuration as JSON Schema (draft 2020-12), for editors: made from the settings classes and the documentation.

What a key may hold is taken from the types that read it; for those that a function reads (durations, sizes, addresses)
`_WRITTEN` says how they are written. Conditions between keys stand in `_BETWEEN_KEYS` where a schema can express them.
Where the agent is lenient, the schema is not: a number in quotes is a text to it. `check-config` has the last word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, is_dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import to_jsonable_python

from hsm_agent.config.tree import Config
from hsm_agent.metrics import METRICS
from hsm_agent.settings.types import ByKind
from hsm_agent.text import LONGEST_GLOB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pydantic_core import core_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TITLE = "Configuration of hsm-agent"
_NUMBER = r"[0-9]+(\.[0-9]+)?"
_UNITS = "(ms|s|m|h|d)"
_OID = r"^\.?[0-9]+(\.[0-9]+)*$"
_POSITIVE = rf"^(?!0+(\.0+)?{_UNITS}$){_NUMBER}{_UNITS}$"


@dataclass(frozen=True, slots=True)
class Written:
    """How a value is written that a function reads, and how a default of the code is shown; None shows none."""

    schema: JsonSchemaValue
    show: Callable[[Any], object] | None = None


def _shown_duration(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds * 1000:g}ms" if seconds % 1 else f"{seconds:g}s"


def _shown_size(octets: int) -> object:
    for unit, length in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if octets >= length and octets % length == 0:
            return f"{octets // length}{unit}"
    return octets


def _text(pattern: str) -> JsonSchemaValue:
    return {"type": "string", "pattern": pattern}


_DURATION = {"anyOf": [_text(f"^{_NUMBER}{_UNITS}$"), {"const": 0}]}
_SIZE = {"anyOf": [_text("^[0-9]+(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$"), {"type": "integer", "minimum": 0}]}
_METRIC = {"anyOf": [{"enum": [*METRICS]}, _text("^custom_")]}
_LISTEN = _text(r"^(udp:[0-9.]+|udp6:\[[^\[\]\s]+\]):[0-9]{1,5}$")
_TEXTS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}

_WRITTEN: Mapping[str, Written] = {
    "text.duration": Written(_DURATION, _shown_duration),
    "text.interval": Written(_text(_POSITIVE), _shown_duration),
    "text.deadline": Written(_text(_POSITIVE), _shown_duration),
    "text.size": Written(_SIZE, _shown_size),
    "settings.types._resolve": Written({"type": "string", "minLength": 1}, str),
    "config.rules._level": Written({"anyOf": [{"type": "number"}, {"const": "own"}, *_DURATION["anyOf"]]}),
    "settings.snmp._engine_id": Written(_text("^(0x)?([0-9A-Fa-f]{2}){5,32}$")),
    "settings.snmp._network": Written({"type": "string", "minLength": 1}, str),
    "serve.settings._base": Written(_text(_OID), lambda oid: ".".join(map(str, oid))),
    "collect.pkcs11.source._time_of_day": Written(_text("^[0-9]{1,2}:[0-9]{1,2}$"), lambda time: f"{time:%H:%M}"),
    "collect.declared._date_text": Written({"type": "string", "minLength": 8}),
    "collect.snmp.profile._oid": Written({"anyOf": [_text(_OID), {"type": ["integer", "number"]}]}),
    "collect.snmp.profile._texts": Written(_TEXTS),
    "collect.snmp.profile._all_texts": Written(_TEXTS),
    "collect.traps.trap_maps._oid": Written(_text(_OID)),
}
"""By the function that reads it before its type does, without the package's name."""

_NARROWED: Mapping[str, JsonSchemaValue] = {
    "text.checked_glob": {"maxLength": LONGEST_GLOB},
    "settings.snmp._listen": _LISTEN,
    "collect.snmp.profile._metric": _METRIC,
    "config.tree._place": {"pattern": "^[^/]+/.+$"},
    "settings.snmp._user_name": {"minLength": 1},
}
"""By the function that looks at a value once its type has: what a schema can say of it."""


def _exactly_one(*keys: str) -> JsonSchemaValue:
    return {"oneOf": [{"required": [key], "properties": {key: {"not": {"type": "null"}}}} for key in keys]}


_A_LEVEL = {
    "anyOf": [{"required": [key], "properties": {key: {"not": {"type": "null"}}}} for key in ("warning", "critical")]
}
_CONDITIONS = ("above", "below", "grows", "rate_changes", "reaches", "changes", "not_falling", "falls")
_BY_VERSION = {
    "if": {"properties": {"version": {"const": "v3"}}},
    "then": {"required": ["user"], "properties": {"user": {"type": "object"}, "community": {"type": "null"}}},
    "else": {"required": ["community"], "properties": {"community": {"type": "object"}, "user": {"type": "null"}}},
}
_ONE_CONDITION = {"not": {"anyOf": [{"required": [*pair]} for pair in combinations(_CONDITIONS, 2)]}}
_BETWEEN_KEYS: Mapping[str, JsonSchemaValue] = {
    **dict.fromkeys(("Above", "Below", "Grows", "Sooner", "Reaches", "NotFalling"), _A_LEVEL),
    **dict.fromkeys(("SnmpSettings", "SnmpSinkSettings"), _BY_VERSION),
    "RuleSettings": _ONE_CONDITION,
    "Secret": {"minProperties": 1, "maxProperties": 1},
    "WatchedCertificate": _exactly_one("endpoint", "file"),
    "DeclaredDate": _exactly_one("date", "file"),
}
"""By settings class: what must hold between its keys."""


class _Generator(GenerateJsonSchema):
    """pydantic's, with what only this package knows of its types."""

    ignored_warning_kinds = {"non-serializable-default", "skipped-choice"}  # noqa: RUF012 - as pydantic declares it

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the key's name says as much
        return False

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        known = _WRITTEN.get(_name(schema))
        inner = self.generate_inner(schema["schema"])
        if known is not None:
            return dict(known.schema)
        if _name(schema) == "settings.types.one_or_more":
            return {"anyOf": [inner["items"], inner]}
        return inner

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        made = self.generate_inner(schema["schema"])
        if _name(schema) == "config.rules._known_metrics":
            return {"anyOf": [_METRIC, {"type": "array", "items": _METRIC, "minItems": 1}]}
        # Bounds of what is written as text are words of pydantic's, none of JSON Schema's.
        made = {key: value for key, value in made.items() if key not in {"ge", "gt", "le", "lt"}}
        return {**made, **_NARROWED.get(_name(schema), {})}

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        """A kind of source or sink: its settings class."""
        reader = schema["function"]["function"]
        if not isinstance(reader, partial):
            return {}
        (model,) = ByKind({"": reader.args[0]}).classes()
        model.model_rebuild()
        made = self.generate_inner(model.__pydantic_core_schema__)
        if schemes := getattr(model, "schemes", ()):
            beginning = "|".join(map(re.escape, schemes))
            definition = self.definitions[self.json_to_defs_refs[made["$ref"]]]
            definition["properties"]["to"] = _text(f"^({beginning}):")
        return made

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """One schema by `kind`: a mistake is then told of the kind that was meant, and not of every one there is."""
        tag = str(schema["discriminator"])
        choices = {str(kind): self.generate_inner(choice) for kind, choice in schema["choices"].items()}
        return {
            "type": "object",
            "required": [tag],
            "properties": {tag: {"enum": [*choices]}},
            "allOf": [
                {"if": {"required": [tag], "properties": {tag: {"const": kind}}}, "then": then}
                for kind, then in choices.items()
            ],
        }

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        made.pop("description", None)  # docstrings, and names of classes, are for readers of the code
        made.pop("title", None)
        made.update(_BETWEEN_KEYS.get(schema["cls"].__name__, {}))
        if schema["cls"].__name__ == "Secret":
            made["properties"] = {key: {"type": "string", "minLength": 1} for key in made["properties"]}
        return made

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = self.generate_inner(schema["schema"])
        default = self.get_default_value(schema)
        is_group = isinstance(default, BaseModel) or (is_dataclass(default) and not isinstance(default, type))
        if "default" not in schema or is_group:
            return made
        if made.get("type") == "object" and isinstance(default, tuple):
            default = dict(default)  # labels are pairs in the code
        shown = _shown(default, _reader_of(schema["schema"]))
        return made if shown is None and default is not None else {**made, "default": shown}


def _name(schema: Any) -> str:
    function = schema["function"]["function"]
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
    return name.removeprefix("hsm_agent.")


def _reader_of(schema: Any) -> str | None:
    """The name of the function that reads what a value, or each of a list, is written as."""
    while schema is not None:
        if schema["type"] == "function-before" and _name(schema) in _WRITTEN:
            return _name(schema)
        schema = schema.get("schema") or schema.get("items_schema", [None])[0]
    return None


def _shown(default: object, reader: str | None) -> object:
    """A default as it would be written; None for one that cannot be shown."""
    if default is None or reader is None:
        return to_jsonable_python(default, fallback=lambda _: None)
    show = _WRITTEN[reader].show
    if show is None:
        return None
    if isinstance(default, tuple) and reader != "serve.settings._base":
        return [show(each) for each in default]
    return show(default)


def schema(documentation: str) -> dict[str, Any]:
    """The schema. `documentation` is docs/configuration.md: what a key means is told by the editor, too."""
    Config.model_rebuild()
    made: dict[str, Any] = Config.model_json_schema(schema_generator=_Generator)
    for key in ("agent", "hsms", "serve"):
        made["properties"][key] = {"anyOf": [made["properties"][key], {"type": "null"}]}
    for key in ("sources", "rules", "deliver"):
        made["properties"][key]["type"] = ["array", "null"]
    for place, text in _meanings(documentation):
        for found in _at(made, made, place):
            found.setdefault("description", text)
    return {"$schema": DIALECT, "title": TITLE, **{key: value for key, value in made.items() if key != "title"}}


_HEADING = re.compile(r"^#+ +(?P<heading>.+)$|^\| `(?P<key>[^`]+)` \|(?P<cells>.*)\|$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def _meanings(documentation: str) -> Iterator[tuple[list[str], str]]:
    """Each key by its steps, and what its row says; a kind is a step `=kind`."""
    prefix: list[str] | None = None
    for found in _HEADING.finditer(documentation):
        if heading := found["heading"]:
            section, _, kind = heading.partition(": ")
            prefix = [] if heading == "Top level" else [*section.split("."), *([f"={kind}"] if kind else [])]
        elif prefix is not None and found["cells"].count("|") >= 2:  # noqa: PLR2004 - type, default, meaning
            meaning = _LINK.sub(r"\1", found["cells"].split("|", 2)[2]).replace("`", "").strip()
            if meaning:
                yield [*prefix, *found["key"].split(".")], meaning


def _at(root: dict[str, Any], here: dict[str, Any], place: list[str]) -> Iterator[dict[str, Any]]:
    """The schemas of a key, through references, lists and alternatives."""
    if "$ref" in here and place:
        here = root["$defs"][here["$ref"].rpartition("/")[2]]
    if not place:
        yield here
        return
    by_kind = [each["then"] for each in here.get("allOf", ()) if "then" in each]
    for each in (*here.get("anyOf", ()), *here.get("oneOf", ()), *by_kind):
        yield from _at(root, each, place)
    if isinstance(here.get("items"), dict):
        yield from _at(root, here["items"], place)
    step, *rest = place
    if step.startswith("="):
        if here.get("properties", {}).get("kind", {}).get("const") == step[1:]:
            yield from _at(root, here, rest)
    elif step in here.get("properties", {}):
        yield from _at(root, here["properties"][step], rest)
