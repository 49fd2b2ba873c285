from __future__ import annotations

import pytest

from hsm_agent.collect.command.parsers.luna_hsm import parse_hsm_show
from hsm_agent.collect.command.parsers.text import Malformed
from tests.unit.collect.shell_samples import labels, limit, read, reasons, sample, values

HEALTHY = {
    "token_login_attempts_left so": 3,
    "hsm_transport_mode": 0,
    "hsm_tampered": 0,
    "hsm_storage_total_bytes": 33_554_432,
    "hsm_storage_used_bytes": 33_554_432,
    "hsm_storage_free_bytes": 0,
    "hsm_storage_used_percent": 100.0,
    "hsm_battery_well": 1,
    "audit_role_initialized": 1,
    "hsm_partitions": 4,
    "hsm_partitions_max": 20,
    "hsm_info": 1,
    "hsm_firmware_info": 1,
}


def test_a_healthy_hsm() -> None:
    parsed = read("hsm_show")

    assert values(parsed) == HEALTHY
    assert values(parsed, "system") == {"sensor_celsius": 41}
    assert values(parsed, "battery") == {"sensor_volts": 3.071}
    assert (limit(parsed, "system", "sensor_celsius"), limit(parsed, "battery", "sensor_volts")) == (75, 2.75)
    assert labels(parsed, "hsm_firmware_info") == {"version": "7.8.4"}
    assert labels(parsed, "hsm_info") == {
        "label": "payments-a",
        "serial": "700123",
        "model": "Luna K7",
        "firmware": "7.8.4",
        "software": "7.8.4-117",
    }


def test_order_line_ends_spacing_case_escapes_and_a_banner_do_not_matter() -> None:
    assert set(read("hsm_show_crlf_banner").facts) == set(read("hsm_show").facts)


def test_a_zeroized_and_tampered_hsm_in_transport_mode() -> None:
    parsed = read("hsm_show_zeroized")
    found = values(parsed)

    assert (found["hsm_tampered"], found["hsm_transport_mode"], found["audit_role_initialized"]) == (1, 1, 0)
    assert reasons(parsed) == {"token_login_attempts_left so": "the HSM is zeroized"}
    assert "hsm_battery_well" not in found


def changed(before: str, after: str) -> str:
    text = sample("hsm_show")
    assert before in text
    return text.replace(before, after)


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        pytest.param("No tamper(s)", "No tampers", 0, id="without the brackets"),
        pytest.param("No tamper(s)", "Tamper(s) detected: chassis open", 1, id="with a cause"),
        pytest.param("Manually Zeroized:                  No", "Manually Zeroized:  Yes", 1, id="zeroized by hand"),
        pytest.param("3 before HSM zeroization!", "HSM is zeroized!", 1, id="zeroized by logins"),
        pytest.param("No tamper(s)", "Tamper circuit disabled", None, id="a state nobody knows"),
        pytest.param("HSM Tamper State: ", "Tamper:", None, id="the line is not there"),
        pytest.param(
            "Manually Zeroized:                  No", "Manually Zeroized: maybe", None, id="neither yes nor no"
        ),
    ],
)
def test_tampering(before: str, after: str, value: int | None) -> None:
    parsed = parse_hsm_show(changed(before, after))

    assert values(parsed)["hsm_tampered"] == value
    assert ("hsm_tampered" in reasons(parsed)) == (value is None)


def test_a_zeroized_hsm_is_known_as_such_whatever_the_tamper_line_says() -> None:
    text = changed("No tamper(s)", "gibberish").replace("3 before HSM zeroization!", "HSM IS ZEROIZED !!!!")

    assert values(parse_hsm_show(text))["hsm_tampered"] == 1


@pytest.mark.parametrize(
    ("before", "after", "metric", "said"),
    [
        ("3 before", "three before", "token_login_attempts_left so", "three before HSM zeroization!"),
        ("41 deg. C", "105 deg. F", "sensor_celsius", "no number as expected: System Temp: 105 deg. F"),
        ("3.071 V", "n/a", "sensor_volts", "Battery Voltage: n/a"),
        ("Mode:              No", "Mode: Unknown", "hsm_transport_mode", "neither yes nor no"),
        ("(Bytes):             0", "(Bytes): 0 KB", "hsm_storage_used_percent", "Free Space Left (Bytes): 0 KB"),
        ("Use (Bytes):                33554432", "Use (Bytes): 44554432", "hsm_storage_used_bytes", "cannot be"),
        ("Space In Use", "Space Used", "hsm_storage_used_bytes", "no line 'space in use (bytes)'"),
    ],
)
def test_a_field_that_does_not_fit_has_no_value_and_shows_the_line(
    before: str, after: str, metric: str, said: str
) -> None:
    parsed = parse_hsm_show(changed(before, after))

    assert said in reasons(parsed)[metric]


def test_a_line_that_stands_twice_and_differs_has_no_value() -> None:
    text = sample("hsm_show").replace("Secure Transport Mode:", "Secure Transport Mode: Yes\n Secure Transport Mode:")

    assert "stands twice with different values" in reasons(parse_hsm_show(text))["hsm_transport_mode"]


def test_a_battery_at_its_threshold_is_not_well() -> None:
    assert values(parse_hsm_show(changed("3.071 V", "2.750 V")))["hsm_battery_well"] == 0


def test_without_a_threshold_nobody_says_whether_the_battery_is_well() -> None:
    parsed = parse_hsm_show(changed("Battery Warning Threshold Voltage:   2.750 V", ""))

    assert "hsm_battery_well" not in values(parsed)
    assert (values(parsed, "battery"), limit(parsed, "battery", "sensor_volts")) == ({"sensor_volts": 3.071}, None)


def test_a_threshold_without_its_level_is_a_reading_that_is_missing() -> None:
    parsed = parse_hsm_show(changed("System Temp:                         41 deg. C", ""))

    assert "no line 'system temp'" in reasons(parsed)["sensor_celsius"]


def test_a_last_line_without_an_end_may_be_cut_and_is_not_read() -> None:
    text = sample("hsm_show").split("432\n   Free Space Left")[0]
    parsed = parse_hsm_show(text)

    assert text.endswith("33554")
    assert "no line 'space in use (bytes)'" in reasons(parsed)["hsm_storage_used_percent"]
    assert values(parsed)["hsm_storage_total_bytes"] == 33_554_432


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "this is not what hsm show prints: it is empty"),
        ("command not found\n", "it says: command not found"),
        (
            sample("refused"),
            "the device refused: Error: 'hsm show' is not allowed now. (Command Result : 65535 (Luna Shell execution))",
        ),
    ],
)
def test_an_output_that_is_none_fails_as_a_whole(text: str, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_hsm_show(text)

    assert said in str(caught.value)


def test_a_size_that_overflowed_leaves_the_storage_without_figures() -> None:
    parsed = parse_hsm_show(
        sample("hsm_show").replace("Space In Use (Bytes):                33554432", "Space In Use (Bytes): -2147483648")
    )
    said = "no number as expected: Space In Use (Bytes): -2147483648"

    assert reasons(parsed) == {"hsm_storage_used_bytes": said, "hsm_storage_used_percent": said}
    assert values(parsed)["hsm_storage_total_bytes"] == 33_554_432
