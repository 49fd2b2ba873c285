"""SIGHUP: the new configuration takes effect whole, or the old one stays, with a line for each reason.

Alarms, spool and row indexes stay in place; sources and sinks that did not change go on undisturbed.
"""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from hsm_agent import log as logs
from hsm_agent.agent.components import unread_sources
from hsm_agent.config.tree import load
from hsm_agent.evaluate.rules import Ruleset
from hsm_agent.serve.settings import HttpError
from hsm_agent.serve.snmp.responder import SnmpServerError
from hsm_agent.settings.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from hsm_agent.agent.agent import Agent
    from hsm_agent.config.tree import Config, Loaded
    from hsm_agent.group.settings import GroupSettings

log = logging.getLogger(__name__)

FILE_SECONDS = 5.0
LOAD_SECONDS = 20.0
NEEDS_RESTART = "needs a restart, it can't change while the agent runs"
_SNMP_KEYS = ("base_oid", "engine_id")


def frozen_changes(old: Config, new: Config) -> list[str]:
    """Keys that differ and can only take effect at a start."""
    compared = [
        ("agent.name", old.agent.name, new.agent.name),
        ("agent.state_directory", old.agent.state_directory, new.agent.state_directory),
        ("agent.control_socket", old.agent.control_path, new.agent.control_path),
        ("agent.enterprise_id", old.agent.enterprise_id, new.agent.enterprise_id),
    ]
    before, after = old.serve.snmp, new.serve.snmp
    if before is not None and after is not None:
        compared += [(f"serve.snmp.{key}", getattr(before, key), getattr(after, key)) for key in _SNMP_KEYS]
    changes = [f"{key}: {NEEDS_RESTART}" for key, was, becomes in compared if was != becomes]
    changes += [f"{key}: {NEEDS_RESTART}" for key in _frozen_of_group(old.group, new.group)]
    if (before is None) != (after is None):
        changes.append(f"serve.snmp: switching it on or off {NEEDS_RESTART}")
    return changes


def _frozen_of_group(before: GroupSettings | None, after: GroupSettings | None) -> list[str]:
    """The keys of the group that differ, but for how etcd is reached: a certificate ends while the agent runs."""
    if before is None or after is None:
        return [] if before is after else ["group"]
    was, becomes = dict(before), dict(after)
    return [f"group.{key}" for key in was if key != "etcd" and was[key] != becomes[key]]


def _refuse_frozen(old: Config, new: Loaded) -> None:
    if frozen := frozen_changes(old, new.config):
        raise ConfigError([f"{new.path}: {line}" for line in frozen])


async def reload(agent: Agent) -> bool:
    """Re-read the file and swap; False where the old configuration stays."""
    old = agent.loaded
    try:
        new = await _read(agent, old.path)
        _refuse_frozen(old.config, new)
        await _swap(agent, new)
    except ConfigError as error:
        lines = error.lines
    except (SnmpServerError, HttpError, OSError, ValueError) as error:
        lines = (f"{old.path}: {error}",)
    else:
        text = f"Configuration loaded: SHA-256 {new.digest}, before {old.digest}"
        log.info("%s", text)
        agent.store.configured = time.time()
        await agent.announce(text)
        return True
    for line in lines:
        log.error("configuration refused, the old one stays: %s", line)
    await agent.announce(f"Configuration refused, the old one ({old.digest}) stays: {lines[0]}")
    return False


async def _read(agent: Agent, path: Path) -> Loaded:
    """The file and all it names. Raises ConfigError, or OSError where a file system does not answer in time.

    A text that hangs is not read a second time; one that was corrected meanwhile is.
    """
    text = await agent.reading.call(path, f"reading {path}", path.read_bytes, seconds=FILE_SECONDS)
    work = partial(load, path, os.environ)
    return await agent.reading.call(
        sha256(text).digest(), "reading a file or looking for a command that it names", work, seconds=LOAD_SECONDS
    )


async def _swap(agent: Agent, new: Loaded) -> None:
    """Everything that can fail first; from then on nothing does."""
    config = new.config
    sources = agent.sources.build(config.sources)
    labels_changed = agent.loaded.config.agent.labels != config.agent.labels
    sinks = agent.sinks.build(config.deliver, agent.sink_context(config), anew=labels_changed)
    rules = Ruleset(config.effective_rules(), config.labels_by_source())
    await _swap_servers(agent, config)
    agent.loaded = new
    agent.store.labels = config.labels_by_source()
    logs.set_up(config.agent.log.level, config.agent.log.format)
    agent.spool.resize(entries=config.agent.spool.entries, size_bytes=config.agent.spool.size)
    await agent.replace_sinks(sinks)
    ended = await agent.sources.replace(sources)
    added = [name for name in sources if name not in agent.store.sources]
    await agent.replace_publisher()
    for name in ended:
        agent.store.forget_source(name)
    agent.store.sources = {**unread_sources(config), **agent.store.sources}
    removed = [name for name in ended if name not in sources]
    for name in set(ended).difference(removed):
        agent.objects.restore(name)
    await agent.withdraw(config, rules)
    if agent.group is not None:
        agent.group.reload(config)  # not before what is to be withdrawn by it is known
    # A changed source keeps its rows of SNMP as they are until its next poll.
    if agent.responder is not None and (added or removed):
        agent.responder.changed([*added, *removed], alarms=False)


async def _swap_servers(agent: Agent, config: Config) -> None:
    """Both or neither: what was changed first is put back where the second fails."""
    before, after = agent.loaded.config.serve, config.serve
    await agent.load_hide_key(config)
    if before.http == after.http:
        if agent.http is not None:
            await agent.http.reload()
        await _swap_snmp(agent, config)
        return
    old = agent.http
    # Two sockets can't have one port, not even where one of them listens on a single address.
    same_port = before.http is not None and after.http is not None and before.http.port == after.http.port
    if same_port and old is not None:
        await old.close()
    fresh = None
    try:
        fresh = await agent.make_http(config) if after.http is not None else None
        await _swap_snmp(agent, config)
    except BaseException:
        if fresh is not None:
            await fresh.close()
        if same_port:
            agent.http = None
            agent.http = await agent.make_http(agent.loaded.config)
        raise
    agent.http = fresh
    if old is not None and not same_port:
        await old.close()


async def _swap_snmp(agent: Agent, config: Config) -> None:
    before, after = agent.loaded.config.serve.snmp, config.serve.snmp
    if agent.responder is not None and after is not None and before != after:
        await agent.responder.reconfigure(after)
