"""From readings, alarms and sinks to rows: what is shown, what is empty, what is absent, what is unknown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hsm_agent.metrics.tables import UNVERIFIABLE
from hsm_agent.model import (
    GroupRole,
    Guarantee,
    KnownObject,
    MemberStatus,
    Reading,
    Severity,
    SinkState,
    SinkStatus,
    SourceState,
    SourceStatus,
)
from hsm_agent.serve.snmp import rows as snmp_rows
from hsm_agent.serve.snmp.rows import Row, rows_of_source
from hsm_agent.wire.snmp import mib
from tests.fakes.snmp_present import LUNA, STARTED, alarm, payments, reading


def shown(row: Row) -> dict[str, mib.CellValue]:
    """The cells that have a value, by column without the table's name."""
    columns = zip(row.table.columns, row.cells, strict=True)
    return {column.name.removeprefix(row.table.name): value for column, value in columns if value is not None}


def rows(readings: list[Reading], table: mib.Table, status: SourceStatus | None = None) -> list[Row]:
    return [row for row in rows_of_source("luna-a", status, readings, {}) if row.table is table]


def token(*readings: Reading, status: SourceStatus | None = None) -> dict[str, mib.CellValue]:
    (row,) = rows(list(readings), mib.TOKEN, status)
    return shown(row)


def test_token_row_gathers_what_is_known_of_a_token() -> None:
    assert token(*payments()) == {
        "Source": "luna-a",
        "Label": "payments",
        "Serial": "1234567890",
        "Manufacturer": "Zürich Secure",
        "Model": "Luna K7",
        "Firmware": "7.4",
        "Hardware": "0.1",
        "SlotId": 3,
        "Status": 2,
        "PrivateMemoryTotal": 6_000_000_000,
        "PrivateMemoryFree": 1_125_000_000,
        "PrivateMemoryUsedPercent": 81.25,
        "Sessions": 12,
        "PinStatus": 3,
        "SoPinStatus": 2,
        "Resource": "payments",
        "Name": "payments",
    }


def test_every_number_of_a_token_has_its_column() -> None:
    names = {
        "PrivateMemoryTotal": "token_memory_private_total_bytes",
        "PrivateMemoryFree": "token_memory_private_free_bytes",
        "PrivateMemoryUsedPercent": "token_memory_private_used_percent",
        "PublicMemoryTotal": "token_memory_public_total_bytes",
        "PublicMemoryFree": "token_memory_public_free_bytes",
        "PublicMemoryUsedPercent": "token_memory_public_used_percent",
        "Sessions": "token_sessions",
        "SessionsMax": "token_sessions_max",
        "SessionsUsedPercent": "token_sessions_used_percent",
        "RwSessions": "token_rw_sessions",
        "RwSessionsMax": "token_rw_sessions_max",
        "Objects": "token_objects",
        "StorageTotal": "token_storage_total_bytes",
        "StorageUsed": "token_storage_used_bytes",
        "StorageUsedPercent": "token_storage_used_percent",
    }

    values = token(
        reading("token_present", 1),
        *(reading(metric, number) for number, metric in enumerate(names.values(), 11)),
    )

    assert {name: values[name] for name in names} == {name: number for number, name in enumerate(names, 11)}


@pytest.mark.parametrize(
    ("readings", "status"),
    [
        pytest.param([reading("token_present", 1), reading("token_initialized", 1)], 2, id="present"),
        pytest.param([reading("token_present", 0), reading("token_initialized", 1)], 3, id="absent"),
        pytest.param([reading("token_present", 1), reading("token_initialized", 0)], 4, id="uninitialized"),
        pytest.param([reading("token_initialized", 0)], 4, id="uninitialized and nameless"),
        pytest.param([reading("token_present", None)], 5, id="presence unavailable"),
        pytest.param([reading("token_present", 1), reading("token_info", None)], 5, id="there and unreadable"),
    ],
)
def test_token_status(readings: list[Reading], status: int) -> None:
    assert token(*readings)["Status"] == status


def test_token_of_a_source_that_is_down_is_unknown() -> None:
    down = SourceStatus(name="luna-a", kind="pkcs11", every_seconds=60, state=SourceState.DOWN)

    values = token(*payments(), status=down)

    assert values["Status"] == 1
    assert values["Sessions"] == 12


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        pytest.param({}, 1, id="no flag known"),
        pytest.param({"count_low": None, "locked": None}, 1, id="flags unavailable"),
        pytest.param({"count_low": 0, "final_try": 0, "locked": 0}, 2, id="ok"),
        pytest.param({"count_low": 1, "final_try": 0, "locked": 0}, 3, id="count low"),
        pytest.param({"count_low": 1, "final_try": 1, "locked": 0}, 4, id="final try"),
        pytest.param({"count_low": 1, "final_try": 1, "locked": 1}, 5, id="locked"),
    ],
)
@pytest.mark.parametrize(("prefix", "column"), [("token_pin", "PinStatus"), ("token_so_pin", "SoPinStatus")])
def test_pin_status_is_the_worst_flag(prefix: str, column: str, flags: dict[str, float | None], status: int) -> None:
    readings = [reading(f"{prefix}_{name}", value) for name, value in flags.items()]

    assert token(reading("token_present", 1), *readings)[column] == status


