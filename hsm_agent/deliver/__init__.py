"""Every kind of sink: one file each, and one name in this union."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from hsm_agent.deliver.snmp.settings import SnmpSinkSettings
from hsm_agent.deliver.syslog.settings import SyslogSinkSettings

AnySink = Annotated[SnmpSinkSettings | SyslogSinkSettings, Discriminator("kind")]
