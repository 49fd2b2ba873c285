"""The environment of a child process that loads a vendor's module, as it stands in a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo


def _whole_path(value: str, info: ValidationInfo) -> str:
    """A value that begins with `./` is a path, relative like the file's others; the child's own folder is `/`."""
    base = (info.context or {}).get("base")
    return str(Path(base) / value) if base is not None and value.startswith("./") else value


Environment = dict[str, Annotated[str, AfterValidator(_whole_path)]]
"""Variables and their values; those that begin with `./` are made whole paths."""
