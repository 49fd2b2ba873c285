"""The load on an SNMP responder: a closed loop and replayed walks over a plain socket, no asyncio, nothing decoded."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.messages import connected
from benchmarks.process import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTSTANDING = 4
_LARGEST = 65535
_CLOCK_EVERY = 64


@dataclass(slots=True)
class Load:
    """What was asked of a responder in all rounds, how long it took and what it cost the responder."""

    rates: list[float]
    """Requests (or walks) a second, a round each."""
    requests: int = 0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Of the median round."""
        return sorted(self.rates)[len(self.rates) // 2]

    @property
    def cpu_microseconds(self) -> float:
        """CPU time of the responder for one request, over all rounds."""
        return self.cpu / self.requests * 1e6

    def add(self, requests: int, seconds: float, cpu: float) -> None:
        """Take in a round."""
        self.rates.append(requests / seconds)
        self.requests += requests
        self.cpu += cpu


def closed_loop(port: int, pid: int, messages: Sequence[bytes], seconds: float, into: Load) -> None:
    """Keep so many requests under way for so long; each answer is followed by the next request."""
    cycle = itertools.cycle(messages)
    answered = 0
    with connected(port) as client:
        send, receive = client.send, client.recv
        cpu = cpu_seconds(pid)
        started = time.perf_counter()
        for _ in range(OUTSTANDING):
            send(next(cycle))
        while time.perf_counter() - started < seconds:
            for _ in range(_CLOCK_EVERY):
                receive(_LARGEST)
                send(next(cycle))
            answered += _CLOCK_EVERY
        ended = time.perf_counter()
        for _ in range(OUTSTANDING):
            receive(_LARGEST)
        into.add(answered, ended - started, cpu_seconds(pid) - cpu)


def walks(port: int, pid: int, requests: Sequence[bytes], seconds: float, into: Load) -> None:
    """Repeat the requests of a walk, one at a time, as a manager does that needs each answer for the next request."""
    done = 0
    with connected(port) as client:
        send, receive = client.send, client.recv
        cpu = cpu_seconds(pid)
        started = time.perf_counter()
        while done == 0 or time.perf_counter() - started < seconds:
            for request in requests:
                send(request)
                receive(_LARGEST)
            done += 1
        into.add(done, time.perf_counter() - started, cpu_seconds(pid) - cpu)
