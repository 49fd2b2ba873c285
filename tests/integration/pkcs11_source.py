"""What the tests of PKCS#11 sources share: a collector on a peer, and a look at its readings."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import CollectorContext, Poll
from hsm_agent.collect.child_common import PKCS11_COMMAND
from hsm_agent.collect.pkcs11.source import Pkcs11Collector, Pkcs11Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from hsm_agent.model import Reading


@contextlib.asynccontextmanager
async def source(
    state: Path, module: Path, *, environment: Mapping[str, str], command: Sequence[str] = PKCS11_COMMAND, **keys: Any
) -> AsyncIterator[Pkcs11Collector]:
    """A collector with the given keys of its source.

    Its groups are due at every poll, without a wait in between, unless the keys say otherwise: what comes due within
    the next 0.2 s is read at once.
    """
    defaults = {"name": "hsm", "kind": "pkcs11", "module": str(module), "environment": dict(environment)}
    settings = Pkcs11Settings.model_validate({**defaults, "every": "50ms", "timeout": "2s", **keys})
    collector = Pkcs11Collector(settings, CollectorContext(state_directory=state), command=command)
    try:
        yield collector
    finally:
        await collector.close()


def find(poll: Poll, resource: str, metric: str) -> Reading:
    """The one reading of that name."""
    (reading,) = [found for found in poll.readings if (found.resource, found.metric) == (resource, metric)]
    return reading


def value(poll: Poll, resource: str, metric: str) -> float | None:
    return find(poll, resource, metric).value


def metrics(poll: Poll) -> set[str]:
    return {reading.metric for reading in poll.readings}
