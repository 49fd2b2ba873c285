from __future__ import annotations

import pytest

from hsm_agent.settings.quantities import host_port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hsm.example.net:443", ("hsm.example.net", 443, False)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443, True)),
        ("[fe80::1%eth0]:0", ("fe80::1%eth0", 0, True)),
        ("h:99999", ("h", 99999, False)),
    ],
)
def test_a_host_and_a_port_are_read(text: str, expected: tuple[str, int, bool]) -> None:
    assert host_port(text) == expected


@pytest.mark.parametrize("text", ["", "h", "h:", ":1", "::1:443", "[]:1", "[a b]:1", "a/b:1", "h:٣", "h:1 ", "h:-1"])
def test_what_is_neither_is_none(text: str) -> None:
    assert host_port(text) is None
