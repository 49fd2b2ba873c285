"""The `etcd:` part of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hsm_agent.net.etcd_settings import EtcdSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def password(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text("correct horse\n", encoding="utf-8")
    return {"file": str(file)}


def settings(**keys: Any) -> EtcdSettings:
    return EtcdSettings.model_validate({"endpoints": ["http://a:2379"]} | keys)


def test_endpoints_are_written_alike() -> None:
    found = settings(endpoints=["http://a:2379/", "http://[2001:db8::1]:2379", "http://b"])

    assert found.endpoints == ("http://a:2379", "http://[2001:db8::1]:2379", "http://b:80")
    assert [url.port for url in found.urls] == [2379, 2379, 80]


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"endpoints": []}, "at least 1 item"),
        ({"endpoints": [f"http://a:{port}" for port in range(1, 11)]}, "at most 9 items"),
        ({"endpoints": ["a:2379"]}, "not a URL"),
        ({"endpoints": ["http://a:2379/v3"]}, "without a path"),
        ({"endpoints": ["http://user:word@a:2379"]}, "not a URL"),
        ({"endpoints": ["http://a:2379", "http://a:2379/"]}, "endpoints.1: http://a:2379 stands there twice"),
        ({"endpoints": ["https://a:2379"]}, "tls: required for https://"),
        ({"endpoints": ["https://a:2379", "http://b:2379"]}, "either all of https:// or all of http://"),
        ({"user": "ann"}, "password: write both"),
        ({"proxy": {"to": "http://p:1"}}, "Extra inputs"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as caught:
        settings(**keys)

    assert "word" not in str(caught.value).replace("password", "")


def test_a_password_belongs_to_a_user(password: dict[str, str]) -> None:
    assert settings(user="ann", password=password).user == "ann"
    with pytest.raises(ValidationError, match="write both user and password"):
        settings(password=password)
    for name in ("", "a\nb", "a" * 201):
        with pytest.raises(ValidationError, match="not a user name"):
            settings(user=name, password=password)


def test_tls_has_no_place_where_nothing_is_encrypted() -> None:
    with pytest.raises(ValidationError, match="tls: not for http://"):
        settings(tls={"verify": "fingerprint", "fingerprints": ["ab" * 32]})


def test_what_is_open_to_others_is_warned_of(password: dict[str, str]) -> None:
    tls = {"verify": "fingerprint", "fingerprints": ["ab" * 32]}
    closed = settings(endpoints=["https://a:2379"], tls=tls, user="ann", password=password)

    assert [line.partition(":")[0] for line in settings().warnings("publish.etcd")] == [
        "publish.etcd.endpoints",
        "publish.etcd.user",
    ]
    assert closed.warnings("publish.etcd") == ()


def test_a_request_ends_after_every_endpoint_was_silent() -> None:
    assert settings(endpoints=["http://a:1", "http://b:1"], timeout="500ms").answer_seconds == 4.0