@pytest.mark.parametrize("slot", ["4294967296", "-1", "", "three", "\u0661", "9" * 5000])
def test_slot_number_that_the_mib_cannot_hold_is_absent(slot: str) -> None:
    assert "SlotId" not in token(reading("token_present", 1), reading("slot_info", 1, labels=(("slot_id", slot),)))


def test_texts_of_a_token_are_empty_where_it_has_none_and_its_name_is_the_resource_then() -> None:
    labels = (("label", ""), ("serial", "7"))

    values = token(reading("token_present", 1, resource="7"), reading("token_info", 1, resource="7", labels=labels))

    assert {name: value for name, value in values.items() if isinstance(value, str)} == {
        "Source": "luna-a",
        "Label": "",
        "Serial": "7",
        "Manufacturer": "",
        "Model": "",
        "Firmware": "",
        "Hardware": "",
        "Resource": "7",
        "Name": "7",
    }


def test_the_second_token_of_a_label_has_it_as_its_name_and_a_resource_of_its_own() -> None:
    labels = (("label", "payments"), ("serial", "7"))

    values = token(reading("token_present", 1, resource="7"), reading("token_info", 1, resource="7", labels=labels))

    assert (values["Resource"], values["Name"]) == ("7", "payments")


def test_a_token_that_could_never_be_read_has_the_name_it_is_watched_under() -> None:
    values = token(reading("token_present", 0, resource="backup"))

    assert {name: value for name, value in values.items() if value != ""} == {
        "Source": "luna-a",
        "Label": "backup",
        "Status": 3,
        "PinStatus": 1,
        "SoPinStatus": 1,
        "Resource": "backup",
        "Name": "backup",
    }


PARTITION = [
    reading("token_activated", 1, resource="keys"),
    reading("token_storage_used_percent", 50.0, resource="keys"),
    reading("token_info", 1, resource="keys", labels=(("label", "keys"), ("serial", "1238700701500"))),
]


def test_a_partition_that_an_appliance_tells_of_is_a_token() -> None:
    values = token(*PARTITION)

    assert {name: value for name, value in values.items() if value != ""} == {
        "Source": "luna-a",
        "Label": "keys",
        "Serial": "1238700701500",
        "Status": 2,
        "StorageUsedPercent": 50.0,
        "PinStatus": 1,
        "SoPinStatus": 1,
        "Resource": "keys",
        "Name": "keys",
    }


def test_a_partition_of_which_nothing_is_told_any_more_is_unknown() -> None:
    assert token(*(replace(each, value=None) for each in PARTITION))["Status"] == 1


def test_attempts_left_at_an_hsm_make_no_token_of_it() -> None:
    attempts = reading("token_login_attempts_left", 3, resource="hsm-a", labels=(("role", "so"),))

    assert rows([attempts, reading("hsm_tampered", 0, resource="hsm-a")], mib.TOKEN) == []


def test_the_store_that_several_tokens_share_is_no_token() -> None:
    assert rows([reading("token_storage_used_percent", 50.0, resource="")], mib.TOKEN) == []


def known_rows(readings: list[Reading], *known: KnownObject) -> dict[tuple[str, str], dict[str, mib.CellValue]]:
    found = rows_of_source("luna-a", None, readings, {}, known)
    return {(row.table.name, row.owner[1]): shown(row) for row in found if row.table is not mib.READING}


def test_what_was_there_before_the_start_has_its_rows_until_it_is_read() -> None:
    was = KnownObject(source="luna-a", resource="payments", identity=LUNA, is_audited=True)

    found = known_rows([], was)

    assert found["hsmToken", "payments"] == {
        "Source": "luna-a",
        "Label": "payments",
        "Serial": "1234567890",
        "Manufacturer": "Zürich Secure",
        "Model": "Luna K7",
        "Firmware": "7.4",
        "Hardware": "0.1",
        "Status": 1,
        "PinStatus": 1,
        "SoPinStatus": 1,
        "Resource": "payments",
        "Name": "payments",
    }
    assert found["hsmAudit", "payments"] == {"Source": "luna-a", "Resource": "payments", "Chain": 1}


