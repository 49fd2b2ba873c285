"""Receivers as they are written in the configuration."""

from __future__ import annotations

import socket

import pytest

from hsm_agent.net.address import Address, Endpoint, source_address

SCHEMES = ("udp", "relp+tls", "udp6")


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port"),
    [
        ("udp:192.0.2.10:514", "udp", "192.0.2.10", 514),
        ("relp+tls:siem.example.net:2514", "relp+tls", "siem.example.net", 2514),
        ("udp:[2001:db8::1]:514", "udp", "2001:db8::1", 514),
        ("udp:[fe80::1%eth0]:514", "udp", "fe80::1%eth0", 514),
        ("udp6:[::1]:1161", "udp6", "::1", 1161),
    ],
)
def test_a_receiver_is_read_and_written_the_same(text: str, scheme: str, host: str, port: int) -> None:
    address = Address.parse(text, SCHEMES)

    assert (address.scheme, address.host, address.port) == (scheme, host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tcp:host:514", r"not an address: 'tcp:host:514' \(write one of udp:, relp\+tls:, udp6: then host:port"),
        ("udp:host", "not an address"),
        ("udp:2001:db8::1:514", "not an address"),
        ("udp:host:", "not an address"),
        ("udp://host:514", "not an address"),
        ("udp::514", "not an address"),
        ("host:514", "not an address"),
        ("", "not an address"),
        ("udp:host:0", "not a port: 0"),
        ("udp:host:65536", "not a port: 65536"),
        ("udp:[host]:514", "not an IP address: 'host'"),
        ("udp:a..b:514", r"not a host name: 'a\.\.b'"),
        (f"udp:{'x' * 64}:514", "not a host name"),
    ],
)
def test_what_is_no_receiver_is_refused_with_what_to_write(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Address.parse(text, SCHEMES)


def test_a_source_address_is_an_ip_address() -> None:
    assert source_address("192.0.2.1") == "192.0.2.1"
    assert source_address("2001:DB8::1") == "2001:db8::1"
    with pytest.raises(ValueError, match="not an IP address: 'eth0'"):
        source_address("eth0")


def test_an_endpoint_shows_its_numbers() -> None:
    v4 = Endpoint(family=socket.AF_INET, remote=("192.0.2.1", 514), local=None)
    v6 = Endpoint(family=socket.AF_INET6, remote=("2001:db8::1", 514, 0, 0), local=None)

    assert (str(v4), str(v6)) == ("192.0.2.1:514", "[2001:db8::1]:514")
