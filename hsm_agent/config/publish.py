"""The section `publish`: the agent's status, for those who watch a fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from hsm_agent.net.etcd_settings import EtcdSettings
from hsm_agent.settings.types import Deadline, Interval, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator


class PublishSettings(Strict):
    """Where and how often the agent publishes its status."""

    every: Annotated[Interval, Field(ge=1.0, le=86400.0)] = 60.0
    site: Annotated[str, Field(max_length=64)] = ""
    timeout: Annotated[Deadline, Field(le=60.0)] = 10.0
    etcd: EtcdSettings | None = None
    """Left out where the group's is used: the tree puts it here then."""

    @property
    def servers(self) -> EtcdSettings:
        """Where it is published."""
        assert self.etcd is not None
        return self.etcd

    def about(self, agent: str, *, through_group: bool = False) -> Iterator[str]:
        """For `check-config`. `through_group`: the servers are the group's, which says what is to be said of them."""
        at = f" at {self.site}" if self.site else ""
        yield f"publishes as {agent}{at} to {', '.join(self.servers.endpoints)}, every {self.every:g} s"
        if not through_group:
            yield from (f"  warning: {line}" for line in self.servers.warnings("publish.etcd"))
