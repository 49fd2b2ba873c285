"""Every kind of source: a room each, imported when a configuration names it."""

from __future__ import annotations

from typing import Annotated

from hsm_agent.collect.base import SourceSettings
from hsm_agent.settings.by_kind import ByKind


def _canary() -> type[SourceSettings]:
    from hsm_agent.collect.canary.source import CanarySettings

    return CanarySettings


def _certificate() -> type[SourceSettings]:
    from hsm_agent.collect.certificate.source import CertificateSettings

    return CertificateSettings


def _command() -> type[SourceSettings]:
    from hsm_agent.collect.command.source import CommandSettings

    return CommandSettings


def _declared() -> type[SourceSettings]:
    from hsm_agent.collect.declared.source import DeclaredSettings

    return DeclaredSettings


def _pkcs11() -> type[SourceSettings]:
    from hsm_agent.collect.pkcs11.source import Pkcs11Settings

    return Pkcs11Settings


def _snmp() -> type[SourceSettings]:
    from hsm_agent.collect.snmp.source import SnmpSettings

    return SnmpSettings


def _snmp_trap_listener() -> type[SourceSettings]:
    from hsm_agent.collect.traps.source import SnmpTrapListenerSettings

    return SnmpTrapListenerSettings


KINDS = ByKind(
    {
        "canary": _canary,
        "certificate": _certificate,
        "command": _command,
        "declared": _declared,
        "pkcs11": _pkcs11,
        "snmp": _snmp,
        "snmp_trap_listener": _snmp_trap_listener,
    }
)
AnySource = Annotated[SourceSettings, KINDS]
"""One of the kinds of source; told apart by `kind`."""
