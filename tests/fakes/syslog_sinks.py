"""Builds a syslog sink as the configuration does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hsm_agent.deliver.base import SinkContext
from hsm_agent.deliver.syslog import SyslogSinkSettings
from hsm_agent.model import AgentIdentity
from hsm_agent.wire.snmp.engine import Engine

if TYPE_CHECKING:
    from hsm_agent.deliver.base import Sink

CONTEXT = SinkContext(
    origin=AgentIdentity(
        agent_name="hsm-monitor-1", host_name="hsm-monitor-1.example.net", version="1.2.3", enterprise_id=32473
    ),
    engine=Engine(engine_id=b"\x80\0\x1f\x88\x04test", boots=1, started=0.0),
    base_oid=(1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 4801),
)


def settings(to: str, **options: Any) -> SyslogSinkSettings:
    return SyslogSinkSettings.model_validate({"name": "siem", "kind": "syslog", "to": to, **options})


def build(to: str, **options: Any) -> Sink:
    """A sink with a time-out of a second, unless another is given."""
    return settings(to, **({"timeout": "1s"} | options)).build(CONTEXT)


async def built(to: str, **options: Any) -> Sink:
    """The same from a running event loop, which must not read the certificates itself."""
    return await asyncio.to_thread(build, to, **options)
