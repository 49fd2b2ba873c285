"""What to do first about an alarm of a default rule: for people who are woken by it.

One table for the status page, `hsm-agent status --watch` and docs/alarms.md, which a test holds to be the same. Words
between backquotes are typed as they stand.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.evaluate.messages import UNKNOWN, UNKNOWN_END

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_STEPS: dict[str, str] = {
    "token-memory": (
        "see which application leaves objects behind (`hsm-agent status`, then the application's own list of "
        "objects). Delete what is no longer needed, or enlarge the partition."
    ),
    "token-storage": (
        "look for keys no longer needed. An object store can be enlarged by its `capacity` only if the disk really "
        "has it."
    ),
    "token-sessions": (
        "find the client that holds most sessions (the HSM's own tools show it, the agent can't), restart it if it "
        "leaks."
    ),
    "session-leak": (
        "see which client was deployed or restarted last. A restart of it gains time; the fix is in the application."
    ),
    "object-count": (
        "see which application creates keys and never deletes them. Raise the level if so many objects are meant to "
        "be there."
    ),
    "storage-forecast": (
        "compare with what was planned: a migration looks like this too. Order space while there is time."
    ),
    "token-missing": (
        "see whether the slot still exists (`hsm-agent poll`) and what the HSM says: removed, unassigned, zeroized, "
        "or renamed? If it was meant: `hsm-agent alarms list`, then `hsm-agent alarms forget ID`."
    ),
    "token-unresponsive": "try an application that uses it, then the module's log and the network to the HSM.",
    "pin": (
        "find who tries, and stop it before the last try: an application with an old PIN after a change is the usual "
        "cause. A good login clears the count. Once it is locked, only the security officer can reset it, and only "
        "after whoever tries was stopped."
    ),
    "login-attempts": (
        "find who tries, and stop it: an application with an old password after a change is the usual cause."
    ),
    "role-locked": (
        "find and stop who tries, then have the security officer reset the role; resetting first only gives the next "
        "attempts away."
    ),
    "clock-offset": (
        "check the time of this host, then set the module's or the appliance's clock. An appliance that is off by "
        "whole hours may show its local time: see its page in sources/snmp.md."
    ),
    "appliance": (
        "see the appliance's own console and log for the mode and for alarms, and route applications to another HSM."
    ),
    "appliance-part": (
        "see the appliance's console for the part, then order it. Check the power cords of redundant supplies."
    ),
    "temperature": "check the room's cooling, then the appliance's fans and air filters.",
    "temperature-own": "check the room's cooling, then the appliance's fans and air filters.",
    "appliance-cpu": (
        "see the appliance's own list of processes. A service in a loop needs a restart; a real load needs another HSM."
    ),
    "appliance-memory": "see which process grows, and plan a restart of it.",
    "appliance-disk": (
        "fetch and remove old logs (Luna: `syslog tail`, `syslog cleanup`), then see what writes so much."
    ),
    "appliance-link": (
        "check the cable and the port of the switch. Switch off on the appliance what is not used, or narrow the "
        'rule: `{name: appliance-link, match: {resource: "eth*"}}`.'
    ),
    "audit-fill": (
        "check that its log drains: the configured path, free space there, the remote host. Then export by hand."
    ),
    "audit-time-to-full": (
        "check that its log drains: the configured path, free space there, the remote host. With less than an hour "
        "left, export by hand at once."
    ),
    "audit-not-draining": (
        "check the audit log's path, its free disk and the remote host. A module whose log is exported by hand or "
        "daily needs a longer time here."
    ),
    "operation-rate": (
        "ask the applications' own figures. The metric comes from a Luna, by `pkcs11` or by `snmp` (profile `luna`)."
    ),
    "firmware-changed": "ask whether an update was planned. If not, treat it as an incident.",
    "appliance-trouble": (
        "read the codes and what they mean in `hsm_status_info` (`hsm-agent status`, `/metrics`), or ask the shell: "
        "`status sysstat show`."
    ),
    "partition-zeroized": (
        "take the partition out of its HA group, so that no client is sent there. Find out who did it, and whether it"
        " was too many wrong logins of the partition's security officer. Restore from a backup only then."
    ),
    "audit-logging": "see `audit show` in the appliance's shell; ask the auditor whether that was meant.",
    "policy-changed": (
        "ask whether a change was planned. The agent's log names what changed; the HSM's audit log says who did it. "
        "If nobody did, treat it as an incident."
    ),
    "ha-member": "see `ha_member_up` in `hsm-agent poll` for which, then that HSM's network, power and log.",
    "tamper": "look at it on site. Do not clear the tamper before its cause is known; then its owner decides.",
    "certificate": (
        "see `certificate_info` for what it is, renew it, then reload what uses it, be it the agent: certificate.md."
    ),
    "crl": (
        "fetch the CA's new list: the agent reads it by itself within 10 seconds. If the alarm stays, `hsm-agent "
        "status` and the log say why the new list is refused. See that whatever fetches it each day still runs."
    ),
    "declared-date": "do what it stands for, then write the new date and reload: declared.md.",
    "declared-age": (
        "see whether the job ran and succeeded, or whether the person in charge did it; then enter the date, or see "
        "why the file was not written."
    ),
    "canary": (
        "read the last error in `hsm-agent status`, which names the step and the return value, then try an "
        "application; canary.md has the usual cases."
    ),
    "vendor-alarm": "look at the appliance's own log and sensors; snmp_trap_listener.md says what each alarm means.",
    "traps-refused": (
        "see sender and reason in the agent's log, then compare secrets and engine ID on both sides: "
        "snmp_trap_listener.md explains each reason."
    ),
    "traps-malformed": (
        "see `authentic` in the text: with `yes`, look at the appliance's own log at that time, then at its firmware:"
        " it sent what is no SNMP. With `authentic=no` anybody may have sent it: see in the agent's log where it came"
        " from, and who can reach the port. What strangers send neither hides nor ends what a device says: "
        "snmp_trap_listener.md."
    ),
    "traps-lost": "see in the agent's log which sender it was, then what that appliance's own log says.",
    "trail-chain": (
        "keep a copy of the file and its rotated set, see who was on that host, and compare with the log server's "
        "copy: audit_trail.md."
    ),
    "trail-gap": "fetch the log anew from where it is kept; if the gap is there too, ask AWS.",
    "trail-silent": "see whether applications work with the module at all, then the module's own log.",
    "trail-logins": "find the application and stop its retries: the next wrong PIN may lock the token.",
    "trail-pin-locked": (
        "find out who tried, with `hsm-agent audit dump --result CKR_PIN_LOCKED FILE`, then have the security officer"
        " reset the PIN."
    ),
    "trail-zeroize": "see who did it, and whether the cluster's other HSMs still hold the keys.",
    "trail-backup": "see the cluster's list of backups, and whether its HSMs are healthy.",
    "cloudhsm-unhealthy": (
        "see that the cluster has other HSMs and that applications use them, then the service's health page."
    ),
    "cloudhsm-capacity": "see which application has so many, then what can be closed or deleted.",
    "log-match": "read the lines around it; process_log.md says what each shipped pattern means.",
    "fleet-agent": (
        "see whether its host and its service run, then its own log. One that was taken away for good: delete its key, "
        "fleet.md says how, or `hsm-agent alarms forget ID`."
    ),
    "source-errors": (
        "read the last error in `hsm-agent status`: it names the call, the slot, the return value and what to check."
    ),
    "source-down": (
        "see whether the applications still work. If not: network, HSM. If they do: the agent's side, by the last "
        "error in `hsm-agent status`; then troubleshooting.md."
    ),
    "sink-down": (
        "check that the receiver runs and can be reached from this host; `hsm-agent status` says what the connection "
        "said."
    ),
    "spool-filling": (
        "see in `hsm-agent status` which sink does not accept. A receiver that is gone for good: take it out of "
        "`deliver` and send SIGHUP."
    ),
    "events-dropped": "mend the sink that does not accept; once it does, `hsm-agent resend --sink NAME`.",
    "pipeline-stalled": "restart the agent where systemd does not, and keep its log for the report: this is a bug.",
    "events-undelivered": (
        "read the receiver's own words in `hsm-agent spool list` and `hsm-agent spool show ID`; once it takes events "
        "again, `hsm-agent resend --sink NAME` tells it what is raised."
    ),
    "snmpv3-held": (
        "read the reason in the text: space and rights of the state directory, or the file that it names. A damaged "
        "file must come from a backup; if it is removed instead, every v3 receiver must be told the new engine ID."
    ),
    "publishing": (
        "read the reason in the text, then check that etcd runs and can be reached, and its user and certificate: "
        "etcd.md. Polls and notifications of this agent go on meanwhile."
    ),
    "spool-failed": "check space and health of the disk of the state directory. The agent takes it up again by itself.",
    "group-degraded": (
        "look at the etcd servers: `hsm-agent group status` has what each of them answered. Those that refuse or have "
        "no leader are to be started (`group_alone`); silent ones may be cut off, and our certificate or password may "
        "be refused (`group_isolated`). group.md says what each member does meanwhile, and how it ends: by itself."
    ),
    "group-trouble": (
        "read the reason in `hsm-agent group status`: a name that two agents have, a sink that the leader has and this "
        "one has not, another lease, or etcd's own words. troubleshooting.md says what to do."
    ),
    "group-member-down": (
        "see whether its host and its service run, then whether it reaches etcd. One that was taken away for good:"
        " `hsm-agent alarms forget ID` at those that stay."
    ),
    "group-member-unfit": (
        "read the last error in its own `hsm-agent status`: the way from its host to the HSM, its certificate or its"
        " module. Let it not lead meanwhile."
    ),
    "group-config": (
        "compare the `digest` that `hsm-agent check-config` prints at each member, bring the files to one, and reload"
        " them all."
    ),
    "group-clock": "look at `chronyc tracking` or `timedatectl` on both hosts. The one that is off others is wrong.",
}


UNKNOWN_FIRST = (
    "find out why there is no reading: the last error of the source in `hsm-agent status`, then `hsm-agent poll`."
)
"""What to do first where an alarm says that its reading is gone, whatever its rule."""
_MARK = re.compile(r"(?:^|(?<=[.;:!?)]) )First (?=\w)")
"""Where a rule's text turns from what is wrong to what to do."""
_LAST_FIELD = re.compile(r".*\}", re.DOTALL)


