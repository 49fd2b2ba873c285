"""`test-notification --directly`: a TEST event to every receiver from this process, without a running agent."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.agent.host import host_name
from hsm_agent.deliver.base import Refused, Retry, SinkContext
from hsm_agent.model import AGENT_SOURCE, AgentIdentity, Event, EventKind, Guarantee, Severity
from hsm_agent.pipeline import new_id
from hsm_agent.serve.settings import SnmpServerSettings
from hsm_agent.state.files import DirectoryInUseError, DirectoryLock
from hsm_agent.state.snmp_engine import EngineStateError, held_engine, start_engine
from hsm_agent.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hsm_agent.config.tree import Config
    from hsm_agent.deliver.base import SinkSettings
    from hsm_agent.wire.snmp.engine import Engine

LONGEST_SECONDS = 30.0
"""For each receiver: one that answers takes a second."""
_TEXT = "TEST notification sent by hsm-agent before it was started: no alarm, no action needed"


class NotNowError(Exception):
    """Nothing can be sent from here; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What became of the test event at one sink."""

    sink: str
    is_sent: bool
    text: str


def prove(config: Config, sinks: Sequence[SinkSettings]) -> list[Proof]:
    """Send a TEST event to each, side by side. Raises OSError, NotNowError where the agent runs or is another user's.

    The state directory is locked meanwhile: an SNMP engine that two processes speak for would be taken for a replay.
    """
    _refuse_to_leave_files_of_root(config.agent.state_directory)
    try:
        lock = DirectoryLock(config.agent.state_directory)
    except DirectoryInUseError as error:
        raise NotNowError(f"{error}; ask it: hsm-agent test-notification") from error
    try:
        return asyncio.run(_prove_all(config, sinks, _engine(config, sinks)))
    finally:
        lock.close()


def _refuse_to_leave_files_of_root(directory: Path) -> None:
    """In a directory of the agent's own user they would keep it from its lock and its SNMP engine."""
    try:
        owner = directory.stat().st_uid
    except FileNotFoundError:
        return
    if owner and not os.geteuid():
        raise NotNowError(
            f"{directory} belongs to the user with uid {owner}: run this as that user, "
            f"such as: setpriv --reuid {owner} --init-groups hsm-agent test-notification --directly"
        )


async def _prove_all(config: Config, sinks: Sequence[SinkSettings], engine: Engine) -> list[Proof]:
    context = SinkContext(
        origin=AgentIdentity(
            agent_name=config.agent.name,
            host_name=await host_name(otherwise=config.agent.name),
            version=VERSION,
            enterprise_id=config.agent.enterprise_id,
        ),
        engine=engine,
        base_oid=(config.serve.snmp or SnmpServerSettings()).base_oid,
    )
    return list(await asyncio.gather(*(_prove(settings, context, _event(config)) for settings in sinks)))


def _engine(config: Config, sinks: Sequence[SinkSettings]) -> Engine:
    """The agent's SNMP engine, with its boots raised; one that is never used where no sink speaks SNMPv3."""
    engine_id = config.serve.snmp.engine_id if config.serve.snmp is not None else None
    if not any(sink.speaks_v3() for sink in sinks):
        return held_engine(engine_id=engine_id, now=time.monotonic())
    try:
        return start_engine(config.agent.state_directory, engine_id=engine_id, now=time.monotonic())
    except EngineStateError as error:
        raise NotNowError(str(error)) from error


def _event(config: Config) -> Event:
    return Event(
        event_id=new_id(),
        kind=EventKind.TEST,
        severity=Severity.CLEARED,
        time=time.time(),
        text=_TEXT,
        agent=config.agent.name,
        source=AGENT_SOURCE,
        labels=tuple(sorted(config.agent.labels.items())),
    )


async def _prove(settings: SinkSettings, context: SinkContext, event: Event) -> Proof:
    sink = settings.build(context)
    accepted: list[Event] = []
    place = f"{sink.kind} {settings.to}"
    try:
        async with asyncio.timeout(min(LONGEST_SECONDS, settings.patience_seconds)):
            await sink.deliver([event], accepted.append)
    except TimeoutError:
        reason = "no answer in time"
    except Retry as retry:
        reason = str(retry)
    except Refused as refused:
        reason = f"refused: {refused}"
    else:
        reason = "" if accepted else "no answer"
    finally:
        await sink.close()
    if not accepted:
        return Proof(sink=settings.name, is_sent=False, text=f"{place}: not accepted: {reason}")
    if settings.guarantee is Guarantee.AT_LEAST_ONCE:
        return Proof(sink=settings.name, is_sent=True, text=f"{place}: accepted, the receiver acknowledged it")
    text = f"{place}: sent; receivers of this kind acknowledge nothing: look there for TEST {event.event_id}"
    return Proof(sink=settings.name, is_sent=True, text=text)
