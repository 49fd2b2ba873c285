from __future__ import annotations

import pytest

from hsm_agent.collect.command.parsers.luna_system import parse_sensors
from hsm_agent.collect.command.parsers.text import Malformed
from tests.unit.collect.shell_samples import limit, read, reasons, sample, values


def test_a_table_with_bars() -> None:
    parsed = read("sensors")

    assert values(parsed, "CPU Temp") == {"sensor_celsius": 47.0, "sensor_well": 1}
    assert values(parsed, "System Temp") == {"sensor_celsius": 91.5, "sensor_well": 0}
    assert values(parsed, "Fan 1") == {"sensor_fan_rpm": 5400.0, "sensor_well": 1}
    assert values(parsed, "VBAT") == {"sensor_volts": 3.096, "sensor_well": 1}
    assert values(parsed, "PSU 1") == {"sensor_well": 1}
    assert [limit(parsed, *place) for place in (("CPU Temp", "sensor_celsius"), ("Fan 1", "sensor_fan_rpm"))] == [
        90,
        300,
    ]
    assert limit(parsed, "VBAT", "sensor_volts") is None


def test_a_table_with_columns() -> None:
    parsed = read("sensors_columns")

    assert values(parsed, "Inlet Temp") == {"sensor_celsius": 23.0, "sensor_well": 1}
    assert limit(parsed, "Inlet Temp", "sensor_celsius") == 45
    assert limit(parsed, "Fan 3", "sensor_fan_rpm") == 600
    assert {fact.resource for fact in parsed.facts} == {"Inlet Temp", "PSU2 Temp", "Fan 3"}


def test_a_sensor_that_cannot_be_read_has_no_value_and_is_not_well() -> None:
    parsed = read("sensors")

    assert values(parsed, "Fan 2") == {"sensor_fan_rpm": None, "sensor_well": 0}
    assert reasons(parsed)["sensor_fan_rpm"].startswith("the appliance cannot read this sensor: Fan 2 | na | RPM | NR")


def test_columns_are_known_by_their_headings() -> None:
    parsed = parse_sensors("Status | Unit | Sensor | Upper Critical | Reading\nok | C | CPU | 90 | 47\n")

    assert values(parsed, "CPU") == {"sensor_celsius": 47, "sensor_well": 1}
    assert limit(parsed, "CPU", "sensor_celsius") == 90


@pytest.mark.parametrize("head", ["T1", "Threshold", "Upper Non-Critical", "Upper", "Critical", "UNC", "UNR"])
def test_a_threshold_of_unknown_meaning_is_none(head: str) -> None:
    parsed = parse_sensors(f"Sensor | Reading | Unit | Status | {head}\nCPU | 47 | C | ok | 90\n")

    assert limit(parsed, "CPU", "sensor_celsius") is None


@pytest.mark.parametrize("head", ["Upper Critical", "upper_critical", "UC", "UCR", "Upper Crit.", "High Critical"])
def test_a_threshold_by_its_names(head: str) -> None:
    parsed = parse_sensors(f"Sensor | Reading | Unit | Status | {head}\nCPU | 47 | C | ok | 90\n")

    assert limit(parsed, "CPU", "sensor_celsius") == 90


@pytest.mark.parametrize(
    ("row", "metric", "said"),
    [
        ("CPU | hot | C | ok", "sensor_celsius", "no number as expected: CPU | hot | C | ok"),
        ("CPU | 47 | C | weird", "sensor_well", "no known status: CPU | 47 | C | weird"),
        ("CPU | 47 | C", "sensor_well", "a row unlike the table's head: CPU | 47 | C"),
        ("CPU | 47 | C | ok | 9", "sensor_well", "a row unlike the table's head"),
        ("PSU | 1 | furlong | na", "sensor_well", "neither a known unit nor a status"),
        ("CPU | 47 | C | ok\nCPU | 50 | C | ok", "sensor_celsius", "two rows are called 'CPU'"),
    ],
)
def test_a_row_that_does_not_fit_has_no_value_and_is_shown(row: str, metric: str, said: str) -> None:
    parsed = parse_sensors(f"Sensor | Reading | Unit | Status\n-------+--\nOther | 1 | C | ok\n{row}\n")

    assert said in reasons(parsed)[metric]
    assert values(parsed, "Other") == {"sensor_celsius": 1, "sensor_well": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "this is not what status sensors prints: it is empty"),
        ("Sensor | Reading | Unit | Status\n\nCommand Result : 0 (Success)\n", "no rows"),
        (sample("refused"), "the device refused"),
    ],
)
def test_an_output_that_is_none_fails_as_a_whole(text: str, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_sensors(text)

    assert said in str(caught.value)


def test_a_table_in_several_parts_is_read_to_its_end() -> None:
    text = sample("sensors")
    head = text.splitlines()[1]
    parts = text.replace("Fan 1  ", f"\n{head}\nFan 1  ").replace("VBAT", "\nna: not available, 1  2\n\nVBAT")

    assert parse_sensors(parts).facts == parse_sensors(text).facts
