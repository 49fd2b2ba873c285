"""snmp_user: users, their pass-phrases, and the line a receiver needs."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.settings.snmp import SnmpUser, trap_receiver_line
from hsm_agent.wire.snmp.usm import AuthProtocol, PrivacyProtocol

SECRET = {"env": "TEST_SECRET"}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TEST_SECRET", "maplesyrup")


def read(**changes: Any) -> SnmpUser:
    settings = {
        "name": "noc",
        "auth": {"protocol": "SHA-512", "secret": SECRET},
        "privacy": {"protocol": "AES-256", "secret": SECRET},
    }
    return SnmpUser.model_validate({**settings, **changes})


def test_a_user_has_the_keys_of_its_pass_phrases() -> None:
    user = read().user()

    assert (user.name, user.auth, user.privacy) == ("noc", AuthProtocol.SHA512, PrivacyProtocol.AES256)
    assert user.auth_master == user.privacy_master
    assert len(user.auth_master) == 64


def test_privacy_may_be_left_out() -> None:
    user = read(privacy=None).user()

    assert (user.privacy, user.privacy_master) == (None, b"")


@pytest.mark.parametrize("protocol", ["MD5", "sha-256", "HMAC-SHA-256"])
def test_other_authentication_protocols_are_errors(protocol: str) -> None:
    with pytest.raises(ValidationError, match="'SHA', 'SHA-224', 'SHA-256', 'SHA-384' or 'SHA-512'"):
        read(auth={"protocol": protocol, "secret": SECRET})


@pytest.mark.parametrize("protocol", ["DES", "AES"])
def test_other_privacy_protocols_are_errors(protocol: str) -> None:
    with pytest.raises(ValidationError, match="'AES-128', 'AES-192' or 'AES-256'"):
        read(privacy={"protocol": protocol, "secret": SECRET})


@pytest.mark.parametrize("name", ["", "u" * 33, "ü" * 17, "new\nline"])
def test_names_that_fit_no_message_are_errors(name: str) -> None:
    with pytest.raises(ValidationError, match="1 to 32 printable octets"):
        read(name=name)


def test_a_short_pass_phrase_is_an_error_that_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TEST_SECRET", "seven77")

    with pytest.raises(ValidationError, match="8 octets or more") as caught:
        read()

    assert "seven77" not in str(caught.value)


@pytest.mark.parametrize(("protocol", "name"), [("AES-128", "AES"), ("AES-192", "AES-192"), ("AES-256", "AES-256")])
def test_the_receivers_line_has_net_snmps_names_and_no_secret(protocol: str, name: str) -> None:
    user = read(name="big noc", privacy={"protocol": protocol, "secret": SECRET})

    line = trap_receiver_line(bytes.fromhex("80001f8805aa"), user)

    assert line == (
        f'createUser -e 0x80001f8805aa "big noc" SHA-512 "<authentication pass-phrase>" {name} "<privacy pass-phrase>"'
    )
