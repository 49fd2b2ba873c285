"""`check-config`: what would be watched, whom it would be told, and what the receivers need to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsm_agent.deliver.snmp import SnmpSinkSettings
from hsm_agent.serve.engine_state import EngineStateError, settled_engine_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hsm_agent.config.load import Loaded
    from hsm_agent.config.tree import Config


def describe(loaded: Loaded) -> Iterator[str]:
    """The lines of `check-config` for a valid configuration."""
    config = loaded.config
    yield f"{loaded.path}: valid, SHA-256 {loaded.digest}"
    yield f"agent {config.agent.name}, state in {config.agent.state_directory}"
    yield from _sources(config)
    rules = config.effective_rules()
    yield f"{len(rules)} rules: {', '.join(rule.name for rule in rules)}"
    yield from _servers(config)
    yield from _sinks(config)


def _sources(config: Config) -> Iterator[str]:
    if not config.sources:
        yield "no sources: nothing would be watched"
    for source in config.sources:
        first, *more = source.about()
        yield f"source {source.name}: {source.kind} {first}, every {source.every:g} s"
        yield from (f"  {line}" for line in more)


def _servers(config: Config) -> Iterator[str]:
    if (snmp := config.serve.snmp) is not None:
        users = ", ".join(user.name for user in snmp.users) or "none"
        yield f"SNMP on {', '.join(snmp.listen)}: v3 users {users}; {len(snmp.communities)} communities"
    if (http := config.serve.http) is not None:
        yield f"HTTP on {http.listen}: /metrics /healthz /readyz /api/v1/status"


def _sinks(config: Config) -> Iterator[str]:
    engine_id, told = _engine_id(config)
    yield f"SNMP engine ID: {told}"
    if not config.deliver:
        yield "no sinks: nobody would be told"
    for sink in config.deliver:
        yield (
            f"sink {sink.name}: {sink.kind} {sink.to}, {sink.guarantee.value}, from {sink.minimum_severity.value} on"
        )
        if isinstance(sink, SnmpSinkSettings):
            line = sink.receiver_line(engine_id or b"")
            if line is not None and engine_id is None and sink.notification_type == "trap":
                line = "the line for snmptrapd is known once there is an engine ID"
            if line is not None:
                yield f"  snmptrapd.conf: {line}"


def _engine_id(config: Config) -> tuple[bytes | None, str]:
    configured = config.serve.snmp.engine_id if config.serve.snmp is not None else None
    try:
        found = configured or settled_engine_id(config.agent.state_directory)
    except EngineStateError as error:
        return None, str(error)
    return found, f"0x{found.hex()}" if found else "made at the first start, and kept (it can't be stored now)"
