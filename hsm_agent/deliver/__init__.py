"""Every kind of sink: a room each, imported when a configuration names it."""

from __future__ import annotations

from typing import Annotated

from hsm_agent.deliver.base import SinkSettings
from hsm_agent.settings.by_kind import ByKind


def _snmp() -> type[SinkSettings]:
    from hsm_agent.deliver.snmp import SnmpSinkSettings

    return SnmpSinkSettings


def _syslog() -> type[SinkSettings]:
    from hsm_agent.deliver.syslog import SyslogSinkSettings

    return SyslogSinkSettings


KINDS = ByKind({"snmp": _snmp, "syslog": _syslog})
AnySink = Annotated[SinkSettings, KINDS]
"""One of the kinds of sink; told apart by `kind`."""
