"""The verbs of the command line. No logic: each verb reads its words, calls one room, and prints."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hsm_agent.config.errors import ConfigError
from hsm_agent.control import ControlError, ask
from hsm_agent.metrics import METRICS
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.config.load import Loaded

FAILED, BAD_CONFIGURATION = 1, 2


def _fail(text: str, code: int = FAILED) -> NoReturn:
    click.echo(f"hsm-agent: {text}", err=True)
    sys.exit(code)


def _load(path: Path | None) -> Loaded:
    from hsm_agent.config.load import find, load

    try:
        return load(path or find(), os.environ)
    except ConfigError as error:
        for text in error.lines:
            click.echo(f"hsm-agent: {text}", err=True)
        sys.exit(BAD_CONFIGURATION)


def _ask(path: Path | None, verb: str, **arguments: Any) -> dict[str, Any]:
    try:
        return ask(_load(path).config.agent.control_path, verb, **arguments)
    except ControlError as error:
        _fail(str(error))


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from hsm_agent.settings import duration

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


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "--version", prog_name="hsm-agent", message="%(prog)s %(version)s")
def cli() -> None:
    """Watch hardware security modules and tell before they fill up."""


@cli.command()
@config_option
def run(config: Path | None) -> None:
    """Run the agent in the foreground. SIGTERM drains and stops, SIGHUP re-reads the configuration."""
    from hsm_agent.agent import StartError
    from hsm_agent.agent import main as run_agent

    loaded = _load(config)
    try:
        asyncio.run(run_agent(loaded))
    except StartError as error:
        _fail(str(error))


@cli.command("check-config")
@config_option
def check_config(config: Path | None) -> None:
    """Validate the configuration and say what would be watched and told."""
    from hsm_agent.verbs.describe import describe

    loaded = _load(config)
    for text in describe(loaded):
        click.echo(text)


@cli.command()
@config_option
@format_option
@click.option("--explain", is_flag=True, help="Show the calls made and their number a day.")
@click.option("--record", type=click.Path(path_type=Path, file_okay=False), help="Write raw results, masked, to DIR.")
def poll(config: Path | None, form: str, record: Path | None, *, explain: bool) -> None:
    """Read every source once and print the readings; nothing is sent."""
    from hsm_agent.verbs import show
    from hsm_agent.verbs.poll import as_json, poll_all
    from hsm_agent.verbs.poll import record as write

    results = asyncio.run(poll_all(_load(config).config.sources))
    if record is not None:
        for file in write(results, record):
            click.echo(f"recorded {file}", err=True)
    if form == "json":
        click.echo(as_json(results))
    else:
        show.polled(results, {name: metric.unit for name, metric in METRICS.items()})
    if explain:
        show.explained(results)
    for result in results:
        for failure in result.failures:
            click.echo(f"hsm-agent: source {result.source}: {failure}", err=True)
    sys.exit(FAILED if any(result.failures for result in results) else 0)


@cli.command()
@config_option
@format_option
def status(config: Path | None, form: str) -> None:
    """Ask the running agent how everything is."""
    from hsm_agent.verbs import show

    answer = _ask(config, "status")
    if form == "json":
        answer.pop("ok")
        _print_json(answer)
    else:
        show.status(answer)


@cli.command("test-notification")
@config_option
@click.option("--sink", help="Only this sink.")
def test_notification(config: Path | None, sink: str | None) -> None:
    """Send a notification marked TEST through the running agent's sinks."""
    answer = _ask(config, "test-notification", sink=sink)
    for name, result in answer["sinks"].items():
        click.echo(f"{name}: {result}")
    sys.exit(0 if answer["accepted"] else FAILED)


@cli.group()
def alarms() -> None:
    """Active alarms."""


@alarms.command("list")
@config_option
@format_option
def alarms_list(config: Path | None, form: str) -> None:
    """List what is raised now."""
    from hsm_agent.verbs import show

    entries = _ask(config, "status")["alarms"]
    _print_json(entries) if form == "json" else show.alarms(entries)


