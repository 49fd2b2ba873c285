"""The `kind: webhook` sink: each event as the JSON body of a POST of its own, signed where there is a secret."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from hsm_agent.deliver.base import always
from hsm_agent.deliver.http import HTTP_WINDOW, HttpSinkSettings
from hsm_agent.model import Guarantee
from hsm_agent.net.http_settings import HttpUrl
from hsm_agent.settings.secret import Secret
from hsm_agent.wire.event_json import event_members, json_octets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hsm_agent.deliver.base import MaySend, Sink, SinkContext
    from hsm_agent.deliver.http import HttpReceiver
    from hsm_agent.model import AgentIdentity, Event

_NOT_TOKEN = re.compile(r"[^A-Za-z0-9_.-]")
_ID_CHARACTERS = 64


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of X-Hsm-Agent-Signature: HMAC-SHA-256 (RFC 2104) over the timestamp's digits, a dot, and the body."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


class WebhookSink:
    """Sends events one after the other over a connection that is kept."""

    guarantee = Guarantee.AT_LEAST_ONCE
    window = HTTP_WINDOW
    kind = "webhook"

    def __init__(
        self,
        *,
        name: str,
        receiver: HttpReceiver,
        sign: Secret | None,
        origin: AgentIdentity,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`sign` is the secret of the signature; `clock` gives UTC seconds since the epoch."""
        self.name = name
        self._receiver = receiver
        self._sign = sign
        self._origin = origin
        self._clock = clock

    async def deliver(
        self, events: Sequence[Event], accepted: Callable[[Event], None], may_send: MaySend = always
    ) -> None:
        """One request for each event, in order; 2xx accepts it."""
        for event in events:
            body = json_octets(event_members(event, self._origin))
            headers = tuple(self._headers(event, body))
            await self._receiver.post(body, events=[event], may_send=may_send, event_id=event.event_id, headers=headers)
            accepted(event)

    def _headers(self, event: Event, body: bytes) -> Iterator[tuple[str, str]]:
        event_id = _NOT_TOKEN.sub("_", event.event_id)[:_ID_CHARACTERS]
        yield "Idempotency-Key", f'"{event_id}"'  # draft-ietf-httpapi-idempotency-key-header: a quoted text
        yield "X-Hsm-Agent-Event-Id", event_id
        timestamp = str(int(self._clock()))
        yield "X-Hsm-Agent-Timestamp", timestamp
        if self._sign is not None:
            yield "X-Hsm-Agent-Signature", signature(self._sign.reveal(), timestamp, body)

    async def close(self) -> None:
        await self._receiver.client.close()


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
        secrets = () if self.path is None else (self.path.reveal(),)
        return WebhookSink(
            name=self.name,
            receiver=self.receiver(HttpUrl.parse(self._whole).target(), *secrets),
            sign=self.sign,
            origin=context.origin,
        )
