"""What every settings class is made of: strictness, durations, sizes, paths and secrets by reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from hsm_agent.settings.quantities import deadline, duration, interval, size
from hsm_agent.text import checked_glob


def _resolve(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str | Path) and value and info.context and "base" in info.context:
        try:
            return Path(info.context["base"]) / Path(value).expanduser()
        except RuntimeError as error:  # what pathlib raises for a home nobody has
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
