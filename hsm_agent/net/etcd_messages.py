"""What is said with etcd's JSON gateway: what there is to ask for, what was found, and what an answer means. Pure.

int64 is text in this JSON, keys and values are base64, and what is 0, empty or false is left out.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from hsm_agent.codec import parse
from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.net.http_answer import HttpAnswer

MOST_OPERATIONS = 128
"""Of one transaction; the default of etcd's --max-txn-ops."""
MOST_REQUEST_BYTES = 1536 * 1024
"""Of one request as etcd counts it; the default of its --max-request-bytes."""
_OPERATION_BYTES = 64
"""What an operation takes of it besides its key and value, at most."""
_QUOTED_CHARACTERS = 120
_INT64 = 2**63
_DIGITS = 20
_CLUSTER_ID = re.compile(r"[0-9]{1,20}")

_NO_LEADER = ("etcdserver: no leader",)
_READ_ONLY = ("database space exceeded",)
_NO_TOKEN = ("invalid auth token", "user name is empty", "revision of auth store is old")
_NOT_US = ("authentication failed",)
_AUTHENTICATION_IS_OFF = ("authentication is not enabled",)
_COMPACTED = ("has been compacted",)
_NO_LEASE = ("requested lease not found",)
_NOT_PERMITTED = ("permission denied",)
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class EtcdTrouble(Exception):
    """etcd did not do what it was asked for. The text is one line.

    `sent`: it may do so nevertheless, now or later.
    """

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent


class EndpointDown(EtcdTrouble):
    """This endpoint serves nobody: it refuses connections, has no leader or no space, or its certificate is over."""


class CertificateExpired(EndpointDown):
    """Its certificate is over, by our own clock."""


class NoProof(EtcdTrouble):
    """This endpoint did not serve us and may serve others: it is silent, out of reach, or does not know us."""


class EtcdUnavailable(EtcdTrouble):
    """No endpoint served us."""

    def __init__(self, troubles: Mapping[str, EndpointDown | NoProof]) -> None:
        sent = any(each.sent for each in troubles.values())
        super().__init__("; ".join(map(str, troubles.values())), sent=sent)
        self.troubles = dict(troubles)
        """By endpoint, as it is configured; those that were not asked are not in it."""


class EtcdRefused(EtcdTrouble):
    """etcd works and does not do this: no permission, too large, wrong."""


class Compacted(EtcdRefused):
    """The history that was asked for is no longer kept: read all again."""


class AnswerTooLong(EtcdRefused):
    """More than MOST_ANSWER_BYTES would be the answer: ask for fewer keys at once, or for keys alone."""


class LeaseGone(EtcdRefused):
    """There is no such lease: it has ended, or was revoked."""


class NotPermitted(EtcdRefused):
    """Who we are may not do this."""


class PasswordRefused(NoProof):
    """User or password are not known there."""


class TokenEnded(NoProof):
    """It does not know who we are, or no longer."""


class AuthenticationIsOff(EtcdRefused):
    """It asks nobody who he is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """What stands at a key. `mod_revision`: of its last change. `lease`: 0 is none."""

    key: bytes
    value: bytes
    """Empty where keys alone were asked for."""
    mod_revision: int
    create_revision: int
    lease: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a range held at a revision, in the order of its keys."""

    entries: tuple[KeyValue, ...]
    revision: int
    more: bool
    """There are keys beyond the limit."""
    cluster_id: str = ""
    """Decimal digits. It is the same after all members began anew with the same names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """What a revision did to a key: a new value, or its end, of which `entry` has no value."""

    entry: KeyValue
    is_deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """A transaction does something only while the key's last change is of this revision; 0: while there is no key."""

    key: bytes
    mod_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A value for a key. `lease`: the key goes with it; 0 is none."""

    key: bytes
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Transacted:
    """Whether all compares held, so that all was done at this revision; else nothing was."""

    succeeded: bool
    revision: int
    cluster_id: str = ""


def prefix_end(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with these octets; some octet is below 255."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,))


def content_of(endpoint: str, answer: HttpAnswer) -> Mapping[str, Any]:
    """The object of an answer. Raises what an answer without success says."""
    try:
        content = parse(answer.body)
    except ValueError:
        content = answer.body.decode("utf-8", "replace")
    if isinstance(content, dict) and answer.status == HTTPStatus.OK and "error" not in content:
        result = content.get("result", content)  # a stream's
        if isinstance(result, dict):
            return result
    raise refusal(endpoint, _status(answer, content), content)


def _status(answer: HttpAnswer, content: object) -> int:
    """The answer's; of a stream that began well the one with which it goes wrong."""
    error = content.get("error") if isinstance(content, dict) else None
    found = error.get("http_code") if isinstance(error, dict) else None
    return found if answer.status == HTTPStatus.OK and isinstance(found, int) else answer.status


def _message(content: object) -> str:
    """What an answer without success says, as text or as an object; beside the gateway's there is its TLS server's."""
    found: object = content
    if isinstance(content, dict):
        inner = content.get("error")
        found = inner.get("message") if isinstance(inner, dict) else content.get("message", inner)
    return one_line(found[: 4 * _QUOTED_CHARACTERS]).strip()[:_QUOTED_CHARACTERS] if isinstance(found, str) else ""


