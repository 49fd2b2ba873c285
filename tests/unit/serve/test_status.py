from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.model import KnownObject, Severity, SinkState, SourceState
from hsm_agent.serve.status import json_bytes, status
from hsm_agent.version import VERSION
from tests.fakes.groups import WELL
from tests.fakes.present import NOW, STARTED, known_snapshot, known_store, make_alarm, make_reading, snapshot_of

if TYPE_CHECKING:
    from hsm_agent.store import Store


def document(store: Store) -> dict[str, Any]:
    """The document as a strict reader gets it."""
    loaded: dict[str, Any] = json.loads(json.dumps(status(snapshot_of(store)), allow_nan=False))
    return loaded


def token(store: Store, resource: str = "payments") -> dict[str, Any]:
    (row,) = (row for row in document(store)["tokens"] if row["resource"] == resource)
    found: dict[str, Any] = row
    return found


def test_the_document_has_its_parts() -> None:
    assert list(document(known_store())) == [
        "agent",
        "sources",
        "tokens",
        "audit_stores",
        "alarms",
        "silences",
        "sinks",
        "spool",
        "readings",
    ]


def test_the_group_is_there_where_the_agent_is_in_one() -> None:
    store = known_store()
    store.group = WELL

    assert document(store)["group"]["leader"] == "a"
    assert "group" not in document(known_store())


def test_the_agent_tells_who_it_is_and_how_bad_it_is() -> None:
    assert document(known_store())["agent"] == {
        "name": "hsm-monitor-1",
        "version": VERSION,
        "started": STARTED,
        "configured": STARTED,
        "now": NOW,
        "uptime_seconds": 3600.0,
        "polls": 120,
        "labels": {"environment": "production"},
        "worst_severity": "warning",
    }


def test_nothing_raised_is_cleared() -> None:
    store = known_store()
    store.set_alarms({})

    assert document(store)["agent"]["worst_severity"] == "cleared"


def test_the_worst_alarm_speaks_for_all() -> None:
    store = known_store()
    for severity, resource in ((Severity.CRITICAL, "a"), (Severity.INDETERMINATE, "b")):
        alarm = make_alarm(severity=severity, resource=resource)
        store.set_alarms(store.alarms | {(alarm.rule, alarm.series): alarm})

    assert document(store)["agent"]["worst_severity"] == "critical"
    assert token(store)["worst_severity"] == "warning"


def test_sources_have_their_age_at_this_moment() -> None:
    sources = {row["name"]: row for row in document(known_store())["sources"]}

    assert sources["luna-a"]["status"] == "up"
    assert sources["luna-a"]["age_seconds"] == 12.5
    assert sources["soft"]["status"] == "down"
    assert sources["soft"]["age_seconds"] is None
    assert sources["soft"]["last_error"] == "the worker gave no answer within 10 s"


def test_an_infinite_reading_is_text_and_has_no_reason() -> None:
    rows = {row["metric"]: row for row in document(known_store())["readings"] if row["source"] == "luna-a"}

    assert rows["audit_seconds_to_full"]["value"] == "inf"
    assert rows["audit_seconds_to_full"]["text"] == "inf"
    assert rows["audit_seconds_to_full"]["reason"] == ""


def test_an_unavailable_reading_is_null_with_a_reason_and_no_text() -> None:
    rows = {row["metric"]: row for row in document(known_store())["readings"] if row["source"] == "luna-a"}

    assert rows["token_sessions"]["value"] is None
    assert rows["token_sessions"]["text"] == ""
    assert rows["token_sessions"]["reason"] == "CKR_DEVICE_ERROR from C_GetTokenInfo"


def test_a_reading_tells_its_unit_and_labels() -> None:
    rows = {row["metric"]: row for row in document(known_store())["readings"] if row["source"] == "luna-a"}

    assert rows["token_memory_private_used_percent"]["unit"] == "percent"
    assert rows["token_info"]["labels"]["serial"] == "1234567890"


def test_a_token_is_summed_up() -> None:
    store = known_store()
    store.update([make_reading("token_pin_locked", 0), make_reading("token_pin_count_low", 1)])
    row = token(store)

    assert (row["label"], row["serial"], row["status"]) == ("payments", "1234567890", "present")
    assert row["memory_used_percent"] == 81.25
    assert row["sessions"] is None
    assert row["pin_status"] == "count_low"
    assert row["so_pin_status"] == "unknown"


