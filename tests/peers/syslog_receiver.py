"""What the syslog daemons have in common: each writes what it received as JSON lines. Needs no pytest."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.peers.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One message as the daemon understood it. `data` is the structured data, SD-ID to name to value."""

    raw: str
    pri: int
    timestamp: str
    host_name: str
    app_name: str
    process_id: str
    message_id: str
    data: Mapping[str, Mapping[str, str]]
    text: str


class JsonReceiver(Daemon):
    """A daemon that writes each message to `output`."""

    @property
    @abstractmethod
    def output(self) -> Path:
        """Where the messages go, a JSON object a line."""

    @abstractmethod
    def parse(self, record: dict[str, Any]) -> Received:
        """A line of its output."""

    def received(self) -> list[Received]:
        """Everything received so far, over all restarts."""
        if not self.output.exists():
            return []
        lines = self.output.read_text(encoding="utf-8").split("\n")
        return [self.parse(json.loads(line)) for line in lines[:-1]]

    async def until(self, count: int, seconds: float = 10.0) -> list[Received]:
        """Everything received, once there are so many. Raises TimeoutError if there are not in time."""
        async with asyncio.timeout(seconds):
            while len(found := self.received()) < count:
                await asyncio.sleep(0.02)
        return found