def test_what_is_read_of_it_takes_the_place_of_what_was_known() -> None:
    was = KnownObject(source="luna-a", resource="payments", identity=LUNA, is_audited=True)

    assert known_rows(payments(), was) == known_rows(payments())
    assert known_rows([reading("audit_records", 5)], was)["hsmToken", "payments"]["Status"] == 1


def test_what_was_no_token_becomes_none() -> None:
    was = KnownObject(source="luna-a", resource="audit.jsonl", is_audited=True)

    assert known_rows([], was).keys() == {("hsmAudit", "audit.jsonl")}


def test_slot_without_a_token_is_no_row() -> None:
    assert rows([reading("slot_info", 1, resource="slot 4")], mib.TOKEN) == []


def trail(*readings: Reading) -> dict[str, mib.CellValue]:
    (row,) = rows([replace(each, resource="audit.jsonl") for each in readings], mib.AUDIT)
    return shown(row)


def events(operation: str, result: str, number: float | None) -> Reading:
    return reading("trail_events_total", number, labels=(("operation", operation), ("result", result)))


def test_a_trail_is_a_row_of_the_audit_table_with_its_events_and_failures_summed() -> None:
    assert trail(
        reading("trail_chain_intact", 1),
        events("Login", "SUCCESS", 5),
        events("Login", "CKR_PIN_INCORRECT", 2),
        events("Sign", "SUCCESS", 2**40),
        events("other", "other", 1),
        events("Logout", "CKR_DEVICE_ERROR", None),
    ) == {"Source": "luna-a", "Resource": "audit.jsonl", "Chain": 2, "Events": 2**40 + 8, "Failures": 3}


@pytest.mark.parametrize(
    ("chain", "state"),
    [
        pytest.param(reading("trail_chain_intact", 1), 2, id="intact"),
        pytest.param(reading("trail_chain_intact", 0), 3, id="broken"),
        pytest.param(
            replace(reading("trail_chain_intact", None), reason=f"{UNVERIFIABLE}: line 1 has format_version 1"),
            4,
            id="unverifiable",
        ),
        pytest.param(replace(reading("trail_chain_intact", None), reason="the file is not there yet"), 1, id="no file"),
    ],
)
def test_the_state_of_a_chain(chain: Reading, state: int) -> None:
    assert trail(chain) == {"Source": "luna-a", "Resource": "audit.jsonl", "Chain": state}


def test_a_trail_without_hashes_has_an_unknown_chain_and_its_counts() -> None:
    values = trail(events("CN_LOGIN", "SUCCESS", 1), events("CN_LOGIN", "RET_USER_LOGIN_FAILURE", 1))

    assert (values["Chain"], values["Events"], values["Failures"]) == (1, 2, 1)


def test_a_trail_is_no_token() -> None:
    assert not rows([reading("trail_chain_intact", 1), events("Login", "SUCCESS", 1)], mib.TOKEN)


def test_audit_store_that_is_not_filling_says_so_in_numbers() -> None:
    (row,) = rows(payments(), mib.AUDIT)

    assert row.key == ("luna-a", "payments")
    assert shown(row) == {
        "Source": "luna-a",
        "Resource": "payments",
        "Records": 99060,
        "Capacity": 198120,
        "UsedPercent": 50.0,
        "SecondsToFull": 4294967295,
        "Chain": 1,
        "Filling": False,
    }


@pytest.mark.parametrize(
    ("seconds", "shown_seconds", "filling"),
    [
        pytest.param(3600.5, 3600.5, True, id="filling"),
        pytest.param(math.inf, 4294967295, False, id="not filling"),
        pytest.param(None, None, None, id="unknown"),
        pytest.param(math.nan, None, None, id="no number"),
    ],
)
def test_time_to_full_and_whether_a_store_fills(
    seconds: float | None, shown_seconds: float | None, *, filling: bool | None
) -> None:
    (row,) = rows([reading("audit_records", 5), reading("audit_seconds_to_full", seconds)], mib.AUDIT)

    assert (shown(row).get("SecondsToFull"), shown(row).get("Filling")) == (shown_seconds, filling)


def test_reading_row_has_the_value_as_text_and_its_unit() -> None:
    row = snmp_rows.reading_row(reading("token_memory_private_used_percent", 81.25), Severity.WARNING)

    assert row.key == ("luna-a", "payments", "token_memory_private_used_percent")
    assert shown(row) == {
        "Source": "luna-a",
        "Resource": "payments",
        "Metric": "token_memory_private_used_percent",
        "Value": "81.25",
        "Unit": "percent",
        "Severity": 6,
        "AgeSeconds": STARTED + 3570,
        "Labels": "",
    }


