"""`templates NAME`: the files that a tool needs, written to a folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from hsm_agent.cli.options import config_option, fail, refuse
from hsm_agent.templates import NAMES

_READABLE = 0o644  # for the manager, which is another user; there is no secret in them


@click.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option("--base", help="Where the MIB is rooted. Default: as configured, else the net-snmp playpen.")
@click.option("--to", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@config_option
def templates(name: str, base: str | None, to: Path, config: Path | None) -> None:
    """Write what another tool needs to know of the agent's MIB."""
    from hsm_agent.templates import write

    root = _configured(config) if base is None else _given(base)
    try:
        written = write(name, root)
    except ValueError as error:  # a base that this tool can't take
        fail(f"{root}: {error}")
    for relative, text in written.items():
        path = to / relative
        try:
            old = _replace(path, text.encode())
        except OSError as error:
            fail(f"--to: {error.filename or path}: {error.strerror}")
        click.echo(f"wrote {path}" if old is None else f"wrote {path}; what was there is {old} now")


def _replace(path: Path, data: bytes) -> Path | None:
    """Write a file. Another one that has its name, such as a snmp.yml of many modules, is kept: under which name."""
    from hsm_agent.state import files

    path.parent.mkdir(parents=True, exist_ok=True)
    old = None
    if path.is_symlink() or (path.exists() and path.read_bytes() != data):
        old = path.replace(path.with_name(f"{path.name}.old"))
    files.write(path, data, fresh=path.with_name(f".{path.name}.{secrets.token_hex(8)}"))
    path.chmod(_READABLE)
    return old


def _given(base: str) -> str:
    from hsm_agent.templates.objects import dotted
    from hsm_agent.wire.snmp.mib import parse_base

    try:
        return dotted(parse_base(base))
    except ValueError as error:
        raise click.UsageError(f"--base: {error}") from error


def _configured(config: Path | None) -> str:
    from hsm_agent.config.base_oid import configured_base
    from hsm_agent.settings.errors import ConfigError
    from hsm_agent.templates.objects import dotted

    try:
        return dotted(configured_base(config, os.environ))
    except ConfigError as error:
        refuse(error)
