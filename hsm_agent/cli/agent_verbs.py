"""The verbs that talk to the running agent through its control socket."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hsm_agent.agent.control_client import ControlError, ask
from hsm_agent.cli import FAILED
from hsm_agent.cli.options import (
    DurationOption,
    ask_agent,
    config_option,
    control_path,
    fail,
    format_option,
    load_or_exit,
    print_json,
)

if TYPE_CHECKING:
    from pathlib import Path

PAUSE_SECONDS, LEAST_PAUSE_SECONDS = 2.0, 0.5
"""Of `status --watch` between two questions."""
WATCH_ANSWER_SECONDS = 10.0
"""After so long without an answer a watcher is told that the picture is an old one."""


@click.command()
@config_option
@format_option
@click.option("--watch", "is_watched", is_flag=True, help="Show it on the whole terminal until Ctrl-C.")
@click.option("--every", type=DurationOption(), help="With --watch: how often to ask, such as 5s (default 2s).")
def status(config: Path | None, form: str, every: float | None, *, is_watched: bool) -> None:
    """Ask the running agent how everything is."""
    from hsm_agent.cli import tables

    if is_watched or every is not None:
        _watch(config, form, every, is_watched=is_watched)
        return
    answer = ask_agent(config, "status")
    if form == "json":
        answer.pop("ok")
        print_json(answer)
    else:
        tables.status(answer)


@click.command()
@config_option
@format_option
def fleet(config: Path | None, form: str) -> None:
    """Show the agents of the fleet that the running agent watches."""
    from hsm_agent.cli import tables

    answer = ask_agent(config, "fleet")
    if form == "json":
        answer.pop("ok")
        print_json(answer)
    else:
        tables.fleet(answer)


def _watch(config: Path | None, form: str, every: float | None, *, is_watched: bool) -> None:
    from hsm_agent.cli.watch import is_terminal, watch

    if not is_watched:
        raise click.UsageError("--every: only with --watch")
    if form != "table":
        raise click.UsageError("--watch: not with --format json")
    if every is not None and every < LEAST_PAUSE_SECONDS:
        raise click.UsageError(f"--every: shorter than {LEAST_PAUSE_SECONDS:g}s")
    if not is_terminal():
        fail("--watch: standard output is no terminal; without --watch the status is printed once")
    path = control_path(config)
    try:
        watch(overview_of(path), every or PAUSE_SECONDS)
    except ControlError as error:
        fail(str(error))


def overview_of(path: Path) -> partial[dict[str, Any]]:
    """What asks the agent for a watcher, who is told soon where it hangs."""
    return partial(ask, path, "overview", timeout_seconds=WATCH_ANSWER_SECONDS)


@click.command("test-notification")
@config_option
@click.option("--sink", help="Only this sink.")
@click.option("--directly", is_flag=True, help="Send from here, where no agent runs, and say who acknowledged.")
def test_notification(config: Path | None, sink: str | None, *, directly: bool) -> None:
    """Send a notification marked TEST through the running agent's sinks."""
    if directly:
        _test_directly(config, sink)
    answer = ask_agent(config, "test-notification", sink=sink)
    for name, result in answer["sinks"].items():
        click.echo(f"{name}: {result}")
    sys.exit(0 if answer["accepted"] else FAILED)


def _test_directly(config: Path | None, sink: str | None) -> NoReturn:
    """Without a running agent: reads the configuration and its secrets, as the agent would."""
    from hsm_agent.cli.direct_notification import NotNowError, prove

    wanted = load_or_exit(config).config
    sinks = [each for each in wanted.deliver if sink in {None, each.name}]
    if sink is not None and not sinks:
        fail(f"no sink is called {sink!r}")
    try:
        proofs = prove(wanted, sinks)
    except NotNowError as error:
        fail(str(error))
    except OSError as error:
        fail(error.strerror or str(error))
    for proof in proofs:
        click.echo(f"{proof.sink}: {proof.text}")
    sys.exit(0 if all(proof.is_sent for proof in proofs) else FAILED)


