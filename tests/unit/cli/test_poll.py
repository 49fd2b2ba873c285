"""What `poll` gives besides tables: JSON and records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hsm_agent.cli.poll import Polled, as_json, record
from hsm_agent.collect.base import Poll
from hsm_agent.model import Reading

if TYPE_CHECKING:
    from pathlib import Path

READINGS = (
    Reading(source="a", resource="pay", metric="token_memory_private_free_bytes", value=1234567, time=0.0),
    Reading(source="a", resource="pay", metric="token_sessions", value=None, reason="no limit [none]", time=0.0),
    Reading(source="a", resource="pay", metric="audit_seconds_to_full", value=float("inf"), time=0.0),
    Reading(source="a", resource="pay", metric="token_info", value=1, labels=(("label", "pay"),), time=0.0),
)
POLLED = Polled(
    source="a",
    kind="pkcs11",
    poll=Poll(
        readings=READINGS, next_in_seconds=1.0, errors=("slot 3: gone",), calls={"C_GetTokenInfo": 2}, raw={"slots": []}
    ),
    failure="",
    calls_a_day={"C_GetTokenInfo": 1440.0, "C_Initialize": 144.0},
)
FAILED = Polled(source="b", kind="pkcs11", poll=None, failure="no module", calls_a_day={})


def test_json_says_inf_and_reasons() -> None:
    text = as_json([POLLED, FAILED])

    assert '"value": "inf"' in text
    assert '"value": null' in text
    assert '"reason": "no limit [none]"' in text
    assert '"failures": [\n      "no module"\n    ]' in text


def test_json_gives_a_reading_whole_and_stays_one_document_when_it_explains() -> None:
    plain, explained = (json.loads(as_json([POLLED, FAILED], explain=explain)) for explain in (False, True))

    assert plain[0]["readings"][0] == {
        "source": "a",
        "resource": "pay",
        "metric": "token_memory_private_free_bytes",
        "labels": {},
        "value": 1234567,
        "unit": "bytes",
        "reason": "",
        "time": 0.0,
    }
    assert "calls" not in plain[0]
    assert explained[0]["calls"] == {"C_GetTokenInfo": 2}
    assert explained[0]["calls_a_day"] == {"C_GetTokenInfo": 1440.0, "C_Initialize": 144.0}
    assert explained[1]["calls"] == {}


def test_a_record_is_a_file_for_each_source_that_answered(tmp_path: Path) -> None:
    (file,) = record([POLLED, FAILED], tmp_path / "new")

    assert file.name == "a.json"
    assert file.read_text() == '{\n "slots": []\n}\n'
