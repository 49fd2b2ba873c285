"""Prometheus' own tool reads what we serve, and judges web configurations as we do."""

from __future__ import annotations

import asyncio
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hsm_agent.metrics import METRICS
from hsm_agent.serve.http.exposition import exposition
from hsm_agent.serve.http.server import HttpServer
from hsm_agent.serve.http.web_config import WebConfigError, load_web_config
from hsm_agent.serve.settings import HttpSettings
from tests.fakes.present import known_snapshot, make_reading
from tests.peers.pki import Pki, make
from tests.peers.require import require

if TYPE_CHECKING:
    from pathlib import Path


async def promtool(*arguments: str, given: bytes = b"") -> tuple[int | None, str]:
    """Its exit status and all it says."""
    process = await asyncio.create_subprocess_exec(
        require("promtool"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate(given)
    return process.returncode, said.decode()


async def test_promtool_finds_nothing_to_say_about_the_known_present() -> None:
    page, _ = await asyncio.to_thread(exposition, known_snapshot(), "")

    assert await promtool("check", "metrics", given=page) == (0, "")


async def test_promtool_finds_nothing_to_say_about_any_metric_of_the_catalogue() -> None:
    every = [make_reading(metric, 1) for metric in METRICS]
    page, _ = await asyncio.to_thread(exposition, replace(known_snapshot(), readings=every), "")

    assert await promtool("check", "metrics", given=page) == (0, "")


async def test_promtool_finds_nothing_to_say_about_what_a_scrape_gets() -> None:
    server = HttpServer(HttpSettings(listen="127.0.0.1:0"), snapshot=known_snapshot, missing=list)
    await server.start()
    host, port = server.address
    try:
        page = await asyncio.to_thread(fetch, f"http://{host}:{port}/metrics")
    finally:
        await server.close()

    assert await promtool("check", "metrics", given=page) == (0, "")


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


async def test_promtool_does_complain_when_there_is_reason_to() -> None:
    status, said = await promtool("check", "metrics", given=b"# TYPE hsm_x counter\nhsm_x 1\nhsm_x 2\n")

    assert status != 0
    assert said


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make(tmp_path_factory.mktemp("pki"))


TLS = "tls_server_config:\n  cert_file: {cert}\n  key_file: {key}\n"
HASH = "$2y$10$" + "a" * 53


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        pytest.param("", True, id="empty"),
        pytest.param(TLS, True, id="TLS"),
        pytest.param(TLS + "  min_version: TLS13\n", True, id="TLS 1.3"),
        pytest.param(TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {ca}\n", True, id="CA"),
        pytest.param(
            TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: {ca}\n", True, id="if given"
        ),
        pytest.param(TLS + "  client_auth_type: RequestClientCert\n  client_ca_file: {ca}\n", True, id="request"),
        pytest.param(TLS + f"basic_auth_users:\n  bob: {HASH}\n", True, id="users"),
        pytest.param(f"basic_auth_users:\n  bob: {HASH}\n", True, id="users without TLS"),
        pytest.param(TLS + "  client_ca_file: {ca}\n", False, id="a CA that nobody uses"),
        pytest.param(TLS + "  client_auth_type: Always\n", False, id="an unknown way to ask for certificates"),
        pytest.param(TLS + "  min_version: TLS99\n", False, id="an unknown version"),
        pytest.param(TLS + "  certfile: x\n", False, id="a typo"),
        pytest.param("tls_server_config:\n  cert_file: {cert}\n", False, id="no key"),
        pytest.param(TLS.replace("{key}", "{ca}"), False, id="a key that is none"),
        pytest.param("- x\n", False, id="a list"),
    ],
)
async def test_promtool_and_the_agent_agree_on_web_configurations(
    tmp_path: Path, pki: Pki, text: str, sound: bool
) -> None:
    path = tmp_path / "web.yml"
    path.write_text(text.format(cert=pki.server.certificate, key=pki.server.key, ca=pki.ca))

    status, said = await promtool("check", "web-config", str(path))

    assert (status == 0) == sound, said
    assert await asyncio.to_thread(accepts, path) == sound


def accepts(path: Path) -> bool:
    try:
        load_web_config(path)
    except WebConfigError:
        return False
    return True
