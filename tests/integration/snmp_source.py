"""Sources of `kind: snmp` for the tests against snmpsim."""

from __future__ import annotations

from collections.abc import AsyncIterator  # noqa: TC003 - contextlib looks at it
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.snmp.profile import profile
from hsm_agent.collect.snmp.source import SnmpCollector, SnmpSettings
from tests.fakes import appliances
from tests.peers.snmpsim import AUTH_SECRET, PRIVACY_SECRET

if TYPE_CHECKING:
    import pytest

    from hsm_agent.collect.base import Poll
    from hsm_agent.model import Reading

WALKS = {
    "luna": appliances.luna(),
    "luna-legacy": appliances.luna_legacy(),
    "utimaco": appliances.utimaco(),
    "nshield": appliances.nshield(),
    "primekey": appliances.primekey(),
    "net-snmp-host": appliances.net_snmp_host(),
}


def set_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets that the settings below name."""
    monkeypatch.setenv("AUTH", AUTH_SECRET)
    monkeypatch.setenv("PRIVACY", PRIVACY_SECRET)
    monkeypatch.setenv("WRONG", "a-wrong-secret")
    for name in WALKS:
        monkeypatch.setenv(name, name)
        profile(name)  # as when a configuration is loaded, which is not done on the loop


def v2c(port: int, name: str, **more: Any) -> SnmpSettings:
    given = {"profile": name, "timeout": "5s", **more}
    fields = {"name": name, "kind": "snmp", "to": f"udp:127.0.0.1:{port}", "version": "v2c", "community": {"env": name}}
    return SnmpSettings.model_validate({**fields, **given})


def v3(port: int, name: str, *, auth: str = "AUTH", privacy: str | None = "PRIVACY", **more: Any) -> SnmpSettings:
    user: dict[str, Any] = {"name": "nms", "auth": {"protocol": "SHA-256", "secret": {"env": auth}}}
    if privacy is not None:
        user["privacy"] = {"protocol": "AES-128", "secret": {"env": privacy}}
    given = {"profile": name, "timeout": "5s", "user": user, **more}
    fields = {"name": name, "kind": "snmp", "to": f"udp:127.0.0.1:{port}", "version": "v3", "context": name}
    return SnmpSettings.model_validate({**fields, **given})


@asynccontextmanager
async def reading(settings: SnmpSettings, **more: Any) -> AsyncIterator[SnmpCollector]:
    collector = SnmpCollector(settings, **more)
    try:
        yield collector
    finally:
        await collector.close()


async def poll(settings: SnmpSettings) -> Poll:
    async with reading(settings) as collector:
        return await collector.poll()


def table(found: Poll) -> dict[tuple[str, ...], float | int | str | None]:
    """Resource, metric and labels of each reading, and its value or the reason why there is none."""
    return {
        (each.resource, each.metric, *(f"{name}={value}" for name, value in each.labels)): _shown(each)
        for each in found.readings
    }


def _shown(reading: Reading) -> float | int | str | None:
    return reading.reason or reading.value
