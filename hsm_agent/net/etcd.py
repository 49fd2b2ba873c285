"""A client of etcd by its JSON gateway, `/v3/…`, which etcd 3.4 and later serve beside gRPC.

Each member is asked in turn until one answers, the one that answered last first. One request at a time; a task that
needs two at once makes two clients. Where no answer came, the next member is asked the same; but a transaction that was
sent may have been done, or be done later, and only who made it can tell what a second one would do: it is not repeated.
"""

from __future__ import annotations

import json
import logging
import re
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING, Any, TypeVar

from hsm_agent.net.etcd_messages import (
    MOST_OPERATIONS,
    AnswerTooLong,
    AuthenticationIsOff,
    EndpointDown,
    EtcdRefused,
    EtcdTrouble,
    EtcdUnavailable,
    LeaseGone,
    NoProof,
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
from hsm_agent.net.http_client import HttpClient, HttpPeer, HttpTrouble, was_too_long
from hsm_agent.net.streams import NoConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hsm_agent.net.etcd_messages import Compare, Found, Transacted
    from hsm_agent.net.etcd_settings import EtcdSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_ANSWER_BYTES = 2560 * 1024
"""Of one answer: a value of the greatest size in base64, and what is around it."""
_TOKEN = re.compile(r"[!-~]{1,8192}")
"""What fits a header: neither spaces, which HTTP does not allow at its ends, nor more than a server takes."""
_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


class EtcdClient:
    """Asks the members of one cluster. Opens no connection before it is asked to."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._user = settings.user
        self._password = settings.password
        self._members = {
            endpoint: HttpClient(
                HttpPeer(
                    url=url,
                    tls=settings.tls,
                    proxy=None,
                    bind=None,
                    connect_seconds=settings.timeout,
                    exchange_seconds=settings.timeout,
                    most_body_bytes=MOST_ANSWER_BYTES,
                )
            )
            for endpoint, url in zip(settings.endpoints, settings.urls, strict=True)
        }
        self._endpoints = list(settings.endpoints)
        """The one that is asked first, first."""
        self._token: str | None = "" if settings.user is None else None
        """What proves who we are; None: to be asked for; empty: nothing does, or has to."""

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
        troubles: dict[str, EndpointDown | NoProof] = {}
        for endpoint in tuple(self._endpoints):
            try:
                answer = await self._ask(endpoint, path, octets)
                try:
                    return read(answer)
                except ValueError as error:
                    raise NoProof(f"{endpoint}: its answer is not etcd's: {error}", sent=True) from error
            except (EndpointDown, NoProof) as trouble:
                troubles[endpoint] = trouble
                self._endpoints.append(self._endpoints.pop(0))
                if trouble.sent and not is_repeated:
                    break
        raise EtcdUnavailable(troubles)

    async def _ask(self, endpoint: str, path: str, octets: bytes) -> Mapping[str, Any]:
        """A member's answer. A token that has ended is replaced once. Raises EndpointDown, NoProof, EtcdRefused."""
        if self._token is None:
            await self._authenticate(endpoint)
        try:
            return await self._post(endpoint, path, octets)
        except TokenEnded:
            if self._user is None:
                raise
            await self._authenticate(endpoint)
            return await self._post(endpoint, path, octets)

    async def _authenticate(self, endpoint: str) -> None:
        assert self._user is not None
        assert self._password is not None
        self._token = None
        body = json.dumps({"name": self._user, "password": self._password.reveal()}).encode()
        try:
            token = (await self._post(endpoint, "auth/authenticate", body)).get("token")
        except AuthenticationIsOff:
            log.warning("%s: authentication is off in etcd: whoever reaches it can read and write all of it", endpoint)
            self._token = ""
            return
        except EtcdTrouble as trouble:
            trouble.sent = False  # what was to be done has not been sent yet
            raise
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise NoProof(f"{endpoint}: gave no token")
        self._token = token

    async def _post(self, endpoint: str, path: str, octets: bytes) -> Mapping[str, Any]:
        headers = [("Content-Type", "application/json"), ("Grpc-Metadata-hasleader", "true")]
        if self._token:
            headers.append(("Authorization", self._token))
        try:
            answer = await self._members[endpoint].exchange("POST", f"/v3/{path}", headers=headers, body=octets)
        except HttpTrouble as trouble:
            if was_too_long(trouble):
                raise AnswerTooLong(str(trouble)) from trouble
            kind = EndpointDown if _refuses_everybody(trouble) else NoProof
            raise kind(str(trouble), sent=trouble.sent) from trouble
        return content_of(endpoint, answer)


def _refuses_everybody(trouble: HttpTrouble) -> bool:
    """Whether nobody else can be served there: every address refuses, or the certificate has expired."""
    cause = trouble.__cause__
    while cause is not None and not isinstance(cause, NoConnectionError):
        cause = cause.__cause__
    return cause is not None and all(
        isinstance(each, ConnectionRefusedError | ConnectionResetError)
        or (isinstance(each, SSLCertVerificationError) and each.verify_code == _EXPIRED)
        for each in cause.causes
    )
