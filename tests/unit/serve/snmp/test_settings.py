"""The responder's settings: what is accepted, and what an operator is told of a mistake."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from hsm_agent.serve.settings import SnmpServerSettings
from hsm_agent.settings.snmp import listen_address
from hsm_agent.wire.snmp.mib import BASE
from tests.fakes.snmp_present import secret_file, settings

if TYPE_CHECKING:
    from pathlib import Path


def test_defaults_listen_on_loopback_and_answer_nobody() -> None:
    found = SnmpServerSettings()

    assert found.listen == ("udp:127.0.0.1:1161",)
    assert (found.base_oid, found.engine_id, found.users, found.communities, found.v1) == (BASE, None, (), (), False)


def test_community_is_for_loopback_unless_networks_are_named(tmp_path: Path) -> None:
    community = {"name": secret_file(tmp_path, "c", "word"), "from": ["192.0.2.0/24", "2001:db8::/32"]}

    one, other = settings(tmp_path, communities=[community, {"name": secret_file(tmp_path, "d", "other")}]).communities

    assert one.networks == (ipaddress.IPv4Network("192.0.2.0/24"), ipaddress.IPv6Network("2001:db8::/32"))
    assert other.networks == (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
    assert one.name.reveal() == "word"


def test_base_and_engine_id_are_parsed(tmp_path: Path) -> None:
    found = settings(tmp_path, base_oid="1.3.6.1.4.1.99999.1", engine_id="0x80001F880468736d")

    assert found.base_oid == (1, 3, 6, 1, 4, 1, 99999, 1)
    assert found.engine_id == bytes.fromhex("80001f880468736d")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("udp:127.0.0.1:1161", ("127.0.0.1", 1161)),
        ("udp:0.0.0.0:161", ("0.0.0.0", 161)),
        ("udp6:[::1]:0", ("::1", 0)),
        ("udp6:[fe80::1%eth0]:161", ("fe80::1%eth0", 161)),
    ],
)
def test_place_to_listen(text: str, address: tuple[str, int]) -> None:
    assert listen_address(text) == address


@pytest.mark.parametrize(
    ("changes", "place", "why"),
    [
        pytest.param({"listen": ["tcp:127.0.0.1:161"]}, ("listen", 0), "write udp:127.0.0.1:1161", id="tcp"),
        pytest.param({"listen": ["udp:localhost:161"]}, ("listen", 0), "not a place to listen", id="a host name"),
        pytest.param({"listen": ["udp:999.0.0.1:161"]}, ("listen", 0), "not an IP address", id="no address"),
        pytest.param({"listen": ["udp6:[zz]:161"]}, ("listen", 0), "not an IP address", id="no IPv6 address"),
        pytest.param({"listen": ["udp:[::1]:161"]}, ("listen", 0), "not a place to listen", id="IPv6 for IPv4"),
        pytest.param({"listen": ["udp6:127.0.0.1:161"]}, ("listen", 0), "not a place to listen", id="IPv4 for IPv6"),
        pytest.param({"listen": ["tcp:127.0.0.1:161"]}, ("listen", 0), "not a place to listen", id="no UDP"),
        pytest.param({"listen": ["udp:127.0.0.1:70000"]}, ("listen", 0), "not a port: 70000", id="no port"),
        pytest.param({"listen": []}, ("listen",), "at least 1 item", id="nowhere"),
        pytest.param({"listen": ["udp:127.0.0.1:161"] * 2}, (), "listen.1: the same as listen.0", id="one place twice"),
        pytest.param({"base_oid": "1.3.6.1.2.1"}, ("base_oid",), "must lie below enterprises", id="a foreign base"),
        pytest.param({"base_oid": (1, 3)}, ("base_oid",), "must lie below enterprises", id="a short base"),
        pytest.param({"base_oid": 7}, ("base_oid",), "tuple", id="a number as base"),
        pytest.param({"engine_id": "80"}, ("engine_id",), "5 to 32 octets", id="a short engine ID"),
        pytest.param({"engine_id": "0000000000"}, ("engine_id",), "not all the same", id="an engine ID of zeros"),
        pytest.param({"engine_id": "hsm"}, ("engine_id",), "write it in hex", id="an engine ID in words"),
        pytest.param({"engine_id": 8000}, ("engine_id",), "bytes", id="an engine ID without quotes"),
        pytest.param({"communities": [], "v1": True}, (), "v1: needs a community", id="v1 for nobody"),
        pytest.param({"comunities": []}, ("comunities",), "Extra inputs", id="an unknown key"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, object], place: tuple[object, ...], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(tmp_path, **changes)

    first = caught.value.errors()[0]
    assert first["loc"] == place
    assert why in first["msg"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"name": ""}, "not a user name", id="no name"),
        pytest.param({"tokens": []}, "at least 1 item", id="no tokens"),
        pytest.param({"auth": None}, "valid dictionary", id="no authentication"),
    ],
)
def test_user_mistakes_are_named(tmp_path: Path, change: dict[str, object], why: str) -> None:
    user = {"name": "nms", "auth": {"protocol": "SHA-256", "secret": secret_file(tmp_path, "a", "long enough")}}

    with pytest.raises(ValidationError) as caught:
        settings(tmp_path, users=[user | change])

    assert why in caught.value.errors()[0]["msg"]


def test_twins_are_refused(tmp_path: Path) -> None:
    user = {"name": "nms", "auth": {"protocol": "SHA", "secret": secret_file(tmp_path, "a", "long enough")}}
    community = {"name": secret_file(tmp_path, "c", "word")}

    with pytest.raises(ValidationError, match=r"users\.1: .*users\.0"):
        settings(tmp_path, users=[user, user])
    with pytest.raises(ValidationError, match=r"communities\.1: the same as communities\.0"):
        settings(tmp_path, communities=[community, community])


def test_short_pass_phrase_is_refused(tmp_path: Path) -> None:
    user = {"name": "nms", "auth": {"protocol": "SHA", "secret": secret_file(tmp_path, "a", "seven77")}}

    with pytest.raises(ValidationError, match="8 octets or more"):
        settings(tmp_path, users=[user])


def test_secrets_are_not_in_the_text_of_an_error(tmp_path: Path) -> None:
    community = {"name": secret_file(tmp_path, "c", "hush-hush")}

    with pytest.raises(ValidationError) as caught:
        settings(tmp_path, communities=[community, community])

    assert "hush-hush" not in str(caught.value)
