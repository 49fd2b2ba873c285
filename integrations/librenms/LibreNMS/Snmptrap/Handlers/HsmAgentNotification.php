<?php

/**
 * Notifications of HSM-AGENT-MIB: alarms raised, changed and cleared, tests, heartbeats, notices.
 * Made by `hsm-agent templates librenms`. SPDX-License-Identifier: Apache-2.0
 */

namespace LibreNMS\Snmptrap\Handlers;

use App\Models\Device;
use LibreNMS\Enum\Severity;
use LibreNMS\Interfaces\SnmptrapHandler;
use LibreNMS\Snmptrap\Trap;

class HsmAgentNotification implements SnmptrapHandler
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
            'cleared', '1' => Severity::Ok,
            'indeterminate', '2' => Severity::Notice,
            'critical', '3' => Severity::Error,
            'major', '4' => Severity::Error,
            'minor', '5' => Severity::Warning,
            'warning', '6' => Severity::Warning,
            default => Severity::Unknown,
        };
    }
}
