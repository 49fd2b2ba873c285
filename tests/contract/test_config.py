"""The shipped configuration: it loads, it shows every option there is, and what is mistyped in it is found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from hsm_agent.config.tree import load
from hsm_agent.settings.errors import ConfigError
from tests.fakes import sample_configuration as sample
from tests.peers import pki
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = (
    "nms.auth",
    "nms.priv",
    "noc.auth",
    "noc.priv",
    "community",
    "luna.auth",
    "luna.priv",
    "canary.pin",
    "etcd.password",
)
HTTP_SECRETS = ("alerts.password", "alerts.token", "chat.password", "hook.path", "hook.sign", "hook.token")
PROXY_SECRETS = ("proxy.password", "proxy.token")
TYPOS = [
    pytest.param("  log: {level", "  log: {leval", "agent.log.leval: unknown key, did you mean 'level'?", id="in a group"),
    pytest.param("    module:", "    modul:", "sources.0.modul: unknown key, did you mean 'module'?", id="in a list"),
    pytest.param("  snmp:  ", "  smnp:  ", "serve.smnp: unknown key, did you mean 'snmp'?", id="of a group"),
    pytest.param("default_rules:", "defaultrules:", "defaultrules: unknown key, did you mean 'default_rules'?", id="at the top"),
    pytest.param("luna: auto", "luna: maybe", "sources.0.luna: input should be 'auto' or 'off'", id="a wrong word"),
    pytest.param("    every: 60s  ", "    every: 60  ", "sources.0.every: not a duration: 60 ", id="a number without a unit"),
]  # fmt: skip


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    return sample.copy_to(tmp_path, [f"conf/secrets/{name}" for name in (*SECRETS, *HTTP_SECRETS, *PROXY_SECRETS)])


def test_the_shipped_file_loads(shipped: Path) -> None:
    config = load(shipped, trusting()).config

    assert [source.name for source in config.sources] == ["softhsm"]
    assert config.deliver == ()


def test_what_the_shipped_file_says_in_force_is_the_default_or_the_softhsm_token(shipped: Path, tmp_path: Path) -> None:
    empty = tmp_path / "conf" / "empty.yaml"
    empty.write_text("sources: [{name: softhsm, kind: pkcs11, module: /usr/lib/softhsm/libsofthsm2.so}]\n")
    empty.chmod(0o444)

    said, default = load(shipped, trusting()).config, load(empty, trusting()).config

    assert said.agent == default.agent.model_copy(update={"name": said.agent.name})
    assert said.rules == default.rules
    assert said.default_rules == default.default_rules
    mine = {"environment", "object_store"}
    assert said.sources[0].model_dump(exclude=mine) == default.sources[0].model_dump(exclude=mine)
    assert said.serve.http == default.serve.http
    assert said.serve.snmp is not None
    assert default.serve.snmp is not None
    assert said.serve.snmp.model_dump(exclude={"users"}) == default.serve.snmp.model_dump(exclude={"users"})


def test_every_option_there_is_stands_in_the_shipped_file() -> None:
    shown = sample.places(sample.unfolded())

    assert {option.place for option in sample.every_option()} - shown == set()


def test_the_shipped_file_shows_no_option_that_is_none() -> None:
    known = {option.place for option in sample.every_option()}
    free = ("labels", "environment", "memory_total", "sessions_max", "states", "where", "devices")
    shown = {
        place for place in sample.places(sample.unfolded()) if place.split(".")[-2:-1] not in [[key] for key in free]
    }
    secret = re.compile(r"\.(secret|community|name|pin|password|bearer|path|sign)\.(file|credential|env)$")

    assert {place for place in shown if not secret.search(place)} - known == set()


def test_the_commented_options_load_once_they_are_switched_on(shipped: Path, tmp_path: Path) -> None:
    pki.make(tmp_path)  # ca.pem, agent.pem and agent.key, as the sample calls them
    shipped.chmod(0o644)
    text = sample.switched_on(shipped.read_text(encoding="utf-8"))
    shipped.write_text(text, encoding="utf-8")
    shipped.chmod(0o444)

    config = load(shipped, trusting()).config

    assert [source.name for source in config.sources] == [
        "softhsm",
        "luna-a-shell",
        "luna-appliance",
        "other-appliance",
        "certificates",
        "canary",
        "dates",
        "craton",
        "cloudhsm-log",
        "cloudhsm",
        "fleet",
        "craton-log",
        "appliance-traps",
    ]
    assert [sink.name for sink in config.deliver] == [
        "noc",
        "noc-v2c",
        "siem",
        "alerts",
        "hook",
        "alerts-b",
        "chat",
    ]
    assert {rule.name for rule in config.rules} >= {"token-memory", "clock-drift", "export-stopped"}
    assert config.serve.snmp is not None
    assert len(config.serve.snmp.communities) == 1


@pytest.mark.parametrize(("right", "wrong", "said"), TYPOS)
def test_a_typo_is_refused_with_its_place(shipped: Path, right: str, wrong: str, said: str) -> None:
    text = shipped.read_text(encoding="utf-8")
    assert text.count(right) == 1
    shipped.chmod(0o644)
    shipped.write_text(text.replace(right, wrong), encoding="utf-8")
    shipped.chmod(0o444)

    with pytest.raises(ConfigError) as caught:
        load(shipped, trusting())

    assert any(line.startswith(f"{shipped}: {said}") for line in caught.value.lines), caught.value.lines


def test_the_environment_overrides_the_shipped_file(shipped: Path) -> None:
    loaded = load(shipped, trusting(HSM_AGENT__AGENT__NAME="hsm-7", HSM_AGENT__SOURCES__0__EVERY="5s"))

    assert loaded.config.agent.name == "hsm-7"
    assert loaded.config.sources[0].every == 5.0
