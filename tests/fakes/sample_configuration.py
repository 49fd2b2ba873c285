"""conf/agent.yaml with its commented options switched on, and every option that the settings classes have."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from hsm_agent.config.tree import Config
from hsm_agent.settings.errors import StandsForClasses
from hsm_agent.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "conf" / "agent.yaml"

# An option that is commented out: indented, then `# key: value` or `# - …`; prose has no colon after its first word.
_SWITCHED_OFF = re.compile(r"^( +)# ( *(?:- )?(?:\{?\w+: .*|\w+:))$")
_OF_KINDS = {"sources", "deliver"}
_EMPTY = re.compile(r"^( *)(\w+): (?:\[\]|null)(?: +#.*)?$")


@dataclass(frozen=True, slots=True)
class Option:
    """One key a configuration may have: its place with `kind` in brackets where there are several, and its field."""

    place: str
    owner: type[BaseModel]
    field: FieldInfo
    leaf: bool


def every_option() -> list[Option]:
    """All keys of the tree of settings; those of a secret stand once, under the secret itself."""
    return list(_options(Config, ""))


def _options(owner: type[BaseModel], prefix: str) -> Iterator[Option]:
    for name, field in owner.model_fields.items():
        place = f"{prefix}{field.alias or name}"
        inner = [model for model in _models(Annotated[field.annotation, *field.metadata, ""]) if model is not Secret]
        yield Option(place, owner, field, leaf=not inner)
        for model in inner:
            kind = model.model_fields.get("kind")
            tag = f"[{get_args(kind.annotation)[0]}]" if kind is not None and place in _OF_KINDS else ""
            yield from _options(model, f"{place}{tag}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    arguments = get_args(annotation)
    kinds = [model for mark in arguments if isinstance(mark, StandsForClasses) for model in mark.classes()]
    yield from kinds
    for argument in () if kinds else arguments:
        yield from _models(argument)


def switched_on(text: str) -> str:
    """The file with every commented option in force; a list or group that was empty is what its comments say."""
    lines: list[str] = []
    for line in text.splitlines():
        found = _SWITCHED_OFF.match(line)
        if found is None and line.lstrip().startswith("#"):
            continue
        empty = _EMPTY.match(lines[-1]) if found is not None else None
        if found is not None and empty is not None and len(found[1]) >= len(empty[1]):
            lines[-1] = f"{empty[1]}{empty[2]}:"
        lines.append(f"{found[1]}{found[2]}" if found is not None else line)
    return "\n".join(lines) + "\n"


def places(tree: Any) -> set[str]:
    """The places of all keys in a parsed configuration, as in `Option.place`."""
    return set(_places(tree, ""))


def _places(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, dict):
        tag = f"[{value['kind']}]" if "kind" in value and place in _OF_KINDS else ""
        for key, below in value.items():
            inner = f"{place}{tag}.{key}".removeprefix(".")
            yield inner
            yield from _places(below, inner)
    elif isinstance(value, list):
        for each in value:
            yield from _places(each, place)


def unfolded() -> dict[str, Any]:
    """The switched-on sample, parsed."""
    tree: dict[str, Any] = yaml.safe_load(switched_on(SAMPLE.read_text(encoding="utf-8")))
    return tree


def copy_to(folder: Path, secrets: Iterable[str]) -> Path:
    """The sample in a folder of its own, beside the secrets it names; its path."""
    path = folder / "conf" / "agent.yaml"
    path.parent.mkdir()
    shutil.copyfile(SAMPLE, path)
    path.chmod(0o444)
    for name in secrets:
        secret = folder / name
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.touch(mode=0o600)
        secret.write_text("a-pass-phrase-of-some-length\n", encoding="ascii")
    return path
