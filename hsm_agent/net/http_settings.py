"""The parts of a configuration that say how an HTTP server is reached: its URL, a proxy before it, who we are to it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from hsm_agent.net.address import Address
from hsm_agent.settings.secret import Secret
from hsm_agent.settings.types import Strict

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<place>\[[^\]]*\](?::[^/?#]*)?|[^/?#\[\]@:]*(?::[^/?#@]*)?)(?P<rest>[/?].*)?"
)
_REST = re.compile(r"(?:[!$&'()*+,/:;=?@\w.~-]|%[0-9A-Fa-f]{2})*", re.ASCII)
"""Path and query of RFC 3986 sections 3.3 and 3.4."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")
_WRITE = "write http://HOST:PORT or https://HOST:PORT, and a path behind it if there is one"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpUrl:
    """An absolute URL of RFC 9110 section 4.2 without user and fragment. `rest`: path and query, as they are sent."""

    scheme: str
    host: str
    port: int
    rest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError with what to write instead. A user is refused: what would be its password is a secret."""
        found = _URL.fullmatch(text)
        if found is None:
            raise ValueError(f"not a URL: {_WRITE}; users and passwords stand in `auth`")
        scheme, place, rest = found["scheme"], found["place"], found["rest"] or ""
        if re.search(r":[0-9]+$", place) is None:
            place = f"{place}:{_DEFAULT_PORTS[scheme]}"
        try:
            address = Address.parse(f"{scheme}:{place}", tuple(_DEFAULT_PORTS))
        except ValueError as error:
            raise ValueError(f"not a URL: {_WRITE}; IPv6 in brackets") from error
        if not _REST.fullmatch(rest):
            raise ValueError("not a URL: a character in it must be written as %XX")
        return cls(scheme=scheme, host=address.host, port=address.port, rest=rest)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.rest}"

    @property
    def authority(self) -> str:
        """Host and port as CONNECT wants them, RFC 9110 section 7.1."""
        host = self.host.partition("%")[0]
        name = f"[{host}]" if ":" in host else host.encode("idna").decode()
        return f"{name}:{self.port}"

    @property
    def host_field(self) -> str:
        """The value of Host: without the port where it is the scheme's own."""
        name, _, port = self.authority.rpartition(":")
        return name if int(port) == _DEFAULT_PORTS[self.scheme] else self.authority

    @property
    def address(self) -> Address:
        """Where to connect to."""
        return Address(scheme=self.scheme, host=self.host, port=self.port)

    def target(self, path: str = "") -> str:
        """The target of a request: the URL's own path with another one behind it; `/` where there is none."""
        own = self.rest.rstrip("/") if path else self.rest
        whole = own + path
        return whole if whole.startswith("/") else f"/{whole}"


class HttpAuth(Strict):
    """Who we are to a server or a proxy: `user` and `password` (RFC 7617), or `bearer` (RFC 6750)."""

    user: str | None = None
    password: Secret | None = None
    bearer: Secret | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.user is None) != (self.password is None) or (self.user is None) == (self.bearer is None):
            raise ValueError("write either user and password, or bearer")
        if self.user is not None and (":" in self.user or not self.user.isprintable()):
            raise ValueError("user: neither colons nor control characters can be sent")
        if self.bearer is not None and not _HEADER_TEXT.fullmatch(self.bearer.reveal()):
            raise ValueError("bearer: only printable ASCII without blanks can be sent")
        return self

    def header(self) -> str:
        """The value of Authorization or Proxy-Authorization."""
        if self.bearer is not None:
            return f"Bearer {self.bearer.reveal()}"
        assert self.password is not None
        pair = f"{self.user}:{self.password.reveal()}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def _proxy_url(text: str) -> str:
    url = HttpUrl.parse(text)
    if url.scheme != "http" or url.rest.strip("/"):
        raise ValueError("a proxy is reached as http://HOST:PORT, without TLS and without a path")
    return f"http://{url.authority}"


class ProxySettings(Strict):
    """A forward proxy: https goes through a tunnel of CONNECT, http as a request with the whole URL."""

    to: Annotated[str, AfterValidator(_proxy_url)]
    auth: HttpAuth | None = None

    @property
    def url(self) -> HttpUrl:
        """`to`, parsed."""
        return HttpUrl.parse(self.to)
