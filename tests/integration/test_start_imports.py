"""What a start imports: nothing of what the configuration does not name."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import yaml

from tests.peers.agent import ROOT
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from pathlib import Path

COSTLY = (
    *("click", "rich", "prometheus_client", "cryptography", "re2", "rfc5424logging", "pysnmp", "pyasn1", "pkcs11"),
    *("hsm_agent.collect.pkcs11.source", "hsm_agent.collect.snmp.source", "hsm_agent.collect.traps.source"),
    *("hsm_agent.collect.command.source", "hsm_agent.collect.certificate.source", "hsm_agent.collect.canary.source"),
    *("hsm_agent.collect.declared", "hsm_agent.deliver.snmp", "hsm_agent.deliver.syslog"),
    *("hsm_agent.deliver.alertmanager", "hsm_agent.deliver.webhook", "hsm_agent.net.http_client"),
    *("hsm_agent.collect.fleet.source", "hsm_agent.config.publish", "hsm_agent.agent.publisher"),
    *("hsm_agent.group.base", "hsm_agent.group.settings", "hsm_agent.group.member", "hsm_agent.agent.group"),
    *("hsm_agent.scopes", "hsm_agent.replica", "hsm_agent.config.digest"),
    *("h11", "jinja2", "hsm_agent.wire.syslog.bodies"),
)
_START = """
import os, pathlib, sys
import hsm_agent.__main__, hsm_agent.cli, hsm_agent.agent.service
from hsm_agent.config.tree import load
load(pathlib.Path(sys.argv[1]), os.environ)
print(*set(sys.argv[2:]) & set(sys.modules))
"""


def imported(folder: Path, tree: dict[str, Any]) -> set[str]:
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    environment = {**os.environ, **trusting(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _START, str(file), *COSTLY],
        capture_output=True, text=True, check=True, timeout=30, env=environment,
    )  # fmt: skip
    return set(done.stdout.split())


def test_a_bare_agent_imports_no_kind_of_source_or_sink_and_no_library_of_theirs(tmp_path: Path) -> None:
    assert imported(tmp_path, {}) == set()


def test_what_is_configured_brings_itself_and_nothing_else(tmp_path: Path) -> None:
    tree = {
        "sources": [{"name": "a", "kind": "pkcs11", "module": "/lib/m.so"}],
        "deliver": [{"name": "b", "kind": "syslog", "to": "udp:127.0.0.1:9"}],
    }

    expected = {"hsm_agent.collect.pkcs11.source", "hsm_agent.deliver.syslog", "rfc5424logging"}
    assert imported(tmp_path, tree) == expected


def test_nothing_that_is_made_for_people_is_there_until_it_is_asked_for() -> None:
    script = """
import sys, hsm_agent.serve.http.server, hsm_agent.agent.operator_commands
print(*[name in sys.modules for name in ("jinja2", "hsm_agent.serve.overview", "h11")])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30, cwd=ROOT
    )

    assert done.stdout.split() == ["False", "False", "True"]
