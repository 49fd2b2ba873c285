"""Prometheus, Alertmanager and VictoriaMetrics as child processes, configured by what `integrations/` has."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.peers import private_mounts
from tests.peers.daemon import Daemon
from tests.peers.ports import free_port
from tests.peers.require import prefix_of, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTEGRATIONS = Path(__file__).parents[3] / "integrations"
_LOOK_AGAIN_SECONDS = 0.1
_SELDOM = re.compile(r"^  interval: .*\n", re.MULTILINE)


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


async def until(seen: Callable[[], Any], *, seconds: float) -> Any:
    """What it returns, once that is something. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = await asyncio.to_thread(seen)
        except (urllib.error.URLError, ConnectionError):
            found = None
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s")
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


class _Server(Daemon):
    """One with a folder of its own and one port."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "log"


class _Queries(_Server):
    """One that answers PromQL."""

    def instant(self, query: str, *, at: float | None = None) -> list[dict[str, Any]]:
        """The series of an instant query."""
        asked = {"query": query, **({} if at is None else {"time": f"{at:.3f}"})}
        found: list[dict[str, Any]] = fetch(f"{self.url}/api/v1/query?{urllib.parse.urlencode(asked)}")["data"][
            "result"
        ]
        return found


class Prometheus(_Queries):
    """With integrations/prometheus/prometheus.yml, its addresses and times replaced."""

    def __init__(
        self,
        directory: Path,
        *,
        targets: Sequence[str],
        ca: Path | None = None,
        password: Path | None = None,
        alertmanager: Alertmanager | None = None,
        storage: VictoriaMetrics | None = None,
        rules: Sequence[str] = ("alerts", "agent", "recording", "aliases", "luna-monitor"),
    ) -> None:
        super().__init__(directory)
        folder = INTEGRATIONS / "prometheus"
        settings = yaml.safe_load((folder / "prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        settings["rule_files"] = [f"{name}.yml" for name in rules]
        for name in settings["rule_files"]:  # what is evaluated seldom as often as the rest
            (directory / name).write_text(_SELDOM.sub("", (folder / name).read_text()))
        (scrape,) = settings["scrape_configs"]
        scrape["static_configs"] = [{"targets": list(targets)}]
        if ca is None:
            scrape["scheme"] = "http"
            del scrape["tls_config"], scrape["basic_auth"]
        else:
            scrape["tls_config"]["ca_file"] = str(ca)
            scrape["basic_auth"]["password_file"] = str(password)
        found = [f"127.0.0.1:{alertmanager.port}"] if alertmanager else []
        settings["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": found}]}]
        settings["remote_write"] = [{"url": f"{storage.url}/api/v1/write"}] if storage else []
        self.file = directory / "prometheus.yml"
        self.file.write_text(yaml.safe_dump(settings))

    async def start(self) -> None:
        words = [f"--config.file={self.file}", f"--storage.tsdb.path={self.directory / 'data'}"]
        words += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        await self._run(require("prometheus"), words, tcp=[self.port])

    def targets(self, health: str) -> list[dict[str, Any]]:
        """Its targets of that health: `up`, `down`, `unknown`."""
        return [
            each for each in fetch(f"{self.url}/api/v1/targets")["data"]["activeTargets"] if each["health"] == health
        ]

    def rules(self) -> list[dict[str, Any]]:
        groups = fetch(f"{self.url}/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> list[dict[str, Any]]:
        alerts = fetch(f"{self.url}/api/v1/alerts")["data"]["alerts"]
        return [alert for alert in alerts if alert["state"] == "firing"]


class Alertmanager(_Server):
    """With integrations/alertmanager/alertmanager.yml, its receivers' address and times replaced."""

    def __init__(self, directory: Path, *, receiver: int) -> None:
        super().__init__(directory)
        text = (INTEGRATIONS / "alertmanager" / "alertmanager.yml").read_text()
        for before, after in (
            ("127.0.0.1:9095", f"127.0.0.1:{receiver}"),
            ("group_wait: 15s", "group_wait: 1s"),
            ("group_wait: 5s", "group_wait: 1s"),
            ("group_interval: 1m", "group_interval: 2s"),
        ):
            assert before in text
            text = text.replace(before, after)
        self.file = directory / "alertmanager.yml"
        self.file.write_text(text)

    async def start(self) -> None:
        words = [f"--config.file={self.file}", f"--storage.path={self.directory / 'data'}", "--log.level=warn"]
        words += [f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address="]
        program = require("prometheus-alertmanager")
        prefix = prefix_of(program)
        if prefix == Path("/"):
            await self._run(program, words, tcp=[self.port])
            return
        # Debian's finds its templates by an absolute path: there they are in a /usr/share that only it sees.
        share = "/usr/share/prometheus"
        mount = f"mount -t tmpfs none /usr/share && mkdir {share} && cp -r '{prefix}{share}/.' {share} && exec \"$@\""
        seen, *rest = private_mounts.command("sh", "-c", mount, "sh", str(program), *words)
        await self._run(Path(seen), rest, tcp=[self.port])

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = fetch(f"{self.url}/api/v2/alerts")
        return found

    def post(self, *alerts: dict[str, str]) -> None:
        """Alerts of these labels, as from anywhere else."""
        body = json.dumps([{"labels": labels} for labels in alerts]).encode()
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/api/v2/alerts", body, headers), timeout=10).close()

    def named(self, name: str, **labels: str) -> list[dict[str, Any]]:
        return [a for a in self.alerts() if {"alertname": name, **labels}.items() <= a["labels"].items()]


class VictoriaMetrics(_Queries):
    """As Debian starts it, without its delay of what is newest. `scrapes`: a Prometheus whose targets it scrapes itself."""

    def __init__(self, directory: Path, *, scrapes: Prometheus | None = None) -> None:
        super().__init__(directory)
        self._scrapes = scrapes

    async def start(self) -> None:
        words = [f"-storageDataPath={self.directory / 'data'}", f"-httpListenAddr=127.0.0.1:{self.port}"]
        words += ["-search.latencyOffset=0s", "-memory.allowedBytes=64MB"]
        if self._scrapes is not None:
            words += [f"-promscrape.config={self._scrapes.file}", "-promscrape.config.strictParse=false"]
        await self._run(require("victoria-metrics"), words, tcp=[self.port])


class Vmalert(_Server):
    """VictoriaMetrics' own evaluation of the rules, told to read back what it writes."""

    def __init__(self, directory: Path, *, storage: VictoriaMetrics, alertmanager: Alertmanager, rule: str) -> None:
        super().__init__(directory)
        self._storage = storage
        self._alertmanager = alertmanager
        self._rule = INTEGRATIONS / "prometheus" / f"{rule}.yml"

    async def start(self) -> None:
        words = [f"-rule={self._rule}", "-evaluationInterval=1s", f"-httpListenAddr=127.0.0.1:{self.port}"]
        words += [f"-{what}.url={self._storage.url}" for what in ("datasource", "remoteWrite", "remoteRead")]
        words += [f"-notifier.url={self._alertmanager.url}", "-datasource.queryStep=5m"]
        await self._run(require("vmalert"), words, tcp=[self.port])