def test_unavailable_reading_has_no_value() -> None:
    row = snmp_rows.reading_row(reading("token_sessions", None), Severity.CLEARED)

    assert "Value" not in shown(row)
    assert shown(row)["Severity"] == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.inf, "4294967295"), (-math.inf, None), (math.nan, None), (0, "0"), (1e-5, "0.00001"), (2.0**70, str(2**70))],
)
def test_value_of_a_reading_is_decimal_text_or_absent(value: float, text: str | None) -> None:
    row = snmp_rows.reading_row(reading("audit_seconds_to_full", value), Severity.CLEARED)

    assert shown(row).get("Value") == text


def test_value_of_an_alarm_is_decimal_text_too() -> None:
    one = alarm()

    row = snmp_rows.active_row(replace(one, event=replace(one.event, value="inf", metric="audit_seconds_to_full")))

    assert shown(row)["Value"] == "4294967295"


def test_every_row_has_all_its_texts() -> None:
    status = SourceStatus(name="luna-a", kind="pkcs11", every_seconds=60)
    nameless = replace(alarm().event, value="", threshold="", text="")
    found = [
        *rows_of_source("luna-a", status, [*payments(), reading("token_present", 1, resource="slot 4")], {}),
        snmp_rows.active_row(replace(alarm(), event=nameless, series=("luna-a", "", "", ()))),
        snmp_rows.sink_row(SinkStatus(name="noc", kind="snmp", guarantee=Guarantee.BEST_EFFORT)),
        snmp_rows.member_row(MemberStatus(name="b", role=GroupRole.STANDBY, is_up=True, seconds_since_seen=0.0)),
    ]

    missing = {
        column.name
        for row in found
        for column, value in zip(row.table.columns, row.cells, strict=True)
        if column.syntax is mib.Syntax.TEXT and not isinstance(value, str)
    }

    assert {row.table.name for row in found} == {table.name for table in mib.TABLES}
    assert missing == {"hsmReadingValue"}


def test_labels_tell_series_apart_unless_they_are_the_content() -> None:
    labels = (("result", "failure"),)

    counted = snmp_rows.reading_row(reading("hsm_requests_total", 2, labels=labels), Severity.CLEARED)
    info = snmp_rows.reading_row(reading("token_info", 1, labels=labels), Severity.CLEARED)

    assert counted.key == ("luna-a", "payments", "hsm_requests_total", "result", "failure")
    assert info.key == ("luna-a", "payments", "token_info")
    assert shown(counted)["Labels"] == shown(info)["Labels"] == "result=failure"


def test_reading_shows_the_worst_severity_raised_on_it() -> None:
    alarms = [alarm(), alarm(rule="other", severity=Severity.CRITICAL), alarm(rule="third", severity=Severity.WARNING)]

    assert snmp_rows.worst_severities(alarms) == {alarms[0].series: Severity.CRITICAL}


def test_active_row_shows_the_alarm() -> None:
    row = snmp_rows.active_row(replace(alarm(), silenced=True))

    assert row.key == ("token-memory", "luna-a", "payments", "token_memory_private_used_percent")
    assert shown(row) == {
        "EventId": "3f0e8f3e-0000-4000-8000-000000000001",
        "Severity": 6,
        "Source": "luna-a",
        "Resource": "payments",
        "Metric": "token_memory_private_used_percent",
        "Value": "81.25",
        "Threshold": "75",
        "Rule": "token-memory",
        "Text": "token payments: 81.25 % of private memory used",
        "Since": STARTED + 3540,
        "AlarmId": "aaaaaaaa-0000-4000-8000-000000000001",
        "Silenced": True,
    }


def test_source_row_before_the_first_poll_has_no_times() -> None:
    row = snmp_rows.source_row(SourceStatus(name="luna-a", kind="pkcs11", every_seconds=60))

    assert shown(row) == {"Name": "luna-a", "Kind": "pkcs11", "Status": 1, "Failures": 0, "LastError": ""}


def test_source_row_in_milliseconds() -> None:
    status = SourceStatus(
        name="luna-a", kind="pkcs11", every_seconds=60, state=SourceState.UP, last_success=7.0, last_poll_seconds=0.25
    )

    values = shown(snmp_rows.source_row(status))

    assert values["LastPollMilliseconds"] == 250
    assert values["SecondsSinceSuccess"] == 7.0


def test_sink_row_says_its_guarantee() -> None:
    status = SinkStatus(
        name="siem", kind="syslog relp", guarantee=Guarantee.AT_LEAST_ONCE, state=SinkState.REFUSED, queued=3
    )

    assert shown(snmp_rows.sink_row(status)) == {
        "Name": "siem",
        "Kind": "syslog relp",
        "Guarantee": 2,
        "Status": 4,
        "Queued": 3,
        "Delivered": 0,
        "Failed": 0,
        "Dropped": 0,
        "LastError": "",
    }