def refusal(endpoint: str, status: int, content: object) -> EtcdTrouble:
    """What an answer other than success means, or the reason for which a watch ends."""
    message = _message(content)
    if not isinstance(content, dict) or not message:
        quoted = f": {message}" if message else ""
        text = f"{endpoint}: not etcd's gateway, or not for us: answered {status}{quoted}"
        return NoProof(text, sent=status < HTTPStatus.BAD_REQUEST or status >= HTTPStatus.INTERNAL_SERVER_ERROR)
    text = f"{endpoint}: {message}"

    def says(phrases: Sequence[str]) -> bool:
        return any(phrase in message for phrase in phrases)

    if says(_NO_LEADER) or says(_READ_ONLY):
        return EndpointDown(text)
    if says(_NO_TOKEN) or status == HTTPStatus.UNAUTHORIZED:
        return TokenEnded(text)
    if says(_NOT_US):
        return PasswordRefused(text)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER:
        return NoProof(text, sent=True)
    for phrases, kind in _REFUSALS:
        if says(phrases):
            return kind(text)
    return EtcdRefused(text)


_REFUSALS: tuple[tuple[Sequence[str], type[EtcdRefused]], ...] = (
    (_COMPACTED, Compacted),
    (_NO_LEASE, LeaseGone),
    (_NOT_PERMITTED, NotPermitted),
    (_AUTHENTICATION_IS_OFF, AuthenticationIsOff),
)


def base64_of(octets: bytes) -> str:
    """As keys and values are written."""
    return base64.b64encode(octets).decode()


def put_of(one: Put) -> dict[str, str]:
    """A put as it is asked for."""
    return {"key": base64_of(one.key), "value": base64_of(one.value), "lease": str(one.lease)}


def refuse_too_large(keys: Sequence[bytes], puts: Sequence[Put]) -> None:
    """Raise EtcdRefused where etcd would take the request for too large."""
    octets = sum(len(key) + _OPERATION_BYTES for key in keys)
    octets += sum(len(each.key) + len(each.value) + _OPERATION_BYTES for each in puts)
    if octets > MOST_REQUEST_BYTES:
        raise EtcdRefused(f"too large: {octets} octets, and etcd takes {MOST_REQUEST_BYTES} (1.5 MiB) at once")


def found_in(answer: Mapping[str, Any], *, most: int) -> Found:
    """The answer to a range that asked for so many keys at most. Raises ValueError."""
    entries = answer.get("kvs", [])
    if not isinstance(entries, list):
        raise ValueError("kvs is no list")  # noqa: TRY004 - the answer is wrong, not the argument
    if len(entries) > most:
        raise ValueError(f"{len(entries)} keys, where {most} were asked for at most")
    return Found(
        entries=tuple(map(entry_in, entries)),
        revision=revision_in(answer),
        more=answer.get("more") is True,
        cluster_id=cluster_in(answer),
    )


def entry_in(content: object) -> KeyValue:
    """A key and what stands there. Raises ValueError."""
    if not isinstance(content, dict):
        raise ValueError("a key is no object")  # noqa: TRY004 - as above
    return KeyValue(
        key=_octets(content, "key"),
        value=_octets(content, "value"),
        mod_revision=whole_in(content, "mod_revision"),
        create_revision=whole_in(content, "create_revision"),
        lease=whole_in(content, "lease"),
    )


def transacted_in(answer: Mapping[str, Any]) -> Transacted:
    """The answer to a transaction. Raises ValueError."""
    return Transacted(
        succeeded=answer.get("succeeded") is True, revision=revision_in(answer), cluster_id=cluster_in(answer)
    )


def cluster_in(answer: Mapping[str, Any]) -> str:
    """The ID of the cluster that answered, an unsigned number of 64 bits as text; empty where it names none."""
    header = answer.get("header")
    found = header.get("cluster_id", "") if isinstance(header, dict) else ""
    return found if isinstance(found, str) and _CLUSTER_ID.fullmatch(found) else ""


def revision_in(answer: Mapping[str, Any]) -> int:
    """The revision of the whole at which etcd answered. Raises ValueError."""
    header = answer.get("header")
    if not isinstance(header, dict) or not (revision := whole_in(header, "revision")):
        raise ValueError("it names no revision")
    return revision


def _octets(content: Mapping[str, Any], name: str) -> bytes:
    found = content.get(name, "")
    if not isinstance(found, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004 - as above
    return base64.b64decode(found, validate=True)


def whole_in(content: Mapping[str, Any], name: str) -> int:
    """A number of etcd's, as text or not; 0 where it was left out. Raises ValueError."""
    found = content.get(name, 0)
    if isinstance(found, bool) or not isinstance(found, int | str) or (isinstance(found, str) and len(found) > _DIGITS):
        raise ValueError(f"{name} is no number")
    number = int(found)
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"{name} is no number")
    return number