@click.group()
def alarms() -> None:
    """Active alarms."""


@alarms.command("list")
@config_option
@format_option
def alarms_list(config: Path | None, form: str) -> None:
    """List what is raised now."""
    from hsm_agent.cli import tables

    entries = ask_agent(config, "status")["alarms"]
    print_json(entries) if form == "json" else tables.alarms(entries)


@alarms.command("forget")
@config_option
@click.argument("alarm_id")
def alarms_forget(config: Path | None, alarm_id: str) -> None:
    """Clear an alarm whose object is gone for good."""
    click.echo(ask_agent(config, "forget", alarm_id=alarm_id)["text"])


@click.group(invoke_without_command=True)
@config_option
@click.option("--source", default="*", help="Glob on sources.")
@click.option("--resource", default="*", help="Glob on resources.")
@click.option("--rule", default="*", help="Glob on rules.")
@click.option("--for", "seconds", type=DurationOption(), help="How long, such as 2h.")
@click.option("--reason", help="Why; shown to everyone.")
@click.pass_context
def silence(
    context: click.Context, config: Path | None, source: str, resource: str, rule: str, seconds: float | None,
    reason: str | None,
) -> None:  # fmt: skip
    """Hold back raises and changes, never clears."""
    from hsm_agent.cli import tables

    if context.invoked_subcommand is not None:
        return
    if seconds is None or not reason:
        raise click.UsageError("--for and --reason are required")
    answer = ask_agent(config, "silence", source=source, resource=resource, rule=rule, seconds=seconds, reason=reason)
    click.echo(f"{answer['id']} until {tables.when(answer['until'])}")
    for warning in answer["warnings"]:
        click.echo(f"hsm-agent: warning: {warning}", err=True)


@silence.command("list")
@config_option
@format_option
def silence_list(config: Path | None, form: str) -> None:
    """List the silences in force."""
    from hsm_agent.cli import tables

    entries = ask_agent(config, "status")["silences"]
    print_json(entries) if form == "json" else tables.silences(entries)


@silence.command("end")
@config_option
@click.argument("silence_id")
def silence_end(config: Path | None, silence_id: str) -> None:
    """End a silence now; what still holds is raised."""
    click.echo(ask_agent(config, "silence-end", id=silence_id)["text"])


@click.command()
@config_option
@click.option("--sink", required=True, help="The sink to tell.")
def resend(config: Path | None, sink: str) -> None:
    """Tell one sink again what is raised now."""
    from hsm_agent.evaluate.messages import counted

    answer = ask_agent(config, "resend", sink=sink)
    click.echo(f"{counted(answer['count'], 'alarms')} sent again to {sink}")
    if answer["silenced"]:
        verb = "is" if answer["silenced"] == 1 else "are"
        click.echo(f"{counted(answer['silenced'], 'alarms')} {verb} silenced and not sent: hsm-agent silence list")


@click.group()
def spool() -> None:
    """What is still to be delivered, dead letters included."""


@spool.command("list")
@config_option
@format_option
def spool_list(config: Path | None, form: str) -> None:
    """List the entries."""
    from hsm_agent.cli import tables

    entries: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = ask_agent(config, "spool-list", after=after)
        entries += page["entries"]
        after = page.get("next")
    if form == "json":
        print_json(entries)
    else:
        tables.spool(entries)


@spool.command("show")
@config_option
@click.argument("event_id")
def spool_show(config: Path | None, event_id: str) -> None:
    """Show one entry whole."""
    print_json(ask_agent(config, "spool-show", event_id=event_id)["entry"])


@spool.command("drop")
@config_option
@click.argument("event_id")
def spool_drop(config: Path | None, event_id: str) -> None:
    """Drop one entry for good."""
    click.echo(ask_agent(config, "spool-drop", event_id=event_id)["text"])
