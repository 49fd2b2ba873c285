<?php

// Runs our trap handler on one notification as LibreNMS's snmptrap command gets it on standard input: host name, then
// transport, then a line "name value" for each varbind. Prints what it would log, as JSON. Only what the handler uses of
// LibreNMS is here, written anew.

namespace App\Models {
    class Device
    {
    }
}

namespace LibreNMS\Enum {
    enum Severity: int
    {
        case Unknown = 0;
        case Ok = 1;
        case Info = 2;
        case Notice = 3;
        case Warning = 4;
        case Error = 5;
    }
}

namespace LibreNMS\Snmptrap {
    use LibreNMS\Enum\Severity;

    class Trap
    {
        private array $values = [];

        public function __construct(string $raw)
        {
            foreach (array_slice(explode("\n", trim($raw)), 2) as $line) {
                [$name, $value] = explode(' ', $line, 2);
                $this->values[$name] = trim($value, '"');
            }
        }

        public function findOid(string $search): string
        {
            foreach (array_keys($this->values) as $name) {
                if (str_contains($name, $search)) {
                    return $name;
                }
            }

            return '';
        }

        public function getOidData(string $name): string
        {
            return $this->values[$name] ?? '';
        }

        public function log(string $message, Severity $severity, string $type, int|null|string $reference): void
        {
            $logged = ['trap' => $this->getOidData('SNMPv2-MIB::snmpTrapOID.0'), 'message' => $message,
                'severity' => $severity->name, 'type' => $type, 'reference' => $reference];
            echo json_encode($logged, JSON_UNESCAPED_UNICODE), "\n";
        }
    }
}

namespace LibreNMS\Interfaces {
    use App\Models\Device;
    use LibreNMS\Snmptrap\Trap;

    interface SnmptrapHandler
    {
        public function handle(Device $device, Trap $trap);
    }
}

namespace {
    set_error_handler(function (int $number, string $text) {
        throw new ErrorException($text); // as Laravel does
    });
    require $argv[1];
    $trap = new LibreNMS\Snmptrap\Trap(stream_get_contents(STDIN));
    if (str_starts_with($trap->getOidData('SNMPv2-MIB::snmpTrapOID.0'), 'HSM-AGENT-MIB::')) {
        (new LibreNMS\Snmptrap\Handlers\HsmAgentNotification())->handle(new App\Models\Device(), $trap);
    }
}
