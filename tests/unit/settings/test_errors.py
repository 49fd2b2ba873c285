"""Errors of the configuration, word for word."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hsm_agent.config.tree import Config
from hsm_agent.settings.errors import ConfigError, explain

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
            "deliver.0.kind: unknown 'smoke', known are 'snmp', 'syslog', 'alertmanager', 'webhook'",
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
        pytest.param({"sources": "luna"}, "sources: must be a list", id="text for a list"),
        pytest.param({"sources": [5]}, "sources.0: must be a mapping of keys to values", id="a number for a mapping"),
        pytest.param({"deliver": [5]}, "deliver.0: must be a mapping of keys to values", id="a number for a sink"),
        pytest.param({"agent": {"labels": {"a": 1}}}, "agent.labels.a: must be text", id="a number for text"),
        pytest.param({"agent": {"enterprise_id": "abc"}}, "agent.enterprise_id: must be a whole number", id="text for a number"),
        pytest.param({"default_rules": "maybe"}, "default_rules: must be true or false", id="text for a truth value"),
        pytest.param(
            {"serve": {"snmp": {"communities": [{"name": "public-word"}]}}},
            "serve.snmp.communities.0.name: a secret is never written here: {file: PATH}, {credential: NAME} or {env: NAME}",
            id="a secret in the file",
        ),
        pytest.param(
            {"rules": [{"name": "pin", "above": {"waring": 1}}]},
            "rules.0.above.waring: unknown key, did you mean 'warning'?",
            id="a typo in a condition",
        ),
        pytest.param(
            {"rules": [{"name": "pin", "match": {"sourc": "x"}}]},
            "rules.0.match.sourc: unknown key, did you mean 'source'?",
            id="a typo in a match",
        ),
        pytest.param({"rules": [{"name": "pin", "above": 5}]}, "rules.0.above: must be a mapping of keys to values", id="a number for a condition"),
        pytest.param(
            {"rules": [{"name": "pin", "grows": {"warning": "1h", "sooner": {"warning": "1h", "against": "1h"}}}]},
            "rules.0.grows.sooner.against: input should be greater than or equal to 86400",
            id="a bound in a condition's condition",
        ),
        pytest.param({"agent": {"spool": {"entries": 1}}}, "agent.spool.entries: input should be greater than or equal to 100", id="a bound"),
    ],
)  # fmt: skip
def test_an_error_names_the_place_and_what_was_meant(tree: dict[str, object], line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(tree)

    assert line in explain(caught.value, Config)


def test_a_list_of_wrong_entries_is_not_called_too_short_as_well() -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"serve": {"snmp": {"listen": ["127.0.0.1"]}}})

    (line,) = explain(caught.value, Config)
    assert line.startswith("serve.snmp.listen.0: not a place to listen: '127.0.0.1'")


def test_the_exception_shows_all_lines() -> None:
    assert str(ConfigError(["a: wrong", "b: wrong"])) == "a: wrong; b: wrong"
