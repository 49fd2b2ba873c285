"""What the canary's tests share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.canary.source import CanaryCollector, CanarySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hsm_agent.collect.base import Poll


def settings(folder: Path, module: Path, pin: str, **keys: Any) -> CanarySettings:
    """Settings of a canary whose PIN lies in a file below the folder. Reads files: not on an event loop."""
    secret = folder / "canary.pin"
    secret.touch(mode=0o600)
    secret.write_text(f"{pin}\n", encoding="utf-8")
    tree = {"name": "canary", "kind": "canary", "module": str(module), "key": {"label": "canary"}, "mechanism": "ECDSA"}
    return CanarySettings.model_validate({**tree, "pin": {"file": str(secret)}, "timeout": "5s", **keys})


@contextlib.asynccontextmanager
async def canary(state: Path, wanted: CanarySettings, **keys: Any) -> AsyncIterator[CanaryCollector]:
    collector = CanaryCollector(wanted, CollectorContext(state_directory=state), **keys)
    try:
        yield collector
    finally:
        await collector.close()


def said(poll: Poll) -> tuple[int | None, str]:
    """`canary_ok`, and the error or the reason."""
    (ok,) = [reading for reading in poll.readings if reading.metric == "canary_ok"]
    return None if ok.value is None else int(ok.value), poll.errors[0] if poll.errors else ok.reason


def tree(wanted: CanarySettings) -> dict[str, Any]:
    """The settings as they would stand in a file."""
    return {
        **wanted.model_dump(exclude={"every", "timeout", "pin"}),
        "pin": {"file": str(wanted.pin.file)},
        "timeout": "5s",
    }
