"""What every settings class is made of: strictness, durations, sizes, paths, and classes told apart by kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo
from pydantic_core import core_schema

from hsm_agent.text import checked_glob, deadline, duration, interval, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import GetCoreSchemaHandler


def _resolve(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str | Path) and value and info.context and "base" in info.context:
        try:
            return Path(info.context["base"]) / Path(value).expanduser()
        except RuntimeError as error:  # what pathlib raises for a user that does not exist
            raise ValueError(f"no home directory is known for {value!r}") from error
    return value


Duration = Annotated[float, BeforeValidator(duration)]
"""Seconds, written with a unit. Defaults in code are plain seconds."""
Interval = Annotated[float, BeforeValidator(interval)]
"""Seconds between two times, 10 ms at least."""
Deadline = Annotated[float, BeforeValidator(deadline)]
"""Seconds, 1 ms at least."""
Glob = Annotated[str, AfterValidator(checked_glob)]
"""A glob on names, of bounded length."""
Size = Annotated[int, BeforeValidator(size)]
"""Bytes, written plain or with a unit."""
LocalPath = Annotated[Path, BeforeValidator(_resolve)]
"""A path; a relative one is resolved against the validation context's `base`."""


def one_or_more(value: object) -> object:
    """A text alone stands for a list of that one."""
    return (value,) if isinstance(value, str) else value


def refuse_doubles(key: str, names: Sequence[str], what: str) -> None:
    """Raise ValueError, with the key of the second one, where two entries of a list have the same name."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ValueError(f"{key}.{index}.name: two {what} are called {name!r}")


class Strict(BaseModel):
    """Base of every settings class: unknown keys are errors, values are frozen."""

    # Deferred: a class that is only part of another one never needs a validator of its own: memory and time.
    # So a default that is such a class is made by model_construct, which needs none either.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


def _whole_path(value: str, info: ValidationInfo) -> str:
    """A value that begins with `./` is a path, relative like the file's others; the child's own folder is `/`."""
    base = (info.context or {}).get("base")
    return str(Path(base) / value) if base is not None and value.startswith("./") else value


Environment = dict[str, Annotated[str, AfterValidator(_whole_path)]]
"""Variables and their values; those that begin with `./` are made whole paths."""


@dataclass(frozen=True, slots=True)
class ByKind:
    """An annotation: the value is validated by the class that its `kind` stands for, as in a discriminated union.

    A class is named by a text `module:Class`: an import would load its room.
    """

    kinds: Mapping[str, str]

    def classes(self) -> tuple[type[BaseModel], ...]:
        """The settings class of every kind, imported now."""
        return tuple(map(_loaded, self.kinds.values()))

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.tagged_union_schema(
            choices={
                kind: core_schema.with_info_plain_validator_function(partial(_validated, name))
                for kind, name in self.kinds.items()
            },
            discriminator="kind",
        )


@dataclass(frozen=True, slots=True)
class ByName:
    """An annotation: the value is validated by a class named by a text `module:Class`, loaded with the first value."""

    name: str

    def classes(self) -> tuple[type[BaseModel], ...]:
        """The class, imported now."""
        return (_loaded(self.name),)

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(partial(_validated, self.name))


def _loaded(name: str) -> type[BaseModel]:
    # Not pkgutil.resolve_name: importing pkgutil takes 5 ms of every start.
    module, _, class_name = name.partition(":")
    found: type[BaseModel] = getattr(import_module(module), class_name)
    return found


def _validated(name: str, value: object, info: core_schema.ValidationInfo) -> BaseModel:
    # Its ValidationError is taken apart by pydantic: each error keeps its place, behind that of this value.
    return _loaded(name).model_validate(value, context=info.context)
