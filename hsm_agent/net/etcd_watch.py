"""A watch of a range of keys in etcd, by its JSON gateway: a stream of JSON, a line each. All of it is bounded.

A revision comes whole: what etcd divides is put together again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby
from typing import TYPE_CHECKING, Any

from hsm_agent.net.etcd_messages import (
    Compacted,
    EndpointDown,
    EtcdUnavailable,
    KeyChange,
    NoProof,
    base64_of,
    cluster_in,
    content_of,
    entry_in,
    refusal,
    whole_in,
)
from hsm_agent.net.http_answer import HttpAnswer, HttpTrouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.net.http_answer import HttpStream

MOST_LINE_BYTES = 16 * 1024 * 1024
"""etcd divides what is longer than its greatest request; base64 and JSON make it a half longer."""
_MOST_REVISION_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRevision:
    """What one revision did to the keys that are watched, in etcd's order."""

    revision: int
    changes: tuple[KeyChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchMessage:
    """A line of the stream. `why`: it is canceled for this reason; None while it is not."""

    changes: tuple[KeyChange, ...]
    is_created: bool
    is_fragment: bool
    """What follows belongs to it."""
    why: str | None
    compact_revision: int


def watch_request(key: bytes, *, end: bytes, since: int) -> dict[str, object]:
    """What asks for a watch."""
    return {
        "create_request": {
            "key": base64_of(key),
            "range_end": base64_of(end),
            "start_revision": str(since),
            "fragment": True,
        }
    }


def watched_in(answer: Mapping[str, Any]) -> WatchMessage:
    """A line of the stream. Raises ValueError."""
    events = answer.get("events", [])
    if not isinstance(events, list):
        raise ValueError("events is no list")  # noqa: TRY004 - the answer is wrong, not the argument
    reason = answer.get("cancel_reason", "")
    is_canceled = answer.get("canceled") is True
    return WatchMessage(
        changes=tuple(map(_change, events)),
        is_created=answer.get("created") is True,
        is_fragment=answer.get("fragment") is True,
        why=(reason if isinstance(reason, str) else "") if is_canceled else None,
        compact_revision=whole_in(answer, "compact_revision"),
    )


def _change(event: object) -> KeyChange:
    if not isinstance(event, dict):
        raise ValueError("an event is no object")  # noqa: TRY004 - as above
    kind = event.get("type", "PUT")
    if kind not in {"PUT", "DELETE"}:
        raise ValueError("an event that is neither PUT nor DELETE")
    return KeyChange(entry=entry_in(event.get("kv")), is_deleted=kind == "DELETE")


class EtcdWatch:
    """An open watch; made by `EtcdClient.watch`."""

    def __init__(self, endpoint: str, stream: HttpStream, *, idle_seconds: float) -> None:
        self.endpoint = endpoint
        """Which member is watched."""
        self.cluster_id = ""
        self._stream = stream
        self._idle_seconds = idle_seconds
        self._ready: deque[WatchedRevision] = deque()
        self._unfinished: list[KeyChange] = []
        """Of a revision that may go on in the next message."""

    async def begin(self, *, seconds: float) -> None:
        """Wait until it is created. Raises EndpointDown, NoProof, EtcdRefused."""
        try:
            if self._stream.status != HTTPStatus.OK:
                content_of(self.endpoint, await self._stream.whole(seconds=seconds))
            message = await self._message(seconds)
        except HttpTrouble as trouble:
            raise NoProof(str(trouble)) from trouble
        if not message.is_created:
            raise NoProof(f"{self.endpoint}: its answer is not that of a watch")
        self._take(message)

    async def next(self) -> WatchedRevision:
        """The next revision that changed anything; waits for it as long as the watch may be idle.

        Raises EtcdUnavailable where nothing came for that long, or the member serves no more; Compacted where what is
        asked for is no longer kept; EtcdRefused.
        """
        try:
            while not self._ready:
                self._take(await self._message(self._idle_seconds))
        except HttpTrouble as trouble:
            raise EtcdUnavailable({self.endpoint: NoProof(str(trouble))}) from trouble
        except (EndpointDown, NoProof) as trouble:
            raise EtcdUnavailable({self.endpoint: trouble}) from trouble
        return self._ready.popleft()

    async def _message(self, seconds: float) -> WatchMessage:
        line = await self._stream.line(most_bytes=MOST_LINE_BYTES, seconds=seconds)
        if line is None:
            raise NoProof(f"{self.endpoint}: it has ended the watch")
        content = content_of(self.endpoint, HttpAnswer(status=HTTPStatus.OK, headers=(), body=line))
        try:
            message = watched_in(content)
        except ValueError as error:
            raise NoProof(f"{self.endpoint}: its answer is not etcd's: {error}") from error
        self.cluster_id = cluster_in(content) or self.cluster_id
        if message.compact_revision:
            raise Compacted(f"{self.endpoint}: kept from revision {message.compact_revision} on only")
        if message.why is not None:
            reason = message.why or "the watch was canceled"
            raise refusal(self.endpoint, HTTPStatus.OK, {"message": reason})
        return message

    def _take(self, message: WatchMessage) -> None:
        self._unfinished += message.changes
        revisions = [
            WatchedRevision(revision=revision, changes=tuple(changes))
            for revision, changes in groupby(self._unfinished, key=lambda change: change.entry.mod_revision)
        ]
        self._unfinished = list(revisions.pop().changes) if message.is_fragment and revisions else []
        if sum(len(change.entry.key) + len(change.entry.value) for change in self._unfinished) > _MOST_REVISION_BYTES:
            raise NoProof(f"{self.endpoint}: a revision is longer than {_MOST_REVISION_BYTES} octets")
        self._ready += revisions
