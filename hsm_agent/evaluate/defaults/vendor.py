"""On what appliances say by traps."""

from __future__ import annotations

from hsm_agent.evaluate.rules import HOUR, Above, Changes, Rule
from hsm_agent.model import Severity

RULES = (
    Rule(
        name="vendor-alarm",
        metrics=("vendor_alarm",),
        condition=Above(warning=1.0, critical=2.0),
        text="{where} reports {note}. First look at the appliance's own log and sensors; "
        "docs/sources/snmp_trap_listener.md says what each alarm means.",
    ),
    Rule(
        name="traps-refused",
        metrics=("traps_refused_total",),
        condition=Changes(severity=Severity.WARNING),
        clear_after=HOUR,
        text="Traps to {source} from {sender} are refused as not authentic ({reason}, {note}): an appliance may speak "
        "and not be heard. First see sender and reason in the agent's log, then compare secrets and engine ID.",
    ),
    Rule(
        name="traps-malformed",
        metrics=("traps_malformed_total",),
        condition=Changes(severity=Severity.WARNING),
        clear_after=HOUR,
        text="A trap to {source} from {sender} could not be read as a whole ({note}; authentic: {authentic}): what it "
        "said may be lost. First look at the appliance's log; if it is not authentic, at who else sends to this port.",
    ),
    Rule(
        name="traps-lost",
        metrics=("traps_lost_total",),
        condition=Changes(severity=Severity.WARNING),
        clear_after=HOUR,
        text="More traps came to {source} from {sender} than it could take, some are lost ({reason}, {note}): alarms "
        "of appliances may be missing or stale. First see which appliance sends so many, then what its own log says.",
    ),
)
