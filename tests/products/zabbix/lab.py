"""An agent with every kind of row, and the hosts in Zabbix that ask it and hear of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.demo.trail import Trail
from tests.peers.agent import COMMUNITY, AgentProcess, source
from tests.peers.testmodule import FakeHsm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from tests.products.zabbix.server import Zabbix

TOTAL_BYTES = 1_000_000
NAMES = ("付款", 'a "quoted" \\ label', "archive")
SECRET = "only-in-this-test"
_PROTOCOLS = {"SHA-256": 3, "SHA-512": 5, "AES-128": 1, "AES-256": 3}
"""Zabbix's numbers; its AES-256 extends keys as net-snmp does, its AES256C as Cisco does."""
_QUICK = {"{$HSM.POLL}": "2s", "{$HSM.DISCOVERY}": "5s", "{$HSM.ALARM.DISCOVERY}": "5s", "{$HSM.READINGS}": "."}
SECONDS = 60.0
_LET_GO_SECONDS = 3.0
"""Until Zabbix asks removed hosts no more. Its pollers would wait for an agent that has gone for minutes."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host of Zabbix: the address where it asks, and from which it is told; the user, or None for v2c."""

    name: str
    address: str
    user: tuple[str, str, str] | None
    tells: str
    """The switch that is on: TRAPS, ALARMS or THRESHOLDS."""


V2C = Host("hsm-v2c", "127.0.0.2", None, "TRAPS")
V3 = Host("hsm-v3", "127.0.0.3", ("nms", "SHA-256", "AES-128"), "TRAPS")
STRONG = Host("hsm-v3-strong", "127.0.0.4", ("strong", "SHA-512", "AES-256"), "ALARMS")
JUDGE = Host("hsm-judge", "127.0.0.5", None, "THRESHOLDS")
HOSTS = (V2C, V3, STRONG, JUDGE)


