"""The `kind: webhook` sink: each event as the JSON body of a POST of its own, signed where there is a secret."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from hsm_agent.deliver.http import HTTP_WINDOW, HttpSinkSettings, post
from hsm_agent.model import Guarantee
from hsm_agent.net.http_settings import HttpUrl
from hsm_agent.settings.secret import Secret
from hsm_agent.wire.event_json import event_members, json_octets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hsm_agent.deliver.base import Sink, SinkContext
    from hsm_agent.model import AgentIdentity, Event
    from hsm_agent.net.http_client import Headers, HttpClient

_NOT_TOKEN = re.compile(r"[^A-Za-z0-9_.-]")
_ID_CHARACTERS = 64


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of X-Hsm-Agent-Signature: HMAC-SHA-256 (RFC 2104) over the timestamp's digits, a dot, and the body."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A receiver as it is configured. `target`: path and query, which may be a secret."""

    place: str
    target: str = field(repr=False)
    headers: Headers = field(repr=False)
    secret: str = field(repr=False)
    """Of the signature; empty for none."""
    hidden: tuple[str, ...] = field(repr=False, default=())
    """What no message may quote."""


class WebhookSink:
    """Sends events one after the other over a connection that is kept."""

    guarantee = Guarantee.AT_LEAST_ONCE
    window = HTTP_WINDOW
    kind = "webhook"

    def __init__(
        self,
        *,
        name: str,
        hook: Hook,
        client: HttpClient,
        origin: AgentIdentity,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives UTC seconds since the epoch."""
        self.name = name
        self._hook = hook
        self._client = client
        self._origin = origin
        self._clock = clock

    async def deliver(self, events: Sequence[Event], accepted: Callable[[Event], None]) -> None:
        """One request for each event, in order; 2xx accepts it."""
        for event in events:
            body = json_octets(event_members(event, self._origin))
            headers = (*self._hook.headers, *self._headers(event, body))
            await post(
                self._client,
                self._hook.target,
                headers,
                body,
                event_id=event.event_id,
                place=self._hook.place,
                hidden=self._hook.hidden,
            )
            accepted(event)

    def _headers(self, event: Event, body: bytes) -> Iterator[tuple[str, str]]:
        event_id = _NOT_TOKEN.sub("_", event.event_id)[:_ID_CHARACTERS]
        yield "Idempotency-Key", f'"{event_id}"'  # draft-ietf-httpapi-idempotency-key-header: a quoted text
        yield "X-Hsm-Agent-Event-Id", event_id
        timestamp = str(int(self._clock()))
        yield "X-Hsm-Agent-Timestamp", timestamp
        if self._hook.secret:
            yield "X-Hsm-Agent-Signature", signature(self._hook.secret, timestamp, body)

    async def close(self) -> None:
        await self._client.close()


class WebhookSinkSettings(HttpSinkSettings):
    """A receiver of events as JSON."""

    kind: Literal["webhook"]
    path: Secret | None = None
    """What follows `to` in the URL, where whoever knows it may send (as with Slack and Teams)."""
    sign: Secret | None = None
    """The secret of the signature."""

    @model_validator(mode="after")
    def _whole_url(self) -> Self:
        if self.path is not None:
            if "?" in self.to:
                raise ValueError("path: not where `to` has a query")
            try:
                HttpUrl.parse(self._whole)
            except ValueError as error:
                raise ValueError("path: not a path of a URL") from error
        return self

    @property
    def _whole(self) -> str:
        return self.to.rstrip("/") + "/" + self.path.reveal().removeprefix("/") if self.path is not None else self.to

    def build(self, context: SinkContext) -> Sink:
        hook = Hook(
            place=f"{self.url.scheme}://{self.url.authority}",
            target=HttpUrl.parse(self._whole).target(),
            headers=self.headers(),
            secret="" if self.sign is None else self.sign.reveal(),
            hidden=(*self.hidden(), *([] if self.path is None else [self.path.reveal()])),
        )
        return WebhookSink(name=self.name, hook=hook, client=self.client(), origin=context.origin)
