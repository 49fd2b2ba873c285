"""A client of a cluster that runs here, closed at the end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hsm_agent.net.etcd import EtcdClient
from hsm_agent.net.etcd_settings import EtcdSettings
from tests.peers.etcd import EtcdCluster, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def client_of(cluster: EtcdCluster, **changes: Any) -> AsyncIterator[EtcdClient]:
    made = await asyncio.to_thread(EtcdSettings.model_validate, settings(cluster, timeout="2s") | changes)
    client = EtcdClient(made)
    try:
        yield client
    finally:
        await client.close()
