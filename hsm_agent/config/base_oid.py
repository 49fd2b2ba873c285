"""Where the configuration roots the MIB. Verbs that print what depends on it need no more of the file than this key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.config.document import find, read
from hsm_agent.settings.errors import ConfigError
from hsm_agent.wire.snmp.mib import BASE, parse_base

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hsm_agent.wire.snmp.ber import Oid


def configured_base(config: Path | None, environment: Mapping[str, str]) -> Oid:
    """The base of the named configuration, or of the one that is there; without any the default. Raises ConfigError."""
    path = config or find()
    if config is None and not path.exists():
        return BASE
    return load_base_oid(path, environment)


def load_base_oid(path: Path, environment: Mapping[str, str]) -> Oid:
    """`serve.snmp.base_oid`, or its default. Raises ConfigError."""
    document = read(path, environment)
    value: object = document.tree
    for key in ("serve", "snmp", "base_oid"):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return BASE
    try:
        return parse_base(str(value))
    except ValueError as error:
        raise ConfigError(document.locate([f"serve.snmp.base_oid: {error}"])) from error
