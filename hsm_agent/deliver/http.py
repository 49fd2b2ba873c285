"""What the sinks that speak HTTP share: their settings, the receiver, and what an answer says of an event."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Self

from pydantic import field_validator, model_validator

from hsm_agent.deliver.base import Refused, Retry, SinkSettings, Withheld
from hsm_agent.model import Guarantee
from hsm_agent.net.http_answer import HttpAnswer, HttpTrouble
from hsm_agent.net.http_client import HttpClient, HttpPeer
from hsm_agent.net.http_settings import HttpAuth, HttpUrl, ProxySettings
from hsm_agent.net.tls import TlsSettings
from hsm_agent.settings.types import Deadline
from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.deliver.base import MaySend
    from hsm_agent.model import Event
    from hsm_agent.net.address import Address
    from hsm_agent.net.http_answer import Headers

HTTP_WINDOW = 16
"""Events of one `deliver`: each is a request of its own, so that an answer speaks of one event."""
_QUOTED_CHARACTERS = 120
_SHORTEST_HIDDEN = 6
"""Characters: a shorter word of a secret says nothing of it, and stands in many texts."""
_WORDS = re.compile(r"[A-Za-z0-9]+")
_LATER = frozenset({408, 425, 429, 503})
"""Statuses that speak of the receiver's state and never of what it was sent: RFC 9110, RFC 8470, RFC 6585."""
_ASKING = frozenset({429, 503})
_MOST_DIGITS = 9


class HttpSinkSettings(SinkSettings):
    """A receiver that is sent requests."""

    schemes = ("http", "https")

    tls: TlsSettings | None = None
    proxy: ProxySettings | None = None
    auth: HttpAuth | None = None
    timeout: Deadline = 10.0
    """Seconds to connect, the proxy and TLS included, and as many for each request and its answer."""

    @field_validator("to")
    @classmethod
    def _normalized(cls, text: str) -> str:
        return str(HttpUrl.parse(text))

    @property
    def url(self) -> HttpUrl:
        """`to`, parsed."""
        return HttpUrl.parse(self.to)

    @property
    def address(self) -> Address:
        return self.url.address

    @property
    def guarantee(self) -> Guarantee:
        """An answer of 2xx acknowledges each event."""
        return Guarantee.AT_LEAST_ONCE

    @property
    def answer_seconds(self) -> float:
        """To connect, and for one exchange."""
        return 2 * self.timeout

    @model_validator(mode="after")
    def _has_tls_if_it_must(self) -> Self:
        if self.url.scheme == "https" and self.tls is None:
            raise ValueError("tls: required for https: (at least tls.ca, or tls.verify: fingerprint)")
        if self.url.scheme == "http" and self.tls is not None:
            raise ValueError("tls: not for http: (write https:)")
        return self

    def own_tls(self) -> TlsSettings | None:
        return self.tls

    def receiver(self, target: str, *secrets: str) -> HttpReceiver:
        """What requests go to; `target` is its path and query, of which `secrets` are parts. Opens no connection."""
        peer = HttpPeer(
            url=self.url,
            tls=self.tls,
            proxy=self.proxy,
            bind=self.bind,
            connect_seconds=self.timeout,
            exchange_seconds=self.timeout,
        )
        return HttpReceiver(
            client=HttpClient(peer),
            place=f"{self.url.scheme}://{self.url.authority}",
            target=target,
            headers=self._headers(),
            hidden=(*self._hidden(), *secrets),
        )

    def _hidden(self) -> tuple[str, ...]:
        """The secrets that a request holds: its receiver may send them back, in a redirect or a page."""
        found: list[str] = []
        for auth in (self.auth, None if self.proxy is None else self.proxy.auth):
            if auth is not None:
                secrets = (auth.bearer, auth.password)
                found += [auth.header().partition(" ")[2], *(each.reveal() for each in secrets if each is not None)]
        return tuple(found)

    def _headers(self) -> Headers:
        """The headers that every request bears."""
        mine = (("Content-Type", "application/json"),)
        return mine if self.auth is None else (*mine, ("Authorization", self.auth.header()))


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReceiver:
    """A receiver as it is configured. `target`: path and query, which may be a secret."""

    client: HttpClient = field(repr=False)
    place: str
    target: str = field(repr=False)
    headers: Headers = field(repr=False)
    hidden: tuple[str, ...] = field(repr=False)
    """What is left out where its answer is quoted."""

    async def post(
        self, body: bytes, *, events: Sequence[Event], may_send: MaySend, event_id: str = "", headers: Headers = ()
    ) -> HttpAnswer:
        """POST what tells of these events; the answer by which it was accepted. Raises Retry, Refused and Withheld.

        `event_id`: the one that a refusal speaks of.
        A redirect is a refusal like any other answer of 3xx or 4xx: whoever may change where alarms go is not asked.
        """

        def check() -> None:
            if not all(map(may_send, events)):
                raise Withheld

        try:
            answer = await self.client.exchange(
                "POST", self.target, headers=(*self.headers, *headers), body=body, check=check
            )
        except HttpTrouble as trouble:
            if trouble.status is not None and trouble.status // 100 == 2:  # noqa: PLR2004 - RFC 9110 section 15.3
                # A page that is too long, or never ends, behind it: sent again, it would only come again.
                return HttpAnswer(status=trouble.status, headers=(), body=b"")
            raise Retry(str(trouble), sent=trouble.sent) from trouble
        if answer.status // 100 == 2:  # noqa: PLR2004 - RFC 9110 section 15.3
            return answer
        why = f"{self.place}: the receiver answered {answer.status}{_explained(answer, self.hidden)}"
        if answer.status // 100 == 5 or answer.status in _LATER:  # noqa: PLR2004 - section 15.6
            raise Retry(why, sent=answer.status not in _LATER, asked_seconds=asked_seconds(answer, time.time()))
        raise Refused(event_id, why)


def _explained(answer: HttpAnswer, hidden: Sequence[str]) -> str:
    if answer.status // 100 == 3:  # noqa: PLR2004 - RFC 9110 section 15.4
        return f" to {_quoted(answer.header('location'), hidden)!r}, and redirects are not followed"
    text = _quoted(answer.body.decode("utf-8", "replace"), hidden)
    return f": {text}" if text else ""


def _quoted(text: str, hidden: Sequence[str]) -> str:
    """The beginning of what a receiver said, without a word of a secret, however it stands there."""
    words = {word for secret in hidden for word in (secret, *_WORDS.findall(secret)) if len(word) >= _SHORTEST_HIDDEN}
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "…")
    return one_line(text[: 4 * _QUOTED_CHARACTERS]).strip()[:_QUOTED_CHARACTERS]


def asked_seconds(answer: HttpAnswer, now: float) -> float:
    """How long the receiver asked to be left alone: Retry-After of RFC 9110 section 10.2.3, and of 429 in RFC 6585.

    A date is of the receiver's clock, which its own Date tells. What is neither number nor date asks for nothing.
    """
    text = answer.header("retry-after").strip()
    if answer.status not in _ASKING:
        return 0.0
    if text.isascii() and text.isdigit():
        return float(text[:_MOST_DIGITS])
    moment, sent = _moment(text), date_of(answer)
    return 0.0 if moment is None else max(0.0, moment - (now if sent is None else sent))


def date_of(answer: HttpAnswer) -> float | None:
    """What the receiver's clock said, UTC seconds (Date of RFC 9110 section 6.6.1); None where it says nothing."""
    return _moment(answer.header("date"))


def _moment(text: str) -> float | None:
    """UTC seconds of an HTTP date (RFC 9110 section 5.6.7), None of anything else."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
