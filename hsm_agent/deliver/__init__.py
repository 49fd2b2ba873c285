"""Every kind of sink: a room each, imported when a configuration names it."""

from __future__ import annotations

from typing import Annotated

from hsm_agent.deliver.base import SinkSettings
from hsm_agent.settings.types import ByKind

KINDS = ByKind(
    {
        "snmp": "hsm_agent.deliver.snmp:SnmpSinkSettings",
        "syslog": "hsm_agent.deliver.syslog:SyslogSinkSettings",
        "alertmanager": "hsm_agent.deliver.alertmanager:AlertmanagerSinkSettings",
        "webhook": "hsm_agent.deliver.webhook:WebhookSinkSettings",
    }
)
AnySink = Annotated[SinkSettings, KINDS]
"""One of the kinds of sink; told apart by `kind`."""
