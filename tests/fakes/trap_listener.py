"""A trap listener on a free port, and its readings in short. The secrets come from the environment; see `secrets`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.base import CollectorContext, Poll
from hsm_agent.collect.snmp_trap_listener import SnmpTrapListenerSettings, TrapListener

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

COMMUNITY, AUTH, PRIVACY = "traps-only", "authentic-1", "encrypted-1"
AUTH_SECRET, PRIVACY_SECRET = {"env": "TEST_AUTH"}, {"env": "TEST_PRIVACY"}
ENGINE_ID = "80001f88046170706c69616e6365"


def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the secrets where the settings look."""
    monkeypatch.setenv("TEST_COMMUNITY", COMMUNITY)
    monkeypatch.setenv("TEST_AUTH", AUTH)
    monkeypatch.setenv("TEST_PRIVACY", PRIVACY)


def settings(**keys: Any) -> SnmpTrapListenerSettings:
    """A listener for loopback that a community and two users may speak to."""
    given = {
        "name": "traps",
        "kind": "snmp_trap_listener",
        "listen": ["udp:127.0.0.1:0"],
        "communities": [{"name": {"env": "TEST_COMMUNITY"}}],
        "users": [
            {"name": "plain", "engine_ids": [ENGINE_ID], "auth": {"protocol": "SHA", "secret": AUTH_SECRET}},
            {
                "name": "luna",
                "engine_ids": [ENGINE_ID],
                "auth": {"protocol": "SHA-256", "secret": AUTH_SECRET},
                "privacy": {"protocol": "AES-128", "secret": PRIVACY_SECRET},
            },
        ],
        "devices": {"127.0.0.1": "luna-a", "::1": "luna-6"},
        "every": "30s",
        **keys,
    }
    return SnmpTrapListenerSettings.model_validate(given)


def listener(state: Path, *, wall: Callable[[], float] = time.time, **keys: Any) -> TrapListener:
    """The collector, which listens from its first poll on."""
    return TrapListener(settings(**keys), CollectorContext(state_directory=state), wall=wall)


def levels(poll: Poll) -> dict[str, int]:
    """`resource alarm` and its level."""
    return {
        f"{reading.resource} {dict(reading.labels)['alarm']}": int(reading.value or 0)
        for reading in poll.readings
        if reading.metric == "vendor_alarm"
    }


def counted(poll: Poll) -> dict[str, int]:
    """The counters that are not 0: received, unmapped, and what was dropped by its reason."""
    found = {}
    for reading in poll.readings:
        if reading.metric.startswith("traps_") and reading.value:
            name = dict(reading.labels).get("reason", reading.metric.removeprefix("traps_").removesuffix("_total"))
            found[name] = int(reading.value)
    return found
