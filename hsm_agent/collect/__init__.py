"""Every kind of source: one file each, and one name in this union."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from hsm_agent.collect.canary import CanarySettings
from hsm_agent.collect.certificate import CertificateSettings
from hsm_agent.collect.command import CommandSettings
from hsm_agent.collect.declared import DeclaredSettings
from hsm_agent.collect.pkcs11 import Pkcs11Settings
from hsm_agent.collect.snmp import SnmpSettings
from hsm_agent.collect.snmp_trap_listener import SnmpTrapListenerSettings

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
