"""Every kind of source: one file each, and one name in this union."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from hsm_agent.collect.pkcs11 import Pkcs11Settings
from hsm_agent.collect.snmp_trap_listener import SnmpTrapListenerSettings

AnySource = Annotated[Pkcs11Settings | SnmpTrapListenerSettings, Discriminator("kind")]
"""One of the kinds of source; told apart by `kind`."""
