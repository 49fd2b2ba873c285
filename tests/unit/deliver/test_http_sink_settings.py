"""The settings of the sinks that speak HTTP: what is refused, and what `check-config` says."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

import pytest
from pydantic import ValidationError

from hsm_agent.deliver.alertmanager import AlertmanagerSinkSettings
from hsm_agent.deliver.webhook import WebhookSinkSettings, signature
from hsm_agent.model import Guarantee
from tests.fakes.http_sinks import settings
from tests.fakes.syslog_sinks import CONTEXT

HTTPS, HTTP = "https://alerts.example.net:9093", "http://alerts.example.net:9093"
PINNED = {"verify": "fingerprint", "fingerprints": ["ab" * 32]}


@pytest.mark.parametrize(
    ("kind", "keys", "why"),
    [
        ("alertmanager", {"to": HTTPS}, "tls: required for https:"),
        ("webhook", {"to": HTTP, "tls": PINNED}, "tls: not for http:"),
        ("alertmanager", {"to": "alerts.example.net:9093"}, "not a URL"),
        ("alertmanager", {"to": HTTP, "leave_out": ["alertname"]}, "an alert without it has no name"),
        ("alertmanager", {"to": HTTP, "repeat_every": "2h"}, "longer than 1h"),
        ("webhook", {"to": HTTP, "path": {"env": "HOOK"}}, "path: not a path of a URL"),
        ("webhook", {"to": f"{HTTP}/?a=b", "path": {"env": "HOOK"}}, "path: not where `to` has a query"),
        ("webhook", {"to": HTTP, "proxy": {"to": "https://proxy:3128"}}, "without TLS"),
        ("webhook", {"to": HTTP, "timeout": "30m"}, "timeout: an event could wait"),
    ],
)
def test_what_is_refused(monkeypatch: pytest.MonkeyPatch, kind: str, keys: dict[str, Any], why: str) -> None:
    monkeypatch.setenv("HOOK", "a secret with blanks")

    with pytest.raises(ValidationError, match=re.escape(why)) as caught:
        settings(kind, **keys)

    assert "a secret with blanks" not in str(caught.value)


def test_what_check_config_says() -> None:
    found = settings("alertmanager", HTTPS, tls=PINNED)

    assert isinstance(found, AlertmanagerSinkSettings)
    assert list(found.about(None)) == [f"{HTTPS}, at least once, from warning on"]
    assert found.guarantee is Guarantee.AT_LEAST_ONCE
    assert found.own_tls() is found.tls
    assert (str(found.address), found.repeat_every, found.patience_seconds) == (
        "https:alerts.example.net:9093",
        60,
        120,
    )


def test_a_secret_path_and_secret_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "services/T0/geheim")
    found = settings(
        "webhook", f"{HTTP}/base/", path={"env": "HOOK"}, sign={"env": "HOOK"}, auth={"bearer": {"env": "HOOK"}}
    )
    assert isinstance(found, WebhookSinkSettings)
    sink = found.build(CONTEXT)

    shown = repr(found) + "".join(found.about(None)) + repr(sink) + repr(vars(sink))

    assert "geheim" not in shown
    assert sink._receiver.target == "/base/services/T0/geheim"  # type: ignore[attr-defined]


def test_the_signature_is_what_openssl_makes() -> None:
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac key
    assert (
        signature("key", "1700000000", b"{}")
        == "sha256=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
    )


def test_the_credentials_for_a_proxy_are_quoted_as_little_as_those_for_the_receiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OWN", "token of ours")
    monkeypatch.setenv("PROXY", "pass phrase")
    proxy = {"to": "http://proxy:3128", "auth": {"user": "agent", "password": {"env": "PROXY"}}}
    found = settings("webhook", HTTP, proxy=proxy, auth={"user": "hook", "password": {"env": "OWN"}})

    assert isinstance(found, WebhookSinkSettings)
    assert {"token of ours", "pass phrase", b64encode(b"agent:pass phrase").decode()} <= {*found.receiver("/").hidden}
