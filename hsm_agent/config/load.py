"""Reading a configuration: file, environment, validation. A bad one is refused whole, with a line for each error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hsm_agent.config.document import read
from hsm_agent.config.tree import Config
from hsm_agent.settings.errors import ConfigError, explain
from hsm_agent.settings.trust import UntrustedError, refuse_untrusted, trusted_uids

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
    """Read, override, validate. Raises ConfigError with a line for each thing that is wrong.

    Who may have written the file, the modules and the commands is not configured in it: see `settings.trust`.
    """
    try:
        uids = trusted_uids(environment)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    _refuse(path, "the configuration file", uids)
    document = read(path, environment)
    try:
        config = Config.model_validate(document.tree, context={"base": document.base})
    except ValidationError as error:
        raise ConfigError(document.locate(explain(error, Config))) from error
    for index, source in enumerate(config.sources):
        for key, file in source.trusted_files().items():
            (place,) = document.locate([f"sources.{index}.{key}:"])
            _refuse(file, place.removesuffix(":"), uids)
    return Loaded(config=config, path=path, digest=document.digest)


def _refuse(path: Path, what: str, uids: frozenset[int]) -> None:
    """Raise ConfigError where other users could change the file or, while there is none, create it."""
    try:
        refuse_untrusted(path, uids)
    except UntrustedError as error:
        raise ConfigError([f"{what}: {error}"]) from error
    except FileNotFoundError:
        return  # its folders were checked; whatever reads the file reports that it is missing
    except OSError as error:
        raise ConfigError([f"{what}: {path}: {error.strerror}"]) from error
