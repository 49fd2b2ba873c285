from __future__ import annotations

import pytest

from hsm_agent.collect.command.parsers.luna_system import parse_sysstat
from hsm_agent.collect.command.parsers.text import Malformed
from tests.unit.collect.shell_samples import labels, read, reasons, sample, values


def test_an_appliance_in_trouble_that_still_works() -> None:
    parsed = read("sysstat")

    assert values(parsed) == {"hsm_operational": 1, "hsm_trouble": 1, "hsm_status_info": 1}
    assert labels(parsed, "hsm_status_info") == {
        "state": "IST",
        "codes": "90,110,95",
        "meaning": "SSH, disk nearly full, web server",
    }


@pytest.mark.parametrize(
    ("state", "operational", "trouble"), [("ISO", 1, 0), ("IST", 1, 1), ("OOS", 0, 1), ("OFL", 0, 1)]
)
def test_states(state: str, operational: int, trouble: int) -> None:
    found = values(parse_sysstat(f"System Status: {state}\nSystem Status Code: 0, 999\n"))

    assert (found["hsm_operational"], found["hsm_trouble"]) == (operational, trouble)


def test_a_code_nobody_knows_is_shown_as_it_is() -> None:
    parsed = parse_sysstat("System Status: OOS\nSystem Status Code: 20,999\n")

    assert labels(parsed, "hsm_status_info")["meaning"] == "NTLS down, code 999"


@pytest.mark.parametrize(
    ("line", "said"), [("", "no line 'System Status Code'"), ("System Status Code: none\n", "no list of codes")]
)
def test_codes_that_are_no_codes(line: str, said: str) -> None:
    parsed = parse_sysstat(f"System Status: ISO\n{line}")

    assert said in reasons(parsed)["hsm_status_info"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("System Status: OFT\n", "no known state of service: System Status: OFT"),
        ("System Status:\n", "no known state of service"),
        ("Uptime: 3 days\n", "no line 'System Status'"),
        (sample("refused"), "the device refused"),
    ],
)
def test_a_state_that_is_none_fails_as_a_whole(text: str, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_sysstat(text)

    assert said in str(caught.value)
