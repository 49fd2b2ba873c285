"""Recordings of appliances that may be shown to others."""

from __future__ import annotations

import json

from hsm_agent.collect.snmp.parse import ApplianceAnswers, ApplianceMemory, parse
from hsm_agent.collect.snmp.profile import profile
from hsm_agent.collect.snmp.source import masked, replayed
from hsm_agent.wire.snmp.ber import Undecodable

ENTRY = (1, 3, 6, 1, 4, 1, 3159, 1, 2, 1)
FETCHED = ApplianceAnswers(
    values={(1, 3, 6, 1, 4, 1, 3159, 1, 1, 2, 0): b"CSLAN77 b", (1, 3, 6, 1, 4, 1, 3159, 1, 1, 5, 0): 12},
    rows={
        ENTRY: {(1,): {(2,): b"PCI:0", (3,): b"OPERATIONAL", (5,): 41, (9,): b"535000", (4,): (1, 3, 6)}},
        (1, 3, 9): {(3, 53, 51, 53): {(1,): b"keys"}, (3, 53, 51, 54): {(1,): b"OK"}},
    },
    failed={(1, 3, 7): "no answer"},
)


def test_labels_and_serials_are_masked_and_states_are_not() -> None:
    assert masked(FETCHED) == {
        "values": {"1.3.6.1.4.1.3159.1.1.2.0": "xxxxx99 x", "1.3.6.1.4.1.3159.1.1.5.0": 12},
        "rows": {
            "1.3.6.1.4.1.3159.1.2.1": {
                "1": {"2": "xxx:9", "3": "OPERATIONAL", "5": 41, "9": "999999", "4": {"oid": "1.3.6"}}
            },
            "1.3.9": {"1": {"1": "xxxx"}, "2": {"1": "OK"}},
        },
        "failed": {"1.3.7": "no answer"},
    }


def test_a_recording_can_be_replayed() -> None:
    recorded = json.loads(json.dumps(masked(FETCHED)))

    again = replayed(recorded)
    found = parse(again, (profile("utimaco"),), ApplianceMemory(), source="a", now=0.0)

    assert masked(again) == recorded
    shown = {(each.resource, each.metric): each.value for each in found.readings}
    assert shown["xxx:9", "hsm_operational"] == 1
    assert shown["", "hsm_load_percent"] == 12


def test_what_could_not_be_decoded_is_recorded_without_its_octets() -> None:
    answers = ApplianceAnswers(values={(1, 3): Undecodable("IpAddress of 8 octets: 0102030405060708")}, rows={})

    recorded = masked(answers)

    assert recorded["values"] == {"1.3": {"undecodable": "IpAddress of 8 octets"}}
    assert masked(replayed(recorded)) == recorded
