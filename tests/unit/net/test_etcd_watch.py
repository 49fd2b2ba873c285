"""What a watch says: revisions put together whole, however etcd divides them; reasons for its end."""

from __future__ import annotations

import base64
import json
from itertools import groupby
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_agent.net.etcd_messages import (
    Compacted,
    EndpointDown,
    EtcdRefused,
    EtcdTrouble,
    EtcdUnavailable,
    NoProof,
    NotPermitted,
)
from hsm_agent.net.etcd_watch import EtcdWatch, watched_in
from hsm_agent.net.http_answer import HttpAnswer, HttpTrouble


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def event(key: str, revision: int, value: str | None = "v") -> dict[str, object]:
    kv = {"key": b64(key), "mod_revision": str(revision)} | ({} if value is None else {"value": b64(value)})
    return {"kv": kv} if value is not None else {"type": "DELETE", "kv": kv}


def line(*events: object, **fields: object) -> bytes:
    result: dict[str, object] = {"header": {"cluster_id": "14841639068965178418", "revision": "9"}, **fields}
    return json.dumps({"result": result | ({"events": events} if events else {})}).encode()


class Lines:
    """A stream that consists of these lines, or troubles."""

    status = 200

    def __init__(self, *lines: bytes | Exception) -> None:
        self.left = list(lines)

    async def line(self, **_: object) -> bytes | None:
        found = self.left.pop(0) if self.left else None
        if isinstance(found, Exception):
            raise found
        return found


class Refused:
    """An answer that is no stream."""

    status = 503

    async def whole(self, **_: object) -> HttpAnswer:
        return HttpAnswer(status=503, headers=(), body=b'{"error":{"message":"etcdserver: no leader"}}')


def watch_of(stream: object) -> EtcdWatch:
    return EtcdWatch("http://a:2379", cast("Any", stream), idle_seconds=3.0)


async def begun(*lines: bytes | Exception) -> EtcdWatch:
    watch = watch_of(Lines(line(created=True), *lines))
    await watch.begin(seconds=1)
    return watch


async def test_a_watch_that_was_created_says_of_what_cluster_and_what_changed() -> None:
    watch = await begun(line(), line(event("a", 7), event("b", 7, None)), line(event("a", 9, "")))

    first, second = await watch.next(), await watch.next()

    assert watch.cluster_id == "14841639068965178418"
    assert (first.revision, second.revision) == (7, 9)
    assert [(each.entry.key, each.entry.value, each.is_deleted) for each in first.changes] == [
        (b"a", b"v", False),
        (b"b", b"", True),
    ]
    with pytest.raises(EtcdUnavailable, match="it has ended the watch"):
        await watch.next()


@given(
    revisions=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=20),
    ends=st.lists(st.booleans(), min_size=20, max_size=20),
)
async def test_a_revision_comes_whole_however_messages_are_divided(
    revisions: list[int], cuts: list[int], ends: list[bool]
) -> None:
    """A message may end between two revisions; a fragment anywhere."""
    events = [(number, f"k{each}") for number, count in enumerate(revisions, 1) for each in range(count)]
    lines, left, index = [], list(events), 0
    while left:
        taken, left = left[: cuts[index % len(cuts)]], left[cuts[index % len(cuts)] :]
        splits = bool(left) and left[0][0] == taken[-1][0]
        is_fragment = bool(left) and (splits or ends[index % len(ends)])
        fields = {"fragment": True} if is_fragment else {}
        lines.append(line(*(event(key, number) for number, key in taken), **fields))
        index += 1
    watch = await begun(*lines)

    found = [await watch.next() for _ in revisions]

    expected = [(number, [key for _, key in group]) for number, group in groupby(events, key=lambda each: each[0])]
    assert [(each.revision, [c.entry.key.decode() for c in each.changes]) for each in found] == expected


@pytest.mark.parametrize(
    ("said", "kind", "why"),
    [
        (line(canceled=True, compact_revision="7"), Compacted, "from revision 7 on"),
        (line(canceled=True, cancel_reason="etcdserver: permission denied"), NotPermitted, "permission denied"),
        (line(canceled=True), EtcdRefused, "the watch was canceled"),
        (b'{"error":{"http_code":503,"message":"transport is closing"}}', EtcdUnavailable, "transport is closing"),
        (b'{"error":{"http_code":503,"message":"etcdserver: no leader"}}', EtcdUnavailable, "no leader"),
        (b"<html>", EtcdUnavailable, "not etcd's gateway"),
        (line(7), EtcdUnavailable, "an event is no object"),
        (line(event("a", 1) | {"type": "MOVE"}), EtcdUnavailable, "neither PUT nor DELETE"),
        (line({"kv": 7}), EtcdUnavailable, "a key is no object"),
        (line(events=7), EtcdUnavailable, "events is no list"),
        (HttpTrouble("http://a:2379: no word for 3 s"), EtcdUnavailable, "no word for 3 s"),
    ],
)
async def test_a_watch_ends_with_its_reason(said: bytes | Exception, kind: type[EtcdTrouble], why: str) -> None:
    watch = await begun(said)
    with pytest.raises(kind, match=why) as caught:
        await watch.next()

    if isinstance(caught.value, EtcdUnavailable):
        assert list(caught.value.troubles) == ["http://a:2379"]
        expected = EndpointDown if why == "no leader" else NoProof
        assert type(caught.value.troubles["http://a:2379"]) is expected


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (Refused(), EndpointDown),
        (Lines(line(event("a", 1))), NoProof),
        (Lines(), NoProof),
        (Lines(HttpTrouble("silence")), NoProof),
        (Lines(line(created=True, canceled=True, cancel_reason="etcdserver: permission denied")), NotPermitted),
    ],
)
async def test_a_watch_that_is_not_created_is_none(stream: object, kind: type[EtcdTrouble]) -> None:
    with pytest.raises(kind):
        await watch_of(stream).begin(seconds=1)


async def test_a_revision_without_end_is_none() -> None:
    large = "x" * 6 * 1024 * 1024
    fragments = [line(event(f"k{number}", 7, large), fragment=True) for number in range(4)]
    watch = await begun(*fragments)

    with pytest.raises(EtcdUnavailable, match="a revision is longer than"):
        await watch.next()


def test_a_message_without_anything_is_one() -> None:
    found = watched_in({})

    assert (found.changes, found.is_created, found.is_fragment, found.why) == ((), False, False, None)
