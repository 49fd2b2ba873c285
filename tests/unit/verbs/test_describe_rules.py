"""What `check-config` tells of each rule: what it watches, who brings that, and which rule it gives way to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsm_agent.config.load import Loaded
from hsm_agent.config.tree import Config
from hsm_agent.verbs.describe import describe

PKCS11 = {"name": "luna-a", "kind": "pkcs11", "module": "/nowhere.so"}
COMMAND = {"name": "shell", "kind": "command", "runs": [{"command": ["/bin/true"], "parser": "lunash-sensors"}]}


def rules(tree: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """The lines of the rules, by name."""
    config = Config.model_validate({"agent": {"name": "hsm", "state_directory": str(tmp_path)}, **tree})
    lines = describe(Loaded(config=config, path=Path("/etc/agent.yaml"), digest="d1"))
    names = {rule.name for rule in config.effective_rules()}
    found = (line.strip().partition(": ") for line in lines if line.startswith("  "))
    return {name: said for name, _, said in found if name in names}


def test_every_rule_in_force_has_a_line(tmp_path: Path) -> None:
    config = Config.model_validate({"agent": {"name": "hsm", "state_directory": str(tmp_path)}})

    assert list(rules({}, tmp_path)) == [rule.name for rule in config.effective_rules()]


def test_a_rule_names_its_metrics_and_the_sources_that_bring_them(tmp_path: Path) -> None:
    found = rules({"sources": [PKCS11, COMMAND, {**PKCS11, "name": "soft", "luna": "off"}]}, tmp_path)

    assert found["token-sessions"] == "token_sessions_used_percent of */*; from luna-a, soft"
    assert found["temperature"] == "sensor_celsius of */*; from shell"
    assert found["tamper"] == "hsm_tampered of */*; from luna-a (if the module is a Luna's)"
    assert found["certificate"] == "certificate_seconds_left of */*; from no source of this configuration"
    assert found["source-down"] == "source_age_seconds of */*; from luna-a, shell, soft"
    assert found["spool-failed"] == "spool_failed of agent/*; from agent"


def test_a_rule_says_what_it_gives_way_to_while_nobody_has_touched_either(tmp_path: Path) -> None:
    untouched = rules({"sources": [PKCS11]}, tmp_path)
    touched = rules({"sources": [PKCS11], "rules": [{"name": "token-storage", "enabled": False}]}, tmp_path)

    assert untouched["token-memory"].endswith(
        "; on token_memory_private_used_percent gives way to token-storage on token_storage_used_percent, "
        "where that reads as much or 5 % less"
    )
    assert "gives way to storage-forecast" in untouched["storage-forecast"]
    assert touched["token-memory"] == "token_memory_private_used_percent of */*; from luna-a"
    assert "gives way" in touched["storage-forecast"]


def test_a_match_is_shown_and_counts(tmp_path: Path) -> None:
    site_b = {**PKCS11, "name": "luna-b", "labels": {"site": "b"}}
    mine = {"name": "mine", "metric": "token_objects", "above": {"warning": 1}}
    tree = {
        "sources": [{**PKCS11, "labels": {"site": "a"}}, site_b],
        "rules": [
            {**mine, "match": {"source": "luna-*", "resource": "pay?", "labels": {"site": "b"}}},
            {**mine, "name": "own-label", "match": {"labels": {"role": "so"}}},
            {**mine, "name": "nobody", "match": {"source": "lunar"}},
        ],
    }
    found = rules(tree, tmp_path)

    assert found["mine"] == "token_objects of luna-*/pay? with site=b; from luna-b (if the module is a Luna's)"
    assert found["own-label"].endswith("; from luna-a (if the module is a Luna's), luna-b (if the module is a Luna's)")
    assert found["nobody"].endswith("; from no source of this configuration")


def test_the_agent_brings_certificates_where_it_has_some(tmp_path: Path) -> None:
    sink = {"name": "s", "kind": "syslog", "to": "relp:192.0.2.1:2514"}

    assert rules({"deliver": [sink]}, tmp_path)["certificate"].endswith("no source of this configuration")


def test_hsms_are_shown_and_a_glob_on_no_source_is_told(tmp_path: Path) -> None:
    tree = {"sources": [PKCS11], "hsms": {"vault": ["luna-?/*", "lunar/pay"]}}
    config = Config.model_validate({"agent": {"name": "hsm", "state_directory": str(tmp_path)}, **tree})

    lines = list(describe(Loaded(config=config, path=Path("/etc/agent.yaml"), digest="d1")))

    assert "HSM vault: luna-?/*, lunar/pay (no source matches lunar/pay)" in lines
