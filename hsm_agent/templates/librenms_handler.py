"""LibreNMS's trap handler, in PHP: one class for all six notifications.

LibreNMS splits each line of a trap at its first blank, so a last varbind without text would lose the notification: the
last one is hsmAlarmKind, which is never empty. A trap can't close a LibreNMS alert; sensors do that. What the event log
keeps is the alarm's identity as its reference.
"""

from __future__ import annotations

from hsm_agent.model import Severity
from hsm_agent.templates.objects import SEVERITY_WORDS

CLASS = "HsmAgentNotification"
_OF_LIBRENMS = {
    Severity.CLEARED: "Ok",
    Severity.INDETERMINATE: "Notice",
    Severity.CRITICAL: "Error",
    Severity.MAJOR: "Error",
    Severity.MINOR: "Warning",
    Severity.WARNING: "Warning",
}

_TEXT = """\
<?php

/**
 * Notifications of HSM-AGENT-MIB: alarms raised, changed and cleared, tests, heartbeats, notices.
 * Made by `hsm-agent templates librenms`. SPDX-License-Identifier: Apache-2.0
 */

namespace LibreNMS\\Snmptrap\\Handlers;

use App\\Models\\Device;
use LibreNMS\\Enum\\Severity;
use LibreNMS\\Interfaces\\SnmptrapHandler;
use LibreNMS\\Snmptrap\\Trap;

class @CLASS@ implements SnmptrapHandler
{
    private const MIB = 'HSM-AGENT-MIB::';

    /**
     * Handle snmptrap.
     * Data is pre-parsed and delivered as a Trap.
     *
     * @param  Device  $device
     * @param  Trap  $trap
     * @return void
     */
    public function handle(Device $device, Trap $trap)
    {
        $kind = self::value($trap, 'hsmAlarmKind');
        $rule = self::value($trap, 'hsmAlarmRule');
        $alarm = self::value($trap, 'hsmAlarmAlarmId');
        $message = "HSM $kind: " . ($rule === '' ? '' : "$rule: ") . self::value($trap, 'hsmAlarmText');
        $trap->log($message, self::severity($trap, $kind), 'trap', $alarm === '' ? null : $alarm);
    }

    private static function value(Trap $trap, string $object): string
    {
        return (string) $trap->getOidData($trap->findOid(self::MIB . $object . '.'));
    }

    /**
     * The word, or the number where the MIB was not loaded. Numbers do not rise with urgency (RFC 3877).
     */
    private static function severity(Trap $trap, string $kind): Severity
    {
        if (in_array($kind, ['test', 'heartbeat', 'notice'], true)) {
            return Severity::Info;
        }

        return match (self::value($trap, 'hsmAlarmSeverity')) {
@ARMS@
            default => Severity::Unknown,
        };
    }
}
"""


def handler() -> str:
    """The class's file. It names objects and no OID, so it is the same for every base."""
    arms = [
        f"            '{SEVERITY_WORDS[severity.number]}', '{severity.number}' => Severity::{name},"
        for severity, name in _OF_LIBRENMS.items()
    ]
    return _TEXT.replace("@CLASS@", CLASS).replace("@ARMS@", "\n".join(arms))
