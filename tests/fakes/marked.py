"""A present with a marker in every place where a label, a serial number or a firmware version can stand."""

from __future__ import annotations

from array import array
from dataclasses import replace

from hsm_agent.evaluate.state import Silence
from hsm_agent.evaluate.trends import Points
from hsm_agent.model import ActiveAlarm, KnownObject, Labels, Reading, Severity
from hsm_agent.serve.snapshot import Snapshot, snapshot
from hsm_agent.store import Store
from tests.fakes.groups import WELL
from tests.fakes.present import MONOTONIC, NOW, SPOOL, known_store, make_alarm, make_reading

LABELS = {
    "label": "MARK-label ä",
    "partition": "MARK-partition",
    "missing": "MARK-missing",
    "before the start": "MARK-known",
    "before": "MARK-renamed",
    "short": "Mk",
    "group": "MARK-group",
    "broken": "MARK\nbroken",
    "only in an error": "MARK-quoted",
    "of a silence": "MARK-sil*",
}
SERIALS = {
    "token": "77418529631",
    "HSM": "7741852",
    "member": "77418529888",
    "before the start": "SER-known",
    "nameless": "SER-nameless",
    "only in an error": "774185000",
}
FIRMWARE = {
    "token": "99.88.77",
    "before": "66.55.44",
    "only in a threshold": "66.55.43",
    "slot": "99.88.1",
    "known": "99.88.2",
    "HSM": "99.88.78",
}


def info(label: str, serial: str, firmware: str = FIRMWARE["token"]) -> Labels:
    return (("firmware", firmware), ("label", label), ("model", "K7"), ("serial", serial))


def _token(label: str, serial: str, resource: str) -> list[Reading]:
    made = [
        make_reading("token_present", 1, resource=resource),
        make_reading("token_info", 1, resource=resource, labels=info(label, serial)),
        make_reading("token_memory_private_used_percent", 81.0, resource=resource),
        make_reading("audit_used_percent", 50.0, resource=resource),
    ]
    return [replace(each, hsm=SERIALS["HSM"]) for each in made]


def readings() -> list[Reading]:
    label, quoted = LABELS["label"], f"line 7: '{LABELS['only in an error']}' is no row; {SERIALS['only in an error']}"
    firmware = (("version", FIRMWARE["HSM"]),)
    described = (("description", f"slot of {label}"), ("firmware", FIRMWARE["slot"]), ("slot_id", "3"))
    refused = make_reading("token_objects", None, resource=label)
    return [
        *_token(label, SERIALS["token"], label),
        *_token("", SERIALS["nameless"], SERIALS["nameless"]),
        *_token(LABELS["short"], "SER-short", LABELS["short"]),
        *_token(LABELS["broken"], "SER-broken", LABELS["broken"]),
        replace(refused, reason=f"{label} ({SERIALS['token']}): {quoted}", note=f"{label} said '{label}'"),
        make_reading("slot_info", 1, resource=label, labels=described),
        make_reading("hsm_firmware_info", 1, resource=label, labels=firmware),
        make_reading("token_storage_used_percent", 20.0, resource=LABELS["partition"]),
        make_reading("token_present", 0, resource=LABELS["missing"]),
        make_reading("ha_members_up", 1, resource=LABELS["group"]),
        make_reading("ha_member_up", 1, resource=LABELS["group"], labels=(("member", SERIALS["member"]),)),
        make_reading("custom_seen_total", 3, resource=LABELS["partition"], labels=(("where", f"near {label}"),)),
        make_reading("hsm_tampered", 0, resource=SERIALS["HSM"]),
        make_reading("sensor_celsius", 40, resource="fan 1"),
        make_reading("slot_info", 1, resource="slot 4", labels=(("slot_id", "4"),)),
        make_reading("source_up", 1, resource=""),
    ]


def _alarms() -> list[ActiveAlarm]:
    label = LABELS["label"]
    found = []
    for number, (resource, metric, text) in enumerate(
        [
            (label, "token_memory_private_used_percent", f"Token luna-a/{label} of HSM {SERIALS['HSM']} is full."),
            (LABELS["missing"], "token_present", f"Token {LABELS['missing']} is gone."),
            (SERIALS["HSM"], "hsm_tampered", f"HSM {SERIALS['HSM']}, read through {LABELS['short']}: tampered"),
            (
                "MARK-gone",
                "hsm_firmware_info",
                f"changed: version={FIRMWARE['before']} -> version={FIRMWARE['HSM']}. If no update was planned",
            ),
            ("x", "log_matches_total", f"line: '{LABELS['only in an error']}'"),
            (label, "token_info", "Something changed, in words without a name."),
            (
                LABELS["broken"],
                "token_objects",
                f"Unknown: object-count on luna-a/MARK broken: MARK\ufffdbroken (no {SERIALS['only in an error']})",
            ),
        ]
    ):
        unknown = text.startswith("Unknown")
        made = make_alarm(resource=resource, severity=Severity.INDETERMINATE if unknown else Severity.WARNING)
        labels = (("version", FIRMWARE["HSM"]),) if metric.endswith("_info") else ()
        event = replace(made.event, text=text, metric=metric, labels=labels, event_id=f"e{number}")
        if metric == "token_info":
            event = replace(event, threshold=f"firmware={FIRMWARE['only in a threshold']}, label={LABELS['before']}")
        series = ("luna-a", resource, metric, ())
        found.append(replace(made, series=series, event=event, alarm_id=f"a{number}"))
    return found


def marked_store() -> Store:
    """The store."""
    store = Store(agent_name="agent-1", started=NOW - 60, labels={"luna-a": (("note", f"with {LABELS['label']}"),)})
    base = known_store()
    store.sources = {
        "luna-a": replace(
            base.sources["soft"],
            name="luna-a",
            last_error=f"slot 3 ({LABELS['label']}): line 7: '{LABELS['only in an error']}', {SERIALS['only in an error']}",
        )
    }
    store.sinks = {"noc": replace(base.sinks["noc"], last_error=f"refused: {LABELS['label']} {SERIALS['token']}")}
    store.update(readings())
    store.set_alarms({(alarm.rule, alarm.series): alarm for alarm in _alarms()})
    identity = info(LABELS["before the start"], SERIALS["before the start"], FIRMWARE["known"])
    name = LABELS["before the start"]
    store.known["luna-a"] = {
        name: KnownObject(source="luna-a", resource=name, identity=identity, is_audited=True),
    }
    store.group = replace(WELL, problem=f"a state of {LABELS['label']} cannot be read")
    return store


def marked_snapshot() -> Snapshot:
    """The same for HTTP."""
    silence = Silence(
        silence_id="s1", until=NOW + 60, reason=f"because of {LABELS['label']}", by_uid=0, created=NOW - 10,
        resource=LABELS["of a silence"],
    )  # fmt: skip
    series = ("luna-a", LABELS["label"], "token_storage_used_percent", ())
    day = Points(array("d", [NOW - 7200, NOW - 3600]), array("d", [1.0, 2.0]))
    return snapshot(
        marked_store(),
        spool=replace(SPOOL, reason=f"no room for {LABELS['label']}"),
        silences=[silence],
        now=NOW,
        monotonic=MONOTONIC,
        histories={(series, 3600.0): day},
    )
