"""What the verbs share: options, one-line errors, loading the configuration, asking the running agent."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import hsm_agent
from hsm_agent.agent.control_client import ControlError, ask
from hsm_agent.cli import BAD_CONFIGURATION, FAILED
from hsm_agent.settings.errors import ConfigError

if TYPE_CHECKING:
    from hsm_agent.config.tree import Loaded


SCHEMA_NAME = "agent.schema.json"


def schema_file(package: Path = Path(hsm_agent.__file__).parent) -> Path:
    """The schema: below `share` of a checkout, below the prefix's share/hsm-agent when installed."""
    checkout = package.parent / "share" / "schema" / SCHEMA_NAME
    return checkout if checkout.exists() else Path(sys.prefix) / "share" / "hsm-agent" / SCHEMA_NAME


def fail(text: str, code: int = FAILED) -> NoReturn:
    click.echo(f"hsm-agent: {text}", err=True)
    sys.exit(code)


def load_or_exit(path: Path | None) -> Loaded:
    """The configuration. If it is refused: a line on standard error for each reason, and exit 2."""
    from hsm_agent.config.document import find
    from hsm_agent.config.tree import load

    try:
        return load(path or find(), os.environ)
    except ConfigError as error:
        refuse(error)


def refuse(error: ConfigError) -> NoReturn:
    """Say why a configuration is refused, a line for each reason, and exit 2."""
    for text in error.lines:
        click.echo(f"hsm-agent: {text}", err=True)
    sys.exit(BAD_CONFIGURATION)


def control_path(path: Path | None) -> Path:
    """Where the control socket is, by the configuration. If that is refused, exit 2."""
    from hsm_agent.config.agent import load_agent
    from hsm_agent.config.document import find

    try:
        return load_agent(path or find(), os.environ).control_path
    except ConfigError as error:
        refuse(error)


def ask_agent(path: Path | None, verb: str, **arguments: Any) -> dict[str, Any]:
    try:
        return ask(control_path(path), verb, **arguments)
    except ControlError as error:
        fail(str(error))


class DurationOption(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from hsm_agent.text import duration

        try:
            return value if isinstance(value, float) else duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


config_option = click.option("-c", "--config", "config", type=click.Path(path_type=Path), help="Configuration file.")
unused_config_option = click.option(
    "-c", "--config", expose_value=False, help="Taken by every verb; this one needs none."
)
format_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
