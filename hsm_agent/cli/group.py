"""`hsm-agent group`: the group as the running agent sees it, and the lead handed over."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hsm_agent.cli.options import ask_agent, config_option, format_option, print_json

if TYPE_CHECKING:
    from pathlib import Path

DEGRADED = 2
"""Exit code of `group status` where the group is not as it should be."""


@click.group()
def group() -> None:
    """The agents that watch the same as one."""


@group.command("status")
@config_option
@format_option
def group_status(config: Path | None, form: str) -> None:
    """Show the group as this agent sees it: exit 0 while all is well, 2 while it is not."""
    from hsm_agent.cli import tables

    answer = ask_agent(config, "group-status")
    if form == "json":
        print_json({**answer["group"], "troubles": answer["troubles"]})
    else:
        tables.group(answer["group"])
        for line in answer["troubles"]:
            click.echo(f"hsm-agent: {line}", err=True)
    sys.exit(DEGRADED if answer["troubles"] else 0)


@group.command("yield")
@config_option
@click.option("--to", help="This member; without it any.")
def group_yield(config: Path | None, to: str | None) -> None:
    """Let another member lead. Only the leader can."""
    click.echo(ask_agent(config, "group-yield", to=to)["text"])
