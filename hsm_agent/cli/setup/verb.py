"""The verb `setup`: its options. What it does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsm_agent.cli.options import DurationOption
from hsm_agent.cli.setup.plan import CONFIGURATION

_path = click.Path(path_type=Path)


@click.command()
@click.option("-c", "--config", "config", type=_path, help="Write the configuration here: as --to, with its file.")
@click.option(
    "--to", type=click.Path(path_type=Path, file_okay=False), help="Folder to write: /etc/hsm-agent for root."
)
@click.option("--user", help="Account of the agent. Default for root: hsm-agent, if there is one.")
@click.option("--name", help="Name of this agent. Default: the host's.")
@click.option("--module", type=_path, multiple=True, help="Watch this PKCS#11 module; nothing is searched then.")
@click.option("--environment", metavar="NAME=VALUE", multiple=True, help="Variable that the named modules need.")
@click.option("--token", metavar="GLOB", multiple=True, help="Tokens to watch, by label or serial. Default: all.")
@click.option("--snmp-sink", metavar="ADDRESS", help="Send SNMP notifications to udp:HOST:162.")
@click.option("--snmp-version", type=click.Choice(["v3", "v2c"]), help="Of SNMP notifications. Default: v3.")
@click.option("--snmp-type", type=click.Choice(["inform", "trap"]), help="Informs are acknowledged. Default: inform.")
@click.option("--snmp-user", metavar="NAME", help="SNMPv3 user of the notifications. Default: hsm-agent.")
@click.option("--snmp-auth-file", type=_path, help="File with its authentication pass-phrase. Default: one is made.")
@click.option("--snmp-privacy-file", type=_path, help="File with its privacy pass-phrase. Default: one is made.")
@click.option("--snmp-community-file", type=_path, help="File with the community of v2c. Default: one is made.")
@click.option(
    "--syslog-sink", metavar="ADDRESS", help="Send syslog records to relp+tls:, relp:, tls:, tcp:, udp:HOST:PORT."
)
@click.option("--tls-ca", type=_path, help="File with the certificates of the receivers' CA.")
@click.option("--alertmanager-sink", metavar="URL", help="Send alerts to an Alertmanager.")
@click.option("--webhook-sink", metavar="URL", help="Post events as JSON.")
@click.option("--snmp-reader", metavar="NAME", help="SNMPv3 user of a manager that may read.")
@click.option("--snmp-listen", metavar="ADDRESS", help="Where SNMP is answered. Default: udp:127.0.0.1:1161.")
@click.option("--http-listen", metavar="ADDRESS", default="127.0.0.1:9717", show_default=True, help="Where HTTP is.")
@click.option("--timeout", type=DurationOption(), default="10s", show_default=True, help="For a module to answer.")
@click.option("--prove/--no-prove", default=True, help="Send a test notification to each receiver.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--yes", "--non-interactive", "yes", is_flag=True, help="Ask nothing: what is not given is the default.")
def setup(config: Path | None, **given: Any) -> None:
    """Find PKCS#11 modules, write a configuration, and prove each receiver."""
    if config is not None and (config.name != CONFIGURATION or given["to"] is not None):
        raise click.UsageError(f"--config: name a file {CONFIGURATION}, or its folder by --to")
    to = given.pop("to") if config is None else config.parent
    from hsm_agent.cli.setup.run import SetupRun
    from hsm_agent.cli.setup.wishes import SetupOptions

    SetupRun(SetupOptions(to=to, **given)).run()
