"""What the members of a group must have alike, as one digest: that they judge the same, and tell the same sinks of it.

Sources, HSMs, rules, the names and least severities of sinks, and where the MIB is rooted. Left out is what may well
differ from host to host: secrets, paths, addresses, users; and what stands at its default, so that members of two
versions agree on a key that only one of them has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from hsm_agent.serve.settings import SnmpServerSettings
from hsm_agent.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hsm_agent.config.tree import Config

_OF_THE_HOST = frozenset(
    {
        "aws", "ca", "client", "command", "communities", "community", "endpoint", "endpoints", "engine_ids",
        "environment", "etcd", "listen", "networks", "reserved", "tls", "to", "user", "users", "worker_memory",
    }
)  # fmt: skip
"""Keys of sources: how this host reaches them."""
_BY_ADDRESS = frozenset({"devices"})
"""Of these only what the addresses stand for."""


def group_digest(config: Config) -> str:
    """SHA-256, in hexadecimal, of what all members of a group must have alike."""
    snmp = config.serve.snmp or SnmpServerSettings()
    whole = {
        "sources": {source.name: dict(_settings(source)) for source in config.sources},
        "hsms": _plain(config.hsms),
        "rules": {rule.name: _plain(rule) for rule in config.effective_rules()},
        "sinks": {sink.name: sink.minimum_severity.value for sink in config.deliver},
        "base_oid": list(snmp.base_oid),
    }
    return sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _settings(settings: BaseModel) -> Iterator[tuple[str, Any]]:
    """Of settings what is neither of the host nor as it is anyway."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name in _OF_THE_HOST or isinstance(value, Path | Secret) or value == field.get_default():
            continue
        yield name, sorted(set(value.values())) if name in _BY_ADDRESS else _plain(value)


def _plain(value: Any) -> Any:
    """The value in what JSON has; a number always as a float, so that 60 and 60.0 are one."""
    if isinstance(value, BaseModel):
        return dict(_settings(value))
    if is_dataclass(value) and not isinstance(value, type):
        differing = {each.name: getattr(value, each.name) for each in fields(value) if not _is_default(value, each)}
        return {"": type(value).__name__, **{name: _plain(each) for name, each in differing.items()}}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | str):
        return value
    return float(value) if isinstance(value, int | float) else str(value)


def _is_default(whole: Any, field: Any) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return default is not MISSING and bool(getattr(whole, field.name) == default)
