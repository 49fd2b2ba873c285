"""Of certificates, declared dates and the canary."""

from __future__ import annotations

from hsm_agent.evaluate.rules import DAY, HOUR, Above, Below, Rule

RULES = (
    Rule(
        name="certificate",
        metrics=("certificate_seconds_left",),
        condition=Below(warning=30 * DAY, critical=7 * DAY),
        hysteresis=HOUR,
        text="The certificate of {where} ends in {amount} (limit {limit}; below 0 it has); then TLS with it fails. "
        "First see certificate_info for what it is, renew it, then reload what uses it.",
    ),
    Rule(
        name="declared-date",
        metrics=("declared_seconds_left",),
        condition=Below(warning=30 * DAY, critical=7 * DAY),
        hysteresis=HOUR,
        text="The date {where} is {amount} away (limit {limit}; below 0 it is histories). First do what it stands for, "
        "then write the new date into the agent's configuration and reload it.",
    ),
    Rule(
        name="declared-age",
        metrics=("declared_age_seconds",),
        condition=Above(warning="own"),
        text="{where} was last done {amount} ago (limit {limit}). First see whether the job or the person in charge "
        "still does it; if it was done, enter the date or see why the file was not written.",
    ),
    Rule(
        name="canary",
        metrics=("canary_ok",),
        condition=Below(critical=0.0),
        for_seconds=30.0,
        text="The canary cannot sign with its key on {where}: applications may well fail too. First read the last "
        "error in hsm-agent status (it names the step and the code), then try an application.",
    ),
)