@alarms.command("forget")
@config_option
@click.argument("alarm_id")
def alarms_forget(config: Path | None, alarm_id: str) -> None:
    """Clear an alarm whose object is gone for good."""
    click.echo(_ask(config, "forget", alarm_id=alarm_id)["text"])


@cli.group(invoke_without_command=True)
@config_option
@click.option("--source", default="*", help="Glob on sources.")
@click.option("--resource", default="*", help="Glob on resources.")
@click.option("--rule", default="*", help="Glob on rules.")
@click.option("--for", "seconds", type=_Duration(), help="How long, such as 2h.")
@click.option("--reason", help="Why; shown to everyone.")
@click.pass_context
def silence(
    context: click.Context, config: Path | None, source: str, resource: str, rule: str, seconds: float | None,
    reason: str | None,
) -> None:  # fmt: skip
    """Hold back raises and changes, never clears."""
    from hsm_agent.verbs import show

    if context.invoked_subcommand is not None:
        return
    if seconds is None or not reason:
        raise click.UsageError("--for and --reason are required")
    answer = _ask(config, "silence", source=source, resource=resource, rule=rule, seconds=seconds, reason=reason)
    click.echo(f"{answer['id']} until {show.when(answer['until'])}")


@silence.command("list")
@config_option
@format_option
def silence_list(config: Path | None, form: str) -> None:
    """List the silences in force."""
    from hsm_agent.verbs import show

    entries = _ask(config, "status")["silences"]
    _print_json(entries) if form == "json" else show.silences(entries)


@silence.command("end")
@config_option
@click.argument("silence_id")
def silence_end(config: Path | None, silence_id: str) -> None:
    """End a silence now; what still holds is raised."""
    click.echo(_ask(config, "silence-end", id=silence_id)["text"])


@cli.command()
@config_option
@click.option("--sink", required=True, help="The sink to tell.")
def resend(config: Path | None, sink: str) -> None:
    """Tell one sink again what is raised now."""
    click.echo(f"{_ask(config, 'resend', sink=sink)['count']} alarms sent again to {sink}")


@cli.group()
def spool() -> None:
    """What is still to be delivered, dead letters included."""


@spool.command("list")
@config_option
@format_option
def spool_list(config: Path | None, form: str) -> None:
    """List the entries."""
    from hsm_agent.verbs import show

    entries = _ask(config, "spool-list")["entries"]
    if form == "json":
        _print_json(entries)
    else:
        columns = ("event_id", "time", "kind", "severity", "source", "resource", "rule", "waiting_for", "dead_at")
        show.table("spool", columns, [[entry.get(name) for name in columns] for entry in entries])


@spool.command("show")
@config_option
@click.argument("event_id")
def spool_show(config: Path | None, event_id: str) -> None:
    """Show one entry whole."""
    _print_json(_ask(config, "spool-show", event_id=event_id)["entry"])


@spool.command("drop")
@config_option
@click.argument("event_id")
def spool_drop(config: Path | None, event_id: str) -> None:
    """Drop one entry for good."""
    click.echo(_ask(config, "spool-drop", event_id=event_id)["text"])


@cli.command()
@click.option("--base", help="Root the MIB at this OID.")
@unused_config_option
def mib(base: str | None) -> None:
    """Print the MIB."""
    from hsm_agent.verbs.mib import mib_text

    try:
        click.echo(mib_text(base), nl=False)
    except ValueError as error:
        raise click.UsageError(f"--base: {error}") from error
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}")


@cli.command()
@unused_config_option
def demo() -> None:
    """Show the whole chain on three tokens, a trap receiver and a syslog server. Needs the source checkout."""
    from hsm_agent.verbs.demo import DemoError
    from hsm_agent.verbs.demo import run as run_demo

    try:
        run_demo()
    except DemoError as error:
        _fail(str(error))


@cli.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def check(words: tuple[str, ...]) -> None:
    """Answer as a Nagios plugin: one token (-p), or one reading of the running agent (--metric)."""
    from hsm_agent.verbs.check_words import main as answer

    sys.exit(answer(words))


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point."""
    cli(arguments, prog_name="hsm-agent")
