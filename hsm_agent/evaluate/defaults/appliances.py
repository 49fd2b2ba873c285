"""Of appliances: what they say of themselves."""

from __future__ import annotations

from hsm_agent.evaluate.rules import Above, Below, Rule

MINUTE = 60.0

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
        hold=2 * MINUTE,
        text="The appliance says that {where} is not well ({metric} is 0); the next failure may stop the HSM, an "
        "empty battery may cost its keys. First see its console, then order the part.",
    ),
    Rule(
        name="temperature",
        metrics=("sensor_celsius",),
        condition=Above(warning=90.0, critical=105.0),
        hysteresis=3.0,
        hold=2 * MINUTE,
        text="The temperature at {where} is {amount} (limit {limit}); above its limit the HSM shuts down or takes "
        "it for a tamper. First check the room's cooling and the appliance's fans.",
    ),
    Rule(
        name="temperature-own",
        metrics=("sensor_celsius",),
        condition=Above(critical="own"),
        hysteresis=3.0,
        hold=2 * MINUTE,
        text="The temperature at {where} is {amount}, and {limit} is the sensor's own limit; beyond it the HSM shuts "
        "down or takes it for a tamper. First check the room's cooling and the fans.",
    ),
)
