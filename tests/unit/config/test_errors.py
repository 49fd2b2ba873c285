"""Errors of the configuration, word for word."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hsm_agent.config.errors import ConfigError, explain
from hsm_agent.config.tree import Config

PKCS11 = {"name": "a", "kind": "pkcs11", "module": "/m"}


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        pytest.param(
            {"sources": [{"name": "a", "kind": "pkcs11", "modul": "/m", "module": "/m"}]},
            "sources.0.modul: unknown key, did you mean 'module'?",
            id="a typo in a source",
        ),
        pytest.param({"agnt": {}}, "agnt: unknown key, did you mean 'agent'?", id="a typo at the top"),
        pytest.param({"agent": {"zzz": 1}}, "agent.zzz: unknown key", id="nothing like it"),
        pytest.param({"sources": [{"name": "a", "kind": "pkcs11"}]}, "sources.0.module: required key is missing", id="missing"),
        pytest.param({"deliver": [{"name": "x"}]}, "deliver.0.kind: required key is missing", id="no kind of sink"),
        pytest.param(
            {"deliver": [{"name": "x", "kind": "smoke"}]},
            "deliver.0.kind: unknown 'smoke', known are 'snmp', 'syslog'",
            id="unknown kind of sink",
        ),
        pytest.param(
            {"deliver": [{"name": "x", "kind": "syslog", "to": "udp:h:514", "facilty": "local0"}]},
            "deliver.0.facilty: unknown key, did you mean 'facility'?",
            id="the tag of a union is not shown",
        ),
        pytest.param(
            {"deliver": [{"name": "x", "kind": "syslog", "to": "tls:h:6514", "tls": {"ca": "/nowhere/ca.pem"}}]},
            "deliver.0.tls.ca: /nowhere/ca.pem: No such file or directory",
            id="a group's error names its key",
        ),
        pytest.param(
            {"sources": [{**PKCS11, "memory_total": {"tok": "16XB"}}]},
            "sources.0.memory_total.tok: not a size: '16XB' (write plain bytes, 16MB or 2MiB)",
            id="an entry of a mapping",
        ),
        pytest.param({"sources": [PKCS11, PKCS11]}, "sources.1.name: two things are called 'a'", id="twins"),
        pytest.param(
            {"sources": [{**PKCS11, "name": "agent"}]},
            "sources.0.name: 'agent' is the agent itself; choose another name",
            id="the agent's own name",
        ),
        pytest.param({"agent": {"spool": {"entries": 1}}}, "agent.spool.entries: input should be greater than or equal to 100", id="a bound"),
    ],
)  # fmt: skip
def test_an_error_names_the_place_and_what_was_meant(tree: dict[str, object], line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(tree)

    assert line in explain(caught.value, Config)


def test_the_exception_shows_all_lines() -> None:
    assert str(ConfigError(["a: wrong", "b: wrong"])) == "a: wrong; b: wrong"
