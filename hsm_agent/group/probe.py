"""Asks each endpoint of etcd by itself whether it takes what a leader writes. Nothing is ever written by it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hsm_agent.net.etcd import EtcdClient
from hsm_agent.net.etcd_messages import Compare, EtcdTrouble, EtcdUnavailable, NoProof, Put

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.group.keys import GroupKeys
    from hsm_agent.net.etcd_settings import EtcdSettings

_NEVER = 2**62
"""No revision is ever so great: the compare does not hold."""
_STEPS = 4
"""To connect, to be told that a token has ended, to ask for another one, and to ask again."""


class Probe:
    """A client for each endpoint. For one task."""

    def __init__(self, settings: EtcdSettings, keys: GroupKeys) -> None:
        self._seconds = _STEPS * settings.timeout
        self._keys = keys
        self._clients = _clients_of(settings)
        self._given_up: list[EtcdClient] = []

    def use(self, settings: EtcdSettings) -> None:
        """Ask these endpoints, in this way, from the next time on."""
        self._seconds = _STEPS * settings.timeout
        self._given_up += self._clients.values()
        self._clients = _clients_of(settings)

    async def ask(self) -> Mapping[str, EtcdTrouble | None]:
        """The trouble with each endpoint, None where it serves; all are asked side by side."""
        await self._close_given_up()
        async with asyncio.TaskGroup() as group:
            tasks = {endpoint: group.create_task(self._one(client)) for endpoint, client in self._clients.items()}
        return {
            endpoint: trouble.troubles.get(endpoint, trouble) if isinstance(trouble, EtcdUnavailable) else trouble
            for endpoint, trouble in ((endpoint, task.result()) for endpoint, task in tasks.items())
        }

    async def close(self) -> None:
        """Close the connections, within a second each, side by side."""
        self._given_up += self._clients.values()
        await self._close_given_up()

    async def _close_given_up(self) -> None:
        clients, self._given_up = self._given_up, []
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.close())

    async def _one(self, client: EtcdClient) -> EtcdTrouble | None:
        """A transaction that puts something, and whose compare never holds: a database without room refuses it."""
        never = Compare(key=self._keys.lock, mod_revision=_NEVER)
        try:
            async with asyncio.timeout(self._seconds):
                await client.transaction(compares=[never], puts=[Put(key=self._keys.beat, value=b"")])
        except EtcdTrouble as trouble:
            return trouble
        except TimeoutError:
            return NoProof(f"no answer within {self._seconds:g} s")
        return None


def _clients_of(settings: EtcdSettings) -> dict[str, EtcdClient]:
    return {
        endpoint: EtcdClient(settings.model_copy(update={"endpoints": (endpoint,)})) for endpoint in settings.endpoints
    }
