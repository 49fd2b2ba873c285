"""Figure 6: what a hundred appliances cost that are read over SNMP, against pysnmp reading them."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from typing import TYPE_CHECKING, Any

from benchmarks.process import cpu_seconds
from benchmarks.report import number, show, times
from benchmarks.responders import secret
from tests.peers.agent import AgentProcess
from tests.peers.snmpsim import AUTH_SECRET, PRIVACY_SECRET, Snmpsim

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # as in tests/peers/pysnmp_manager.py
    from pysnmp.hlapi.v3arch import asyncio as hlapi

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.snmpsim import Record

_OBJECTS = 50
_A_REQUEST = 25
_INTERVAL_SECONDS = 60
_SETTLE_SECONDS = 8.0
_ROOT = (1, 3, 6, 1, 4, 1, 32473, 9)
_ENGINE_SECONDS = 240.0
"""How long a pysnmp engine is of use for v3: after 300 s it forgets the time of its peers."""
_WALK = "bench"


async def run(directory: Path, *, quick: bool) -> None:
    """Measure and print."""
    count, seconds = (4, 2.0) if quick else (100, float(_INTERVAL_SECONDS))
    walk: list[Record] = [(".".join(map(str, name)), "66", str(name[-2])) for name in _names()]
    rows = []
    async with Snmpsim(directory / "snmpsim", {_WALK: walk}) as peer:
        for version in ("v2c", "v3"):
            folder = directory / version
            folder.mkdir()
            ours = await _agent(folder, peer.port, version, count=count, seconds=seconds)
            first, later = await _pysnmp(peer.port, version, polls=2 if quick else 20)
            theirs = later * count / _INTERVAL_SECONDS
            if version == "v3":
                theirs += first * count / _ENGINE_SECONDS
            rows.append(
                (version, str(count), f"{100 * ours:.2f} %", number(1000 * first), number(1000 * later),
                 f"{100 * theirs:.2f} %", times(ours / theirs))
            )  # fmt: skip
    show(
        "Appliances over SNMP",
        (
            "version",
            "appliances",
            "hsm-agent, of a core",
            "pysnmp, first poll CPU ms",
            "pysnmp, next poll CPU ms",
            "pysnmp, of a core",
            "hsm-agent / pysnmp",
        ),
        rows,
        f"{_OBJECTS} objects of each a minute, in GETs of {_A_REQUEST}; one snmpsim process is all of them."
        " *hsm-agent*: the whole process, with judging, spool and what it serves, over one interval. *pysnmp*: polls"
        " alone; one engine an appliance, for v3 a new one every four minutes.",
    )


def _names() -> list[tuple[int, ...]]:
    return [(*_ROOT, number_, 0) for number_ in range(1, _OBJECTS + 1)]


async def _agent(directory: Path, port: int, version: str, *, count: int, seconds: float) -> float:
    """CPU seconds a second of an agent that reads them all, at rest otherwise."""
    given: dict[str, Any] = {"community": secret(directory, "appliance-community", _WALK)}
    if version == "v3":
        given = {
            "context": _WALK,
            "user": {
                "name": "nms",
                "auth": {"protocol": "SHA-256", "secret": secret(directory, "auth", AUTH_SECRET)},
                "privacy": {"protocol": "AES-128", "secret": secret(directory, "priv", PRIVACY_SECRET)},
            },
        }
    values = [{"oid": ".".join(map(str, name)), "metric": f"custom_value_{name[-2]}"} for name in _names()]
    every = f"{seconds:g}s"
    sources = [
        {"name": f"appliance-{one}", "kind": "snmp", "to": f"udp:127.0.0.1:{port}", "version": version, "every": every,
         "custom": {"values": values}, **given}
        for one in range(count)
    ]  # fmt: skip
    agent = AgentProcess(directory, sources=sources)
    agent.configure()
    async with agent:
        await asyncio.sleep(_SETTLE_SECONDS)
        before, began = cpu_seconds(agent.pid), time.monotonic()
        await asyncio.sleep(seconds)
        share = (cpu_seconds(agent.pid) - before) / (time.monotonic() - began)
        read = [one for one in (await agent.status())["readings"] if one["metric"].startswith("custom_")]
    if len(read) != count * _OBJECTS or any(one["value"] is None for one in read):
        raise RuntimeError(f"{len(read)} readings of {count * _OBJECTS}, or some without a value")
    return share


async def _pysnmp(port: int, version: str, *, polls: int) -> tuple[float, float]:
    """CPU seconds of the first poll of an engine, and of each later one."""
    engine = hlapi.SnmpEngine()
    try:
        began = time.process_time()
        await _poll(engine, port, version)
        first = time.process_time() - began
        began = time.process_time()
        for _ in range(polls):
            await _poll(engine, port, version)
        return first, (time.process_time() - began) / polls
    finally:
        engine.close_dispatcher()
        gc.collect()


async def _poll(engine: Any, port: int, version: str) -> None:
    target = await hlapi.UdpTransportTarget.create(("127.0.0.1", port), timeout=5, retries=1)
    credentials: Any = hlapi.CommunityData(_WALK, mpModel=1)
    context = hlapi.ContextData()
    if version == "v3":
        context = hlapi.ContextData(contextName=_WALK.encode())
        credentials = hlapi.UsmUserData(
            "nms",
            AUTH_SECRET,
            PRIVACY_SECRET,
            authProtocol=hlapi.USM_AUTH_HMAC192_SHA256,
            privProtocol=hlapi.USM_PRIV_CFB128_AES,
        )
    names = _names()
    for start in range(0, len(names), _A_REQUEST):
        objects = [hlapi.ObjectType(hlapi.ObjectIdentity(name)) for name in names[start : start + _A_REQUEST]]
        error, status, _, _ = await hlapi.get_cmd(engine, credentials, target, context, *objects, lookupMib=False)
        if error or status:
            raise RuntimeError(f"pysnmp: {error or status.prettyPrint()}")