@pytest.mark.parametrize(
    ("present", "initialized", "info", "expected"),
    [
        pytest.param(1, 1, 1, "present", id="well"),
        pytest.param(1, None, 1, "present", id="initialisation not known"),
        pytest.param(1, 0, 1, "uninitialized", id="not initialised"),
        pytest.param(0, None, None, "absent", id="absent"),
        pytest.param(None, None, None, "failed", id="slot does not answer"),
        pytest.param(1, None, None, "failed", id="token does not answer"),
    ],
)
def test_a_token_has_one_status(present: int | None, initialized: int | None, info: int | None, expected: str) -> None:
    store = known_store()
    store.forget_source("luna-a")
    store.update(
        [
            make_reading("token_present", present),
            make_reading("token_initialized", initialized),
            make_reading("token_info", info),
        ]
    )

    assert token(store)["status"] == expected


def test_while_a_source_is_down_its_tokens_are_unknown() -> None:
    store = known_store()
    store.sources["luna-a"] = replace(store.sources["luna-a"], state=SourceState.DOWN)

    assert token(store)["status"] == "unknown"


def test_alarms_silences_sinks_and_spool_are_told() -> None:
    told = document(known_store())

    assert told["alarms"][0]["rule"] == "token-memory"
    assert told["alarms"][0]["since"] == NOW - 60
    assert told["silences"][0] == {
        "id": "s1",
        "source": "soft",
        "resource": "*",
        "rule": "*",
        "created": NOW - 100,
        "until": NOW + 7200,
        "by_uid": 0,
        "reason": "firmware update",
    }
    sinks = {row["name"]: row for row in told["sinks"]}
    assert (sinks["siem"]["status"], sinks["siem"]["guarantee"]) == ("up", "at least once")
    assert sinks["siem"]["failing_seconds"] is None
    assert sinks["noc"]["failing_seconds"] == 90.0
    assert told["spool"]["sinks"]["noc"] == {"queued": 2, "dead_letters": 1, "dropped_total": 0}


@pytest.mark.parametrize(
    ("state", "shown"), [(SinkState.UP, ""), (SinkState.REFUSED, "500"), (SinkState.RETRYING, "500")]
)
def test_an_old_error_does_not_stand_beside_up(state: SinkState, shown: str) -> None:
    store = known_store()
    store.sinks["siem"] = replace(store.sinks["siem"], state=state, last_error="500")

    sinks = {row["name"]: row for row in document(store)["sinks"]}

    assert sinks["siem"]["last_error"] == shown


@pytest.mark.parametrize(("value", "text"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")])
def test_no_number_makes_the_document_illegal(value: float, text: str) -> None:
    store = known_store()
    store.update([make_reading("token_memory_private_used_percent", value)])

    assert token(store)["memory_used_percent"] == text


def test_the_function_leaves_the_snapshot_alone() -> None:
    present = known_snapshot()

    assert status(present) == status(present)


def test_pieces_of_json_are_one_strict_document_on_one_line() -> None:
    document = {"ok": True, "näme": 'a "b"\n', "rows": [{"value": 1.5}, {"value": None}], "none": [], "sub": {"a": [1]}}

    assert json.loads(json_bytes(document)) == document
    assert json_bytes(document) == json.dumps(document).encode()
    assert json_bytes({}) == b"{}"


def test_what_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"rows": [float("nan")]})


def test_a_token_that_was_there_before_the_start_is_unknown_until_it_is_read() -> None:
    store = known_store()
    was = KnownObject(source="luna-a", resource="signing", identity=(("label", "signing"), ("serial", "7")))
    again = KnownObject(source="luna-a", resource="payments", identity=())
    trail = KnownObject(source="luna-a", resource="audit.jsonl", is_audited=True)
    before = document(store)["tokens"]

    store.known = {"luna-a": {one.resource: one for one in (was, again, trail)}}

    assert document(store)["tokens"][:-1] == before
    row = token(store, "signing")
    assert (row["status"], row["serial"], row["sessions"]) == ("unknown", "7", None)


def test_what_a_token_was_called_before_cannot_control_a_terminal() -> None:
    alarm = make_alarm()
    changed = replace(alarm, event=replace(alarm.event, threshold="label=\x1b[2Jpayments\u202e"))

    entry: Any = status(replace(known_snapshot(), alarms=(changed,)))["alarms"]

    assert entry[0]["threshold"].isprintable()
