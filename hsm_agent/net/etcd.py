"""A client of etcd by its JSON gateway, `/v3/…`, which etcd 3.4 and later serve beside gRPC.

Each member is asked in turn until one answers, the one that answered last first. One request at a time: others wait for
their turn; who cannot wait makes a client of its own. Where no answer came, the next member is asked the same; but a
transaction that was sent may have been done, or be done later, and only who made it can tell what a second one would
do: it is not repeated.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from hsm_agent.net.etcd_messages import (
    MOST_OPERATIONS,
    AnswerTooLong,
    AuthenticationIsOff,
    EndpointDown,
    EtcdRefused,
    EtcdTrouble,
    EtcdUnavailable,
    Found,
    LeaseGone,
    NoProof,
    NotPermitted,
    PasswordRefused,
    Put,
    TokenEnded,
    base64_of,
    content_of,
    found_in,
    put_of,
    refuse_too_large,
    revision_in,
    transacted_in,
    whole_in,
)
from hsm_agent.net.etcd_trouble import endpoint_trouble
from hsm_agent.net.etcd_watch import EtcdWatch, watch_request
from hsm_agent.net.http_answer import HttpTrouble
from hsm_agent.net.http_client import HttpClient, HttpPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from hsm_agent.net.etcd_messages import Compare, KeyValue, Transacted
    from hsm_agent.net.etcd_settings import EtcdSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_ANSWER_BYTES = 2560 * 1024
"""Of one answer: a value of the greatest size in base64, and what is around it."""
MOST_READ_BYTES = 512 * 1024 * 1024
"""Of all pages of `read_all` together."""
_FIRST_PAGE_KEYS, _PAGE_KEYS = 64, 1000
"""Of a page of `read_all`: what is not known to be small is asked for with care."""
_MOST_LATE = 3
"""Pages in a row of which no answer came, before it is given up."""
_REFUSED_SECONDS = 5.0
"""For etcd to look at a password takes a tenth of a second of a processor, by intent: not for each request."""
_TOKEN = re.compile(r"[!-~]{1,8192}")
"""What fits a header: neither spaces, which HTTP does not allow at its ends, nor more than a server takes."""
_MOST_SILENCES = 2
"""Requests in a row that were sent with one token and not answered, before another one is asked for."""


class EtcdClient:
    """Asks the members of one cluster. Opens no connection before it is asked to."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._turn = asyncio.Lock()
        self._fresh: EtcdSettings | None = None
        """What to go by from the next request on."""
        self._go_by(settings)

    def _go_by(self, settings: EtcdSettings) -> None:
        self._user = settings.user
        self._password = settings.password
        self._peers = _peers_of(settings)
        self._members = {endpoint: HttpClient(peer) for endpoint, peer in self._peers.items()}
        self._endpoints = list(settings.endpoints)
        """The one that is asked first, first."""
        self._token: str | None = "" if settings.user is None else None
        """What proves who we are; None: to be asked for; empty: nothing does, or has to."""
        self._silences = 0
        self._refused: dict[str, tuple[float, str]] = {}
        """By endpoint: until when a password that it refused is not sent again, and what it said."""

    def use(self, settings: EtcdSettings) -> None:
        """Go by these from the next request on. What is under way, an open watch too, ends as it was begun."""
        self._fresh = settings

    async def range(
        self, key: bytes, *, end: bytes = b"", limit: int = 1000, keys_only: bool = False, revision: int = 0
    ) -> Found:
        """What stands at the key, or with `end` at the keys from it on and below `end`: what a majority holds.

        `revision`: as it was then, so that one page fits the other; 0 is now. Raises EtcdUnavailable and EtcdRefused,
        AnswerTooLong and Compacted among them.
        """
        body: dict[str, object] = {"key": base64_of(key), "limit": str(limit), "revision": str(revision)}
        if end:
            body["range_end"] = base64_of(end)
        if keys_only:
            body["keys_only"] = True
        return await self._call("kv/range", body, lambda answer: found_in(answer, most=limit))

    async def read_all(self, key: bytes, *, end: bytes, revision: int = 0) -> Found:
        """All keys from this one on and below `end`, with their values, page by page at one revision; 0 is now.

        Raises what `range` does; AnswerTooLong only where a single key is too long, or all is beyond any reason.
        """
        entries: list[KeyValue] = []
        limit, octets, more, cluster_id = _FIRST_PAGE_KEYS, 0, True, ""
        late, quick_seconds = 0, min(peer.exchange_seconds for peer in self._peers.values()) / 4
        while more:
            began = time.monotonic()
            try:
                page = await self.range(key, end=end, limit=limit, revision=revision)
            except AnswerTooLong:
                if limit == 1:
                    raise
                limit = max(1, limit // 4)
                continue
            except EtcdUnavailable as trouble:
                # Asked for less it may answer in time: etcd makes all of a page before it sends the first octet of it.
                late += 1
                if limit == 1 or late > _MOST_LATE or not trouble.sent:
                    raise
                limit = max(1, limit // 8)
                continue
            entries += page.entries
            size = sum(len(each.key) + len(each.value) for each in page.entries)
            octets += size
            if octets > MOST_READ_BYTES:
                raise AnswerTooLong(f"more than {MOST_READ_BYTES} octets from {key.decode(errors='replace')} on")
            revision, cluster_id = revision or page.revision, page.cluster_id
            more = page.more and bool(page.entries)
            key = entries[-1].key + b"\0" if entries else key
            late, is_quick = 0, time.monotonic() - began < quick_seconds
            if is_quick and size < MOST_ANSWER_BYTES // 4:  # twice as much fits, in base64 too
                limit = min(_PAGE_KEYS, 2 * limit)
        return Found(entries=tuple(entries), revision=revision, more=False, cluster_id=cluster_id)

    @asynccontextmanager
    async def watch(self, key: bytes, *, end: bytes, since: int, idle_seconds: float) -> AsyncIterator[EtcdWatch]:
        """`async with`: an open watch of these keys, from the revision `since` on, on a connection of its own.

        Other requests may be made meanwhile. Each endpoint is tried in turn, the one that answered last first.
        `idle_seconds`: after so long without a word the watch ends. Raises EtcdUnavailable and EtcdRefused, Compacted
        among them, when it is opened or at `next`.
        """
        octets = json.dumps(watch_request(key, end=end, since=since)).encode()
        async with AsyncExitStack() as stack:

            async def begin(endpoint: str) -> EtcdWatch:
                return await self._begin_watch(endpoint, octets, stack, idle_seconds)

            watch = await self._from_any(begin)
            try:
                yield watch
            except EtcdUnavailable:
                self._ask_last(watch.endpoint)
                raise

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        """Do all of it in one step, or nothing where a compare does not hold.

        Raises EtcdRefused, LeaseGone among them, and EtcdUnavailable: with `sent` it may have been done, or be yet.
        """
        operations = [{"request_put": put_of(each)} for each in puts]
        operations += [{"request_delete_range": {"key": base64_of(key)}} for key in deletes]
        if max(len(operations), len(compares)) > MOST_OPERATIONS:
            most = max(len(operations), len(compares))
            raise EtcdRefused(
                f"too large: a transaction of {most} operations, and etcd takes {MOST_OPERATIONS} at once"
            )
        refuse_too_large([*(each.key for each in compares), *deletes], puts)
        wanted = [
            {"key": base64_of(each.key), "target": "MOD", "result": "EQUAL", "mod_revision": str(each.mod_revision)}
            for each in compares
        ]
        return await self._call("kv/txn", {"compare": wanted, "success": operations}, transacted_in, is_repeated=False)

    async def put(self, key: bytes, value: bytes, *, lease: int = 0) -> int:
        """Write a value; the revision. Raises EtcdUnavailable and EtcdRefused, LeaseGone among them.

        One of which no answer came may be done later, and then undo the next: where that matters, use a transaction.
        """
        one = Put(key=key, value=value, lease=lease)
        refuse_too_large((), (one,))
        return await self._call("kv/put", put_of(one), revision_in)

    async def delete(self, key: bytes) -> int:
        """Delete the key; 1, or 0 where there was none. Raises EtcdUnavailable, EtcdRefused."""
        return await self._call("kv/deleterange", {"key": base64_of(key)}, lambda answer: whole_in(answer, "deleted"))

    async def grant(self, seconds: int) -> int:
        """A new lease of so many seconds; its ID. Raises EtcdUnavailable, EtcdRefused."""
        return await self._call("lease/grant", {"TTL": str(seconds)}, lambda answer: whole_in(answer, "ID"))

    async def keep_alive(self, lease: int) -> None:
        """Let the lease begin anew. Raises EtcdUnavailable and EtcdRefused, LeaseGone among them."""
        left_seconds = await self._call("lease/keepalive", {"ID": str(lease)}, lambda answer: whole_in(answer, "TTL"))
        if left_seconds <= 0:
            raise LeaseGone(f"{self._endpoints[0]}: requested lease not found")

    async def revoke(self, lease: int) -> None:
        """End the lease, and its keys with it. Raises EtcdUnavailable and EtcdRefused, LeaseGone among them."""
        await self._call("lease/revoke", {"ID": str(lease)}, revision_in)

    async def close(self) -> None:
        """Close the connections, within a second each."""
        for member in self._members.values():
            await member.close()

    async def _call(
        self, path: str, body: Mapping[str, object], read: Callable[[Mapping[str, Any]], T], *, is_repeated: bool = True
    ) -> T:
        """What `read` makes of the first member's answer; it raises ValueError for what is none."""
        octets = json.dumps(body).encode()

        async def ask(endpoint: str) -> T:
            answer = await self._ask(endpoint, path, octets)
            try:
                return read(answer)
            except ValueError as error:
                raise NoProof(f"{endpoint}: its answer is not etcd's: {error}", sent=True) from error

        return await self._from_any(ask, is_repeated=is_repeated)

    async def _from_any(self, ask: Callable[[str], Awaitable[T]], *, is_repeated: bool = True) -> T:
        """What the first member gives that gives anything."""
        troubles: dict[str, EndpointDown | NoProof] = {}
        async with self._turn:  # each has its deadline
            self._freshen()
            for endpoint in tuple(self._endpoints):
                try:
                    found = await ask(endpoint)
                except (EndpointDown, NoProof) as trouble:
                    troubles[endpoint] = trouble
                    self._ask_last(endpoint)
                    self._doubt_token(trouble)
                    if trouble.sent and not is_repeated:
                        break
                else:
                    self._silences = 0
                    return found
        raise EtcdUnavailable(troubles)

    @property
    def first_endpoint(self) -> str:
        """Which is asked first: the one that answered last, or the first one before any has."""
        return self._endpoints[0]

    def ask_first(self, endpoint: str) -> None:
        """Ask this one first, as another client was answered by it."""
        if endpoint in self._endpoints:
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)

    def _ask_last(self, endpoint: str) -> None:
        if endpoint in self._endpoints:  # a watch may end after other settings are used
            self._endpoints.remove(endpoint)
            self._endpoints.append(endpoint)

    def _doubt_token(self, trouble: EtcdTrouble) -> None:
        """A token names a revision of the log, and etcd lets who shows it wait until it has come that far.

        A cluster that was set up anew never does, or not for days, so that the token of the one before is not refused.
        """
        if trouble.sent and self._token:
            self._silences += 1
            if self._silences >= _MOST_SILENCES:
                self._silences, self._token = 0, None

    def _freshen(self) -> None:
        """With the turn held: go by what is new."""
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            for member in self._members.values():
                member.abort()
            self._go_by(fresh)

    async def _begin_watch(self, endpoint: str, octets: bytes, stack: AsyncExitStack, idle_seconds: float) -> EtcdWatch:
        """A watch that was created, in the stack. Raises EndpointDown, NoProof, EtcdRefused.

        etcd says of a token that has ended that the watch is not permitted: then it is asked once with a new one.
        """
        if self._token is None:
            await self._authenticate(endpoint)
        try:
            return await self._watch_once(endpoint, octets, stack, idle_seconds)
        except (TokenEnded, NotPermitted):
            if self._user is None:
                raise
            await self._authenticate(endpoint)
            return await self._watch_once(endpoint, octets, stack, idle_seconds)

    async def _watch_once(self, endpoint: str, octets: bytes, stack: AsyncExitStack, idle_seconds: float) -> EtcdWatch:
        client = HttpClient(self._peers[endpoint])
        async with AsyncExitStack() as opened:
            try:
                stream = await opened.enter_async_context(
                    client.stream("POST", "/v3/watch", headers=self._headers(), body=octets)
                )
            except HttpTrouble as trouble:
                raise endpoint_trouble(trouble) from trouble
            watch = EtcdWatch(endpoint, stream, idle_seconds=idle_seconds)
            await watch.begin(seconds=self._peers[endpoint].exchange_seconds)
            stack.push_async_exit(opened.pop_all())
        return watch

    async def _ask(self, endpoint: str, path: str, octets: bytes) -> Mapping[str, Any]:
        """A member's answer. A token that has ended is replaced once. Raises EndpointDown, NoProof, EtcdRefused.

        Where authentication was off, etcd says once it is on that nothing is permitted to who shows no token.
        """
        if self._token is None:
            await self._authenticate(endpoint)
        try:
            return await self._post(endpoint, path, octets)
        except (TokenEnded, NotPermitted) as trouble:
            if self._user is None or (self._token and isinstance(trouble, NotPermitted)):
                raise
            await self._authenticate(endpoint)
            return await self._post(endpoint, path, octets)

    async def _authenticate(self, endpoint: str) -> None:
        assert self._user is not None
        assert self._password is not None
        self._token = None
        now = asyncio.get_running_loop().time()
        until, why = self._refused.get(endpoint, (0.0, ""))
        if now < until:
            raise PasswordRefused(why)
        body = json.dumps({"name": self._user, "password": self._password.reveal()}).encode()
        try:
            token = (await self._post(endpoint, "auth/authenticate", body)).get("token")
        except AuthenticationIsOff:
            log.warning("%s: authentication is off in etcd: whoever reaches it can read and write all of it", endpoint)
            self._token = ""
            return
        except EtcdTrouble as trouble:
            if isinstance(trouble, PasswordRefused):
                self._refused[endpoint] = (now + _REFUSED_SECONDS, str(trouble))
            trouble.sent = False  # what was to be done has not been sent yet
            raise
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise NoProof(f"{endpoint}: gave no token")
        self._token = token

    async def _post(self, endpoint: str, path: str, octets: bytes) -> Mapping[str, Any]:
        try:
            answer = await self._members[endpoint].exchange("POST", f"/v3/{path}", headers=self._headers(), body=octets)
        except HttpTrouble as trouble:
            raise endpoint_trouble(trouble) from trouble
        return content_of(endpoint, answer)

    def _headers(self) -> list[tuple[str, str]]:
        headers = [("Content-Type", "application/json"), ("Grpc-Metadata-hasleader", "true")]
        return [*headers, ("Authorization", self._token)] if self._token else headers


def _peers_of(settings: EtcdSettings) -> dict[str, HttpPeer]:
    return {
        endpoint: HttpPeer(
            url=url,
            tls=settings.tls,
            proxy=None,
            bind=None,
            connect_seconds=settings.timeout,
            exchange_seconds=settings.timeout,
            most_body_bytes=MOST_ANSWER_BYTES,
            ends_with_certificate=True,
        )
        for endpoint, url in zip(settings.endpoints, settings.urls, strict=True)
    }
