"""What a group wrote to etcd, revision by revision, and whether two ever committed in one epoch. Needs no pytest."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.peers.etcd import EtcdCluster

PREFIX = "/hsm-agent/pair/"
_READ_SECONDS = 30.0
_LONGEST_LINE = 1 << 27


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key at one revision; a value of None: it was deleted."""

    revision: int
    key: str
    value: str | None


@dataclass(slots=True)
class Findings:
    """`problems`: a line each. `epochs`: of each, who led."""

    problems: list[str] = field(default_factory=list)
    epochs: dict[int, str] = field(default_factory=dict)
    commits: int = 0


async def history(cluster: EtcdCluster, *, user: str = "") -> list[Change]:
    """All that was ever written below the group's prefix, as far as nothing was compacted."""
    found = json.loads(await cluster.ctl("get", f"{PREFIX}beat", "--write-out=json", user=user))
    last = int(found["kvs"][0]["mod_revision"])
    changes: list[Change] = []
    words = cluster.ctl_words("watch", "--prefix", "--rev=1", PREFIX, "--write-out=json", user=user)
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE,
        env=cluster.ctl_environment(),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_READ_SECONDS):
            while not changes or changes[-1].revision < last:
                line = await process.stdout.readline()
                assert line, "etcdctl watch ended"
                changes += _changes(json.loads(line))
    finally:
        process.kill()
        await process.wait()
    return changes


def _changes(answer: dict[str, Any]) -> Iterator[Change]:
    for event in answer["Events"] or ():
        pair = event["kv"]
        deleted = event.get("type", 0) == 1
        yield Change(
            revision=int(pair["mod_revision"]),
            key=base64.b64decode(pair["key"]).decode(),
            value=None if deleted else base64.b64decode(pair.get("value", "")).decode(),
        )


def examine(changes: Sequence[Change]) -> Findings:
    """Every commit is by who held the lock, follows the one before, and no event is put twice, or after it went."""
    found = Findings()
    epoch, number, whole = 0, -1, False
    events: set[str] = set()
    for revision, group in groupby(changes, key=lambda change: change.revision):
        by_key = {change.key.removeprefix(PREFIX): change.value for change in group}
        if lock := by_key.get("lock"):
            epoch = revision
            found.epochs[epoch] = str(json.loads(lock)["name"])
        seeded = not whole
        if head := by_key.get("head"):
            record = json.loads(head)
            found.commits += 1
            if whole and record["number"] != number + 1:
                found.problems.append(f"revision {revision}: commit {record['number']} follows {number}")
            number, whole = record["number"], record.get("whole", True)
        found.problems += _events(revision, epoch, by_key.items(), events, seeded=seeded or not whole)
    return found


def _events(
    revision: int, epoch: int, changes: Iterable[tuple[str, str | None]], seen: set[str], *, seeded: bool
) -> Iterator[str]:
    for key, value in changes:
        if not key.startswith("event/") or value is None:
            continue
        if key in seen:
            yield f"revision {revision}: {key} is put again"
        seen.add(key)
        made_in = json.loads(value)["at"][0]
        if made_in != epoch and not seeded:
            yield f"revision {revision}: {key} of epoch {made_in} is put in epoch {epoch}"
