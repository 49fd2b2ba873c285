"""URLs as they are written, and what a server or a proxy is told of who we are."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hsm_agent.net.http_settings import HttpAuth, HttpUrl, ProxySettings


@pytest.mark.parametrize(
    ("text", "shown", "host", "target"),
    [
        ("http://am:9093", "http://am:9093", "am:9093", "/api/v2/alerts"),
        ("https://am/", "https://am:443/", "am", "/api/v2/alerts"),
        ("http://am:80/monitoring/", "http://am:80/monitoring/", "am", "/monitoring/api/v2/alerts"),
        ("http://[2001:db8::1]:9093/x", "http://[2001:db8::1]:9093/x", "[2001:db8::1]:9093", "/x/api/v2/alerts"),
        ("http://[::1]", "http://[::1]:80", "[::1]", "/api/v2/alerts"),
        ("https://bücher.example", "https://xn--bcher-kva.example:443", "xn--bcher-kva.example", "/api/v2/alerts"),
    ],
)
def test_a_url_as_it_is_sent(text: str, shown: str, host: str, target: str) -> None:
    url = HttpUrl.parse(text)

    assert (str(url), url.host_field, url.target("/api/v2/alerts")) == (shown, host, target)


def test_a_query_stays() -> None:
    assert HttpUrl.parse("https://hooks.example.net?a=1&b=%20").target() == "/?a=1&b=%20"


@pytest.mark.parametrize(
    "text",
    [
        "am:9093",
        "ftp://am:9093",
        "http://",
        "http://am:0",
        "http://am:99999",
        "http://am:port",
        "http://user:password@am:9093",
        "http://am:9093/a b",
        "http://am:9093/#part",
        "http://am:9093/\r\nX: y",
        "http://[am]:9093",
        "http://am\n:9093",
    ],
)
def test_what_is_no_url_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="not a URL") as caught:
        HttpUrl.parse(text)

    assert "password" not in str(caught.value).replace("passwords", "")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({}, "either user and password, or bearer"),
        ({"user": "a"}, "either user and password, or bearer"),
        ({"user": "a", "password": {"env": "WORD"}, "bearer": {"env": "WORD"}}, "either user and password, or bearer"),
        ({"user": "a:b", "password": {"env": "WORD"}}, "colons"),
        ({"user": "a\nb", "password": {"env": "WORD"}}, "colons"),
        ({"bearer": {"env": "WORDS"}}, "printable ASCII"),
    ],
)
def test_credentials_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch, keys: dict[str, object], why: str) -> None:
    monkeypatch.setenv("WORD", "geheim")
    monkeypatch.setenv("WORDS", "two words")

    with pytest.raises(ValidationError, match=why):
        HttpAuth.model_validate(keys)


def test_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "geheim")
    basic = HttpAuth.model_validate({"user": "ä", "password": {"env": "WORD"}})
    bearer = HttpAuth.model_validate({"bearer": {"env": "WORD"}})

    assert (basic.header(), bearer.header()) == ("Basic w6Q6Z2VoZWlt", "Bearer geheim")
    assert "geheim" not in repr(basic) + repr(bearer)


@pytest.mark.parametrize("text", ["https://proxy:3128", "http://proxy:3128/path", "proxy:3128"])
def test_a_proxy_is_plain(text: str) -> None:
    with pytest.raises(ValidationError):
        ProxySettings.model_validate({"to": text})
