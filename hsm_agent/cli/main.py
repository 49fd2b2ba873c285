"""The verbs of the command line. No logic: each verb parses its arguments, calls one module and prints."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import hsm_agent
from hsm_agent.cli import FAILED
from hsm_agent.cli import run as run_agent
from hsm_agent.cli.agent_verbs import alarms, fleet, resend, silence, spool, status, test_notification
from hsm_agent.cli.audit import audit
from hsm_agent.cli.group import group
from hsm_agent.cli.options import (
    config_option,
    fail,
    format_option,
    load_or_exit,
    refuse,
    schema_file,
    unused_config_option,
)
from hsm_agent.cli.reader import QuietGroup
from hsm_agent.cli.setup.verb import setup
from hsm_agent.cli.templates import templates
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = Path(hsm_agent.__file__).parent
MIB_NAME = "HSM-AGENT-MIB.txt"


@click.group(cls=QuietGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "--version", prog_name="hsm-agent", message="%(prog)s %(version)s")
def cli() -> None:
    """Watch hardware security modules and alert before they fill up."""


@cli.command()
@config_option
def run(config: Path | None) -> None:
    """Run the agent in the foreground. SIGTERM drains and stops, SIGHUP re-reads the configuration."""
    run_agent(config)


@cli.command("check-config")
@config_option
def check_config(config: Path | None) -> None:
    """Validate the configuration and say what would be watched and told."""
    from hsm_agent.cli.check_config import describe

    loaded = load_or_exit(config)
    for text in describe(loaded):
        click.echo(text)


@cli.command()
@config_option
@format_option
@click.option("--explain", is_flag=True, help="Show the calls made and their number a day.")
@click.option("--record", type=click.Path(path_type=Path, file_okay=False), help="Write raw results, masked, to DIR.")
def poll(config: Path | None, form: str, record: Path | None, *, explain: bool) -> None:
    """Read every source once and print the readings; nothing is sent."""
    from hsm_agent.cli import tables
    from hsm_agent.cli.poll import as_json, poll_all
    from hsm_agent.cli.poll import record as write

    wanted = load_or_exit(config).config
    results = asyncio.run(poll_all(wanted.sources, wanted.hsms))
    if record is not None:
        try:
            files = write(results, record)
        except OSError as error:
            fail(f"--record: {error.filename or record}: {error.strerror}")
        for file in files:
            click.echo(f"recorded {file}", err=True)
    if form == "json":
        click.echo(as_json(results, explain=explain))
    else:
        tables.polled(results)
        if explain:
            tables.explained(results)
    for result in results:
        for failure in result.failures:
            click.echo(f"hsm-agent: source {result.source}: {failure}", err=True)
    sys.exit(FAILED if any(result.failures for result in results) else 0)


@cli.command()
@click.option("--base", help="Root the MIB at this OID. Default: as configured, else the net-snmp playpen.")
@config_option
def mib(base: str | None, config: Path | None) -> None:
    """Print the MIB."""
    try:
        text = mib_text(_configured_base(config) if base is None else base)
    except ValueError as error:
        raise click.UsageError(f"--base: {error}") from error
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    click.echo(text, nl=False)


def _configured_base(config: Path | None) -> str | None:
    """Where the configuration roots the MIB. One that nobody named need not be readable to all who want a MIB."""
    from hsm_agent.config.base_oid import configured_base
    from hsm_agent.settings.errors import ConfigError

    try:
        return ".".join(map(str, configured_base(config, os.environ)))
    except ConfigError as error:
        if config is not None:
            refuse(error)
        for line in error.lines:
            click.echo(f"hsm-agent: {line}; the MIB is rooted at its default", err=True)
        return None


@cli.command()
@unused_config_option
def demo() -> None:
    """Show the whole chain on three tokens, a trap receiver and a syslog server. Needs the source checkout."""
    run_demo()


@cli.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def check(words: tuple[str, ...]) -> None:
    """Answer as a Nagios plugin: one token (-p), or one reading of the running agent (--metric)."""
    from hsm_agent.cli.check import main as answer

    sys.exit(answer(words))


@cli.command()
@unused_config_option
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    file = schema_file()
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    click.echo(text, nl=False)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
@unused_config_option
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from hsm_agent.cli.command_line import verb_words
    from hsm_agent.cli.completion import completion as script

    click.echo(script(shell, verb_words(cli)), nl=False)


def mib_text(base: str | None) -> str:
    """The MIB, rooted at another OID if `base` is given. Raises ValueError if it is no OID, OSError without a file."""
    from hsm_agent.wire.snmp.mib import parse_base, rooted

    text = mib_file().read_text(encoding="utf-8")
    return text if base is None else rooted(text, parse_base(base))


def mib_file(package: Path = PACKAGE) -> Path:
    """The MIB: beside the package in a checkout, below the prefix's share/snmp/mibs when installed."""
    checkout = package.parent / "mibs" / MIB_NAME
    return checkout if checkout.exists() else Path(sys.prefix) / "share" / "snmp" / "mibs" / MIB_NAME


def run_demo(package: Path = PACKAGE) -> None:
    """Replace this process by `scripts/demo`, which only a checkout has."""
    script = package.parent / "scripts" / "demo"
    if not script.exists():
        fail("the demonstration needs a source checkout: run scripts/demo there")
    os.execv(script, [str(script)])  # noqa: S606 - a fixed script of our own, no shell


for verb in (setup, audit, status, fleet, group, test_notification, alarms, silence, resend, spool, templates):
    cli.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point."""
    cli(arguments, prog_name="hsm-agent")
