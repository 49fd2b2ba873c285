"""Reports of agents, and an etcd in memory that holds them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hsm_agent.model import Severity
from hsm_agent.net.etcd_messages import AnswerTooLong, Found, KeyValue, Transacted
from hsm_agent.wire.agent_report import SEVERITIES, AgentReport, WorstAlarm, encode, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.net.etcd_messages import Compare, EtcdTrouble, Put

NOW = 1_790_000_000.0

REPORT = AgentReport(
    site="fra",
    version="0.1.0",
    run="0123456789abcdef",
    time=NOW,
    started=NOW - 3600,
    every_seconds=60.0,
    alarms={severity: {Severity.CRITICAL: 1, Severity.WARNING: 2}.get(severity, 0) for severity in SEVERITIES},
    worst=(
        WorstAlarm(
            severity=Severity.CRITICAL, rule="token-memory", place="luna-a/payments", text="full", since=NOW - 60
        ),
    ),
    sources=5,
    sources_down=1,
    down=("luna-b",),
)


def report(**changes: Any) -> AgentReport:
    """The report with changes."""
    return replace(REPORT, **changes)


class MemoryEtcd:
    """What a client of etcd does, on a dictionary. `trouble` is raised by every request while it is set."""

    def __init__(self, *, most_answer: int = 2**21) -> None:
        self.kept: dict[bytes, KeyValue] = {}
        self.revision = 1
        self.trouble: EtcdTrouble | None = None
        self.requests: list[str] = []
        self.is_closed = False
        self._most_answer = most_answer

    def publish(self, agent: str, value: AgentReport | bytes = REPORT) -> None:
        """What an agent puts there, or somebody else."""
        self.keep(key_of(agent).encode(), encode(value) if isinstance(value, AgentReport) else value)

    def keep(self, key: bytes, value: bytes) -> None:
        self.revision += 1
        self.kept[key] = KeyValue(
            key=key, value=value, mod_revision=self.revision, create_revision=self.revision, lease=0
        )

    async def range(self, key: bytes, *, end: bytes = b"", limit: int = 1000, keys_only: bool = False) -> Found:
        self._asked("range")
        keys = sorted(each for each in self.kept if (key <= each < end if end else each == key))
        entries = [self.kept[each] for each in keys[:limit]]
        if keys_only:
            entries = [replace(each, value=b"") for each in entries]
        if sum(len(each.key) + len(each.value) for each in entries) > self._most_answer:
            raise AnswerTooLong("the answer is too long")
        return Found(entries=tuple(entries), revision=self.revision, more=len(keys) > limit)

    async def transaction(
        self, *, compares: Sequence[Compare] = (), puts: Sequence[Put] = (), deletes: Sequence[bytes] = ()
    ) -> Transacted:
        self._asked("transaction")
        succeeded = all(
            each.mod_revision == (self.kept[each.key].mod_revision if each.key in self.kept else 0) for each in compares
        )
        if succeeded:
            for put in puts:
                self.keep(put.key, put.value)
            for key in deletes:
                self.kept.pop(key, None)
        return Transacted(succeeded=succeeded, revision=self.revision)

    async def close(self) -> None:
        self.is_closed = True

    def _asked(self, what: str) -> None:
        self.requests.append(what)
        if self.trouble is not None:
            raise self.trouble