class Lab:
    """The agent and its HSM, and what Zabbix says of them."""

    def __init__(self, directory: Path, zabbix: Zabbix, base_oid: str) -> None:
        self.zabbix = zabbix
        self.hsm = FakeHsm(directory / "hsm", *NAMES)
        self.hsm.set_memory(total=TOTAL_BYTES, free=900_000)
        self.hsm.set_luna()
        self.hsm.set_audit(100)
        self.trail = Trail(directory / "trail", directory / "control")
        self.agent = AgentProcess(
            directory,
            sources=[
                source("luna", self.hsm.module, self.hsm.environment, audit_every="1s"),
                *({**each, "every": "1s"} for each in self.trail.sources),
                {"name": "dates", "kind": "declared", "every": "1s",
                 "dates": [{"name": "support", "kind": "expiry", "date": "2099-03-31"}]},
            ],
            deliver=self._sinks(directory),
        )  # fmt: skip
        snmp = self.agent.settings["serve"]["snmp"]
        snmp["base_oid"] = base_oid
        snmp["listen"] = [f"udp:{host.address}:{self.agent.snmp_port}" for host in HOSTS]
        snmp["communities"][0]["from"] = ["127.0.0.0/8"]
        snmp["users"] = [self._user(directory, *host.user) for host in HOSTS if host.user]
        self.agent.configure()
        self.ids: dict[str, str] = {}

    @staticmethod
    def _user(directory: Path, name: str, auth: str, privacy: str) -> dict[str, Any]:
        secret = directory / "secret"
        secret.write_text(SECRET, encoding="ascii")
        secret.chmod(0o600)
        reference = {"file": str(secret)}
        return {
            "name": name,
            "auth": {"protocol": auth, "secret": reference},
            "privacy": {"protocol": privacy, "secret": reference},
        }

    def _sinks(self, directory: Path) -> Sequence[dict[str, Any]]:
        to = f"udp:127.0.0.1:{self.zabbix.trap_port}"
        assert V3.user is not None
        user = self._user(directory, *V3.user)
        community = {"file": str(directory / "community")}
        return [
            {"name": "trap", "kind": "snmp", "to": to, "version": "v2c", "type": "trap", "community": community,
             "bind": V2C.address},
            {"name": "inform", "kind": "snmp", "to": to, "version": "v3", "type": "inform", "user": user,
             "bind": V3.address},
        ]  # fmt: skip

    def add_hosts(self, hosts: Sequence[Host], template: str) -> None:
        """Hosts as an operator makes them: an SNMP interface, the template, its switches."""
        (group,) = self.zabbix.api("hostgroup.get", {"filter": {"name": "Discovered hosts"}})
        (found,) = self.zabbix.api("template.get", {"filter": {"host": template}})
        for host in hosts:
            switches = {
                f"{{$HSM.TELL.{one}}}": str(int(one == host.tells)) for one in ("TRAPS", "ALARMS", "THRESHOLDS")
            }
            made = self.zabbix.api("host.create", {
                "host": host.name,
                "groups": [{"groupid": group["groupid"]}],
                "templates": [{"templateid": found["templateid"]}],
                "interfaces": [self._interface(host)],
                "macros": [{"macro": name, "value": value} for name, value in {**_QUICK, **switches}.items()],
            })  # fmt: skip
            self.ids[host.name] = made["hostids"][0]

    def _interface(self, host: Host) -> dict[str, Any]:
        details: dict[str, Any] = {"version": 2, "bulk": 1, "community": COMMUNITY}
        if host.user is not None:
            name, auth, privacy = host.user
            details = {
                "version": 3, "bulk": 1, "securityname": name, "securitylevel": 2,
                "authprotocol": _PROTOCOLS[auth], "authpassphrase": SECRET,
                "privprotocol": _PROTOCOLS[privacy], "privpassphrase": SECRET,
            }  # fmt: skip
        port = str(self.agent.snmp_port)
        return {"type": 2, "main": 1, "useip": 1, "ip": host.address, "dns": "", "port": port, "details": details}

    def remove_hosts(self) -> None:
        """Take them out of Zabbix."""
        if self.ids:
            self.zabbix.api("host.delete", list(self.ids.values()))
            self.ids.clear()

    def items(self, host: Host) -> list[dict[str, Any]]:
        """Its items, with their last values; text items are asked at once."""
        fields = ["key_", "name", "state", "error", "lastvalue", "lastclock", "type", "delay", "status", "units"]
        found: list[dict[str, Any]] = self.zabbix.api("item.get", {"hostids": self.ids[host.name], "output": fields})
        return found

    def problems(self, host: Host, **tags: str) -> list[dict[str, Any]]:
        """Open problems with these tags, those of the agent itself left out. Tags are a mapping here."""
        found = self.zabbix.api(
            "problem.get", {"hostids": self.ids[host.name], "selectTags": "extend", "output": "extend", "recent": False}
        )
        problems = [{**one, "tags": {tag["tag"]: tag["value"] for tag in one["tags"]}} for one in found]
        return [
            one for one in problems if one["tags"].get("component") != "agent" and tags.items() <= one["tags"].items()
        ]

    def was_restarted(self, host: Host) -> bool:
        """Whether a problem says so of the agent."""
        found = self.zabbix.api("problem.get", {"hostids": self.ids[host.name], "output": ["name"]})
        return "Agent: was restarted" in {one["name"] for one in found}

    async def problem(self, host: Host, **tags: str) -> tuple[dict[str, Any], float]:
        """The one open problem with these tags, once there is one, and how long that took."""
        (found,), seconds = await self.until(lambda: self.problems(host, **tags))
        return found, seconds

    async def gone(self, host: Host, **tags: str) -> float:
        """Wait until there is no such problem; returns how long that took."""
        return (await self.until(lambda: not self.problems(host, **tags)))[1]

    async def count(self, host: Host, number: int) -> None:
        """Wait until so many problems are open."""
        await self.until(lambda: len(self.problems(host)) == number)

    async def levels(self, host: Host, *levels: str) -> None:
        """Wait until the open problems are of these levels."""
        await self.until(lambda: sorted(one["tags"].get("level", "") for one in self.problems(host)) == sorted(levels))

    async def until(self, holds: Callable[[], Any], *, seconds: float = SECONDS) -> tuple[Any, float]:
        """What it says once it is true, and how long that took. Raises TimeoutError with the server's log."""
        started = time.monotonic()
        while not (found := await asyncio.to_thread(holds)):
            if time.monotonic() - started > seconds:
                raise TimeoutError(f"not within {seconds:g} s: {self.state()}")
            await asyncio.sleep(0.2)
        return found, time.monotonic() - started

    def state(self) -> str:
        """What there is to be known of a test that failed."""
        problems = {host: self.problems(each) for each in HOSTS if (host := each.name) in self.ids}
        return f"{problems}\n{self.zabbix.doing()}\n{self.zabbix.trap_log.read_text()[-3000:]}\n{self.zabbix.log()[-2000:]}"

    async def discovered(self, *hosts: Host) -> float:
        """Wait until tokens have items with values at all hosts; returns after how long."""

        def seen() -> bool:
            for host in hosts:
                used = [one for one in self.items(host) if one["key_"].startswith("hsm.token.memory.used[")]
                if len(used) < len(NAMES) or not all(int(one["lastclock"]) for one in used):
                    return False
            return True

        return (await self.until(seen, seconds=150))[1]

    async def asked_at_once(self, host: Host) -> None:
        """Let Zabbix ask the items that have long intervals now, and wait for their values."""
        late = [one for one in self.items(host) if one["type"] == "20" and one["delay"] == "10m"]
        tasks = [{"type": 6, "request": {"itemid": one["itemid"]}} for one in late]
        await asyncio.to_thread(self.zabbix.api, "task.create", tasks)


@asynccontextmanager
async def lab(directory: Path, zabbix: Zabbix, template: str, *hosts: Host, base_oid: str) -> AsyncIterator[Lab]:
    """The agent started, and these hosts asking it."""
    made = Lab(directory, zabbix, base_oid)
    async with made.agent:
        try:
            await asyncio.to_thread(made.add_hosts, hosts, template)
            yield made
        finally:
            await asyncio.to_thread(made.remove_hosts)
            await asyncio.sleep(_LET_GO_SECONDS)
