"""Reading a configuration: file, environment, validation. A bad one is refused whole, with a line for each error."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hsm_agent.config.document import read
from hsm_agent.config.errors import ConfigError, explain
from hsm_agent.config.tree import Config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration, where it came from, and the SHA-256 of what was read (file and overrides)."""

    config: Config
    path: Path
    digest: str


def load(path: Path, environment: Mapping[str, str]) -> Loaded:
    """Read, override, validate. Raises ConfigError with a line for each thing that is wrong."""
    document = read(path, environment)
    refuse_writable(path, "the configuration file")
    try:
        config = Config.model_validate(document.tree, context={"base": document.base})
    except ValidationError as error:
        raise ConfigError([f"{path}: {line}" for line in explain(error, Config)]) from error
    for index, source in enumerate(config.sources):
        for key, file in source.trusted_files().items():
            if file.exists():
                refuse_writable(file, f"{path}: sources.{index}.{key}")
    return Loaded(config=config, path=path, digest=document.digest)


def refuse_writable(path: Path, what: str) -> None:
    """Raise ConfigError where a file the agent trusts could be changed by others, or by the agent's own user."""
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError([f"{what}: {path}: {error.strerror}"]) from error
    if found.st_mode & stat.S_IWOTH:
        raise ConfigError([f"{what}: {path} can be written by others; run: chmod o-w {path}"])
    if os.geteuid() != 0 and os.access(path, os.W_OK):
        raise ConfigError([f"{what}: {path} can be written by the user the agent runs as; run: chmod a-w {path}"])
