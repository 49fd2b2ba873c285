"""Every kind of source: a room each, and one name in this union."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from hsm_agent.collect.canary.source import CanarySettings
from hsm_agent.collect.certificate.source import CertificateSettings
from hsm_agent.collect.command.source import CommandSettings
from hsm_agent.collect.declared.source import DeclaredSettings
from hsm_agent.collect.pkcs11.source import Pkcs11Settings
from hsm_agent.collect.snmp.source import SnmpSettings
from hsm_agent.collect.traps.source import SnmpTrapListenerSettings

AnySource = Annotated[
    CanarySettings
    | CertificateSettings
    | CommandSettings
    | DeclaredSettings
    | Pkcs11Settings
    | SnmpSettings
    | SnmpTrapListenerSettings,
    Discriminator("kind"),
]
"""One of the kinds of source; told apart by `kind`."""