class Advice(NamedTuple):
    """The text of an alarm in two parts: what is wrong, and what to do first (empty where nobody has said)."""

    what: str
    first: str


def advice(rule: str, text: str, names: Iterable[str] = ()) -> Advice:
    """What an alarm of the rule says, and what to do first.

    A text that tells it in other words than the default rule's is the operator's own, and theirs counts. Words of an
    HSM or an appliance are not the operator's: what stands in `names`, or in a field of a default rule's text, is no
    advice, however it reads.
    """
    known = FIRST_STEPS.get(rule, "")
    if text.startswith(UNKNOWN) and text.endswith(UNKNOWN_END):
        return Advice(text, UNKNOWN_FIRST)
    end, step = _end_by_default(rule)
    if known and end and text.endswith(end):
        return Advice(text[: len(text) - len(step)].rstrip(" ;:"), known)
    own_words = text
    for name in sorted({name for name in names if name}, key=len, reverse=True):
        own_words = own_words.replace(name, "_" * len(name))
    found = _MARK.search(own_words)
    return Advice(text[: found.start()].rstrip(" ;:"), text[found.end() :]) if found else Advice(text, known)


@cache
def _end_by_default(rule: str) -> tuple[str, str]:
    """What stands after the last field of the default rule's text, and of that, from `First` on, what to do."""
    from hsm_agent.evaluate.defaults import DEFAULT_RULES  # noqa: PLC0415 - the table itself needs no rules

    end = _LAST_FIELD.sub("", next((each.text for each in DEFAULT_RULES if each.name == rule), ""))
    found = _MARK.search(end)
    return end, end[found.start() :] if found else ""
