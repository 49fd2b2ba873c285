from __future__ import annotations

import pytest

from hsm_agent.collect.pkcs11.token import hsm_of


@pytest.mark.parametrize(
    ("serial", "hsm"),
    [
        pytest.param("154438865287", "66331", id="young, published"),
        pytest.param("154438865304", "66331", id="another of the same"),
        pytest.param("1238700701509", "532018", id="another HSM"),
        pytest.param("500771016", "500771", id="old"),
        pytest.param("500771030", "500771", id="another old one"),
        pytest.param("66331", "66331", id="the administrative partition"),
        pytest.param("154441000000", "", id="no number of a partition"),
        pytest.param("12345678", "", id="neither old nor young"),
        pytest.param("1000", "", id="too short"),
        pytest.param("2c61068325", "", id="not digits"),
        pytest.param("", "", id="blank"),
    ],
)
def test_the_serial_of_a_partition_tells_its_hsm(serial: str, hsm: str) -> None:
    assert hsm_of(serial) == hsm
