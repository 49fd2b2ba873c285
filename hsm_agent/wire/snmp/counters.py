"""What an SNMP engine counts of its own dealings, and where the MIBs show it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsm_agent.wire.snmp.ber import Oid

_SNMP = (1, 3, 6, 1, 2, 1, 11)
_MPD_STATS = (1, 3, 6, 1, 6, 3, 11, 2, 1)
_TARGET_OBJECTS = (1, 3, 6, 1, 6, 3, 12, 1)
_USM_STATS = (1, 3, 6, 1, 6, 3, 15, 1, 1)


class Count(Enum):
    """A Counter32 of RFC 3418, RFC 3412, RFC 3413 or RFC 3414; the value is the OID of its instance."""

    IN_PKTS = (*_SNMP, 1, 0)
    IN_BAD_VERSIONS = (*_SNMP, 3, 0)
    IN_BAD_COMMUNITY_NAMES = (*_SNMP, 4, 0)
    IN_BAD_COMMUNITY_USES = (*_SNMP, 5, 0)
    IN_ASN_PARSE_ERRS = (*_SNMP, 6, 0)
    SILENT_DROPS = (*_SNMP, 31, 0)
    PROXY_DROPS = (*_SNMP, 32, 0)
    UNKNOWN_SECURITY_MODELS = (*_MPD_STATS, 1, 0)
    INVALID_MSGS = (*_MPD_STATS, 2, 0)
    UNKNOWN_PDU_HANDLERS = (*_MPD_STATS, 3, 0)
    UNAVAILABLE_CONTEXTS = (*_TARGET_OBJECTS, 4, 0)
    UNKNOWN_CONTEXTS = (*_TARGET_OBJECTS, 5, 0)
    UNSUPPORTED_SEC_LEVELS = (*_USM_STATS, 1, 0)
    NOT_IN_TIME_WINDOWS = (*_USM_STATS, 2, 0)
    UNKNOWN_USER_NAMES = (*_USM_STATS, 3, 0)
    UNKNOWN_ENGINE_IDS = (*_USM_STATS, 4, 0)
    WRONG_DIGESTS = (*_USM_STATS, 5, 0)
    DECRYPTION_ERRORS = (*_USM_STATS, 6, 0)

    def __init__(self, *oid: int) -> None:
        self.oid: Oid = oid


class Counters:
    """The counts since the engine started; kept when the configuration changes."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Count, 0)
        self.last = Count.IN_PKTS
        """What was counted last: why a packet that brought nothing did so."""

    def add(self, what: Count) -> int:
        """One more; the new count."""
        count = self._counts[what] + 1
        self._counts[what] = count
        self.last = what
        return count

    def __getitem__(self, what: Count) -> int:
        """The count now."""
        return self._counts[what]
