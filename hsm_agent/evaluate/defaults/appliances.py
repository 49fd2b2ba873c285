"""Default rules on appliances: what they say by SNMP, in their shell, and by traps; and on the agents of a fleet."""

from __future__ import annotations

from hsm_agent.evaluate.rules import HOUR, MINUTE, Above, Below, Changes, Rule
from hsm_agent.model import Severity

RULES = (
    Rule(
        name="appliance",
        metrics=("hsm_operational",),
        condition=Below(critical=0.0),
        text="{where} says that it is not in service: applications that use it fail. First see its own console "
        "and log for mode and alarms, and route applications to another HSM.",
    ),
    Rule(
        name="appliance-part",
        metrics=("sensor_well", "hsm_battery_well"),
        condition=Below(warning=0.0),
        for_seconds=2 * MINUTE,
        text="The appliance says that {where} is not well ({metric} is 0); the next failure may stop the HSM, an "
        "empty battery may cost its keys. First see its console, then order the part.",
    ),
    Rule(
        name="temperature",
        metrics=("sensor_celsius", "cloudhsm_temperature_celsius"),
        condition=Above(warning=90.0, critical=105.0),
        hysteresis=3.0,
        for_seconds=2 * MINUTE,
        text="The temperature at {where} is {amount} (limit {limit}); above its limit the HSM shuts down or takes "
        "it for a tamper. First check the room's cooling and the appliance's fans.",
    ),
    Rule(
        name="temperature-own",
        metrics=("sensor_celsius",),
        condition=Above(critical="own"),
        hysteresis=3.0,
        for_seconds=2 * MINUTE,
        text="The temperature at {where} is {amount}, and {limit} is the sensor's own limit; beyond it the HSM shuts "
        "down or takes it for a tamper. First check the room's cooling and the fans.",
    ),
    Rule(
        name="appliance-cpu",
        metrics=("host_cpu_used_percent",),
        condition=Above(warning=90.0, critical=98.0),
        for_seconds=15 * MINUTE,
        text="{where} of the appliance is busy {amount} (limit {limit}) for a quarter of an hour: requests wait. "
        "First see its own list of processes; a service in a loop needs a restart, a real load another HSM.",
    ),
    Rule(
        name="appliance-memory",
        metrics=("host_memory_used_percent",),
        condition=Above(warning=90.0, critical=97.0),
        hysteresis=2.0,
        for_seconds=10 * MINUTE,
        text="The main memory of {where} is in use to {amount} (limit {limit}); when it is full, the appliance ends "
        "processes. First see which process of its system grows, and plan a restart.",
    ),
    Rule(
        name="appliance-disk",
        metrics=("host_disk_used_percent",),
        condition=Above(warning=85.0, critical=95.0),
        hysteresis=2.0,
        for_seconds=5 * MINUTE,
        text="The file system {where} of the appliance is full to {amount} (limit {limit}); without room it writes no "
        "logs, and some HSMs refuse to work. First fetch and remove old logs, then see what writes so much.",
    ),
    Rule(
        name="appliance-link",
        metrics=("host_link_up",),
        condition=Below(warning=0.0),
        for_seconds=2 * MINUTE,
        text="The network link {where} is down though the appliance wants it up: the next failure may cut it off. "
        "First check cable and switch port; a port that is not used should be switched off on the appliance.",
    ),
    Rule(
        name="appliance-trouble",
        metrics=("hsm_trouble",),
        condition=Above(warning=1.0),
        for_seconds=5 * MINUTE,
        text="The appliance {where} reports trouble of its own, whether or not it still signs. First see the codes: "
        "hsm-agent status, hsm_status_info, or its shell: status sysstat show.",
    ),
    Rule(
        name="partition-zeroized",
        metrics=("token_zeroized",),
        condition=Above(critical=1.0),
        text="Partition {where} was zeroized: its keys are gone from this HSM. First take it out of its HA "
        "group, find who did it, and restore from a backup.",
    ),
    Rule(
        name="audit-logging",
        metrics=("audit_logging_configured", "audit_export_working"),
        condition=Below(warning=0.0),
        for_seconds=5 * MINUTE,
        text="Audit logging of {where} is off or does not work: {metric} is {value}. Records are not made, or pile up "
        "until the HSM refuses all cryptography. First see audit show, then ask the auditor.",
    ),
    Rule(
        name="vendor-alarm",
        metrics=("vendor_alarm",),
        condition=Above(warning=1.0, critical=2.0),
        text="{where} reports {note}. First look at the appliance's own log and sensors; "
        "docs/sources/snmp_trap_listener.md says what each alarm means.",
    ),
    Rule(
        name="fleet-agent",
        metrics=("fleet_agent_up",),
        condition=Below(critical=0.0),
        text="Agent {resource} does not publish ({note}): if it does not run, nobody watches its HSMs. First see its "
        "host and its service, then whether it reaches etcd.",
    ),
    Rule(
        name="traps-refused",
        metrics=("traps_refused_total",),
        condition=Changes(severity=Severity.WARNING),
        clear_after_seconds=HOUR,
        text="Traps to {source} from {sender} are refused as not authentic ({reason}, {note}): an appliance may speak "
        "and not be heard. First see sender and reason in the agent's log, then compare secrets and engine ID.",
    ),
    Rule(
        name="traps-malformed",
        metrics=("traps_malformed_total",),
        condition=Changes(severity=Severity.WARNING),
        clear_after_seconds=HOUR,
        text="A trap to {source} from {sender} could not be read as a whole ({note}; authentic: {authentic}): what it "
        "said may be lost. First look at the appliance's log; if it is not authentic, at who else sends to this port.",
    ),
    Rule(
        name="traps-lost",
        metrics=("traps_lost_total",),
        condition=Changes(severity=Severity.WARNING),
        clear_after_seconds=HOUR,
        text="More traps came to {source} from {sender} than it could take, some are lost ({reason}, {note}): alarms "
        "of appliances may be missing or stale. First see which appliance sends so many, then what its own log says.",
    ),
)
