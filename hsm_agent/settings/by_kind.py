"""Settings told apart by `kind`, the class of each imported when a configuration first names that kind.

What an agent is not configured for costs it neither memory nor time at its start.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel, GetCoreSchemaHandler

    Load = Callable[[], type[BaseModel]]


@dataclass(frozen=True, slots=True)
class ByKind:
    """An annotation: the value is validated by the class that its `kind` stands for, as in a discriminated union."""

    kinds: Mapping[str, Load]

    def classes(self) -> tuple[type[BaseModel], ...]:
        """The settings class of every kind, imported now."""
        return tuple(load() for load in self.kinds.values())

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.tagged_union_schema(
            choices={
                kind: core_schema.with_info_plain_validator_function(partial(_validated, load))
                for kind, load in self.kinds.items()
            },
            discriminator="kind",
        )


def _validated(load: Load, value: object, info: core_schema.ValidationInfo) -> BaseModel:
    # Its ValidationError is taken apart by pydantic: each error keeps its place, behind that of this value.
    return load().model_validate(value, context=info.context)
