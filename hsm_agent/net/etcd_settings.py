"""The `etcd:` part of a configuration: which servers, how they are trusted, and who we are to them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from hsm_agent.net.http_settings import HttpUrl
from hsm_agent.net.tls import TlsSettings
from hsm_agent.settings.secret import Secret
from hsm_agent.settings.types import Deadline, Strict

_MOST_ENDPOINTS = 9
"""More members than that make etcd slower and no safer."""
_LONGEST_USER = 200
_STEPS_AN_ENDPOINT = 4
"""To connect, to be told that a token has ended, to ask for another one, and to ask again."""


def _endpoint(text: str) -> str:
    url = HttpUrl.parse(text)
    if url.rest.strip("/"):
        raise ValueError("an endpoint is http://HOST:PORT or https://HOST:PORT, without a path")
    return f"{url.scheme}://{url.authority}"


def _user(text: str) -> str:
    if not text.isprintable() or not 0 < len(text) <= _LONGEST_USER:
        raise ValueError(f"not a user name: it has 1 to {_LONGEST_USER} printable characters")
    return text


class EtcdSettings(Strict):
    """The client URLs of an etcd cluster, all its members, and what they are shown."""

    endpoints: tuple[Annotated[str, AfterValidator(_endpoint)], ...] = Field(min_length=1, max_length=_MOST_ENDPOINTS)
    tls: TlsSettings | None = None
    user: Annotated[str, AfterValidator(_user)] | None = None
    password: Secret | None = None
    timeout: Deadline = 2.0
    """Seconds to connect to one endpoint, TLS included, and as many for each request and its answer."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for index, endpoint in enumerate(self.endpoints):
            if endpoint in self.endpoints[:index]:
                raise ValueError(f"endpoints.{index}: {endpoint} stands there twice")
        schemes = {url.scheme for url in self.urls}
        if len(schemes) > 1:
            raise ValueError("endpoints: either all of https:// or all of http://")
        if "https" in schemes and self.tls is None:
            raise ValueError("tls: required for https:// (at least tls.ca, or tls.verify: fingerprint)")
        if "http" in schemes and self.tls is not None:
            raise ValueError("tls: not for http:// (write https://)")
        if (self.user is None) != (self.password is None):
            raise ValueError("password: write both user and password, or none of them")
        return self

    @property
    def urls(self) -> tuple[HttpUrl, ...]:
        """`endpoints`, parsed."""
        return tuple(map(HttpUrl.parse, self.endpoints))

    @property
    def answer_seconds(self) -> float:
        """After so long every request has its answer or its error: every endpoint was asked, and was silent."""
        return _STEPS_AN_ENDPOINT * self.timeout * len(self.endpoints)

    def warnings(self, key: str) -> tuple[str, ...]:
        """What works and should not stay so, a line each; `key` is where these settings stand."""
        found = []
        if self.tls is None:
            found.append(
                f"{key}.endpoints: http:// is read and changed by whoever is on the way: write https:// and tls"
            )
        if self.user is None:
            found.append(f"{key}.user: without a user whoever reaches etcd can read and write all of it")
        return tuple(found)
