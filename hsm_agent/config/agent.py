"""The section `agent` of a configuration. Verbs that only talk to a running agent read this section alone."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from hsm_agent.config.document import read
from hsm_agent.settings.errors import ConfigError, explain
from hsm_agent.settings.types import LocalPath, Size, Strict

if TYPE_CHECKING:
    from collections.abc import Mapping


class LogSettings(Strict):
    """How the agent logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class SpoolSettings(Strict):
    """Bounds of the spool."""

    entries: int = Field(default=100_000, ge=100)
    size: Size = Field(default=64 * 1024 * 1024, ge=1024 * 1024)


def default_state_directory() -> Path:
    return Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or "var")


class AgentSettings(Strict):
    """The agent itself."""

    name: str = Field(default_factory=socket.gethostname, min_length=1, max_length=255)
    labels: dict[str, str] = Field(default_factory=dict)
    state_directory: LocalPath = Field(default_factory=default_state_directory, validate_default=True)
    control_socket: LocalPath | None = None
    log: LogSettings = LogSettings.model_construct()
    enterprise_id: int = Field(default=32473, ge=0, le=2**32 - 1)
    spool: SpoolSettings = SpoolSettings.model_construct()

    @property
    def control_path(self) -> Path:
        """Where the control socket is: as configured, else the runtime directory, else the state directory."""
        if self.control_socket is not None:
            return self.control_socket
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        return Path(runtime or self.state_directory) / "control"


class AgentAlone(Strict):
    """The configuration with only `agent` validated.

    The other sections may refer to secrets that a user of such a verb may not read, and need not.
    """

    agent: AgentSettings = Field(default_factory=AgentSettings)
    sources: Any = None
    hsms: Any = None
    rules: Any = None
    default_rules: Any = None
    serve: Any = None
    deliver: Any = None
    publish: Any = None
    group: Any = None


def load_agent(path: Path, environment: Mapping[str, str]) -> AgentSettings:
    """The section `agent` alone, validated. Raises ConfigError."""
    document = read(path, environment)
    try:
        return AgentAlone.model_validate(document.tree, context={"base": document.base}).agent
    except ValidationError as error:
        raise ConfigError(document.locate(explain(error, AgentAlone))) from error
