"""What `check-config` tells of each rule: what it watches, who brings that, and which rule it gives way to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsm_agent.cli.check_config import describe
from hsm_agent.config.tree import Config, Loaded

PKCS11 = {"name": "luna-a", "kind": "pkcs11", "module": "/nowhere.so"}
COMMAND = {"name": "shell", "kind": "command", "runs": [{"command": ["/bin/true"], "parser": "lunash-sensors"}]}


def lines(tree: dict[str, Any], tmp_path: Path) -> list[str]:
    config = Config.model_validate({"agent": {"name": "hsm", "state_directory": str(tmp_path)}, **tree})
    return list(describe(Loaded(config=config, path=Path("/etc/agent.yaml"), digest="d1")))


def rules(tree: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """What is told of each rule that has a line of its own, by name."""
    config = Config.model_validate({"agent": {"name": "hsm", "state_directory": str(tmp_path)}, **tree})
    names = {rule.name for rule in config.effective_rules()}
    found = (line.strip().partition(": ") for line in lines(tree, tmp_path) if line.startswith("  "))
    return {name: said for name, _, said in found if name in names}


def together(tree: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """What is told of default rules together, by the source they would get their readings from."""
    text = " ".join(line.strip() if line.startswith("    ") else f"\n{line}" for line in lines(tree, tmp_path))
    found = (line.strip().partition(": ") for line in text.splitlines() if line.startswith("  from "))
    return {told: said for told, _, said in found}


def test_every_rule_in_force_is_told_once_with_what_it_watches(tmp_path: Path) -> None:
    config = Config.model_validate({"agent": {"name": "hsm", "state_directory": str(tmp_path)}})
    own, rest = rules({}, tmp_path), ", ".join(together({}, tmp_path).values())

    for rule in config.effective_rules():
        if rule.name in own:
            assert own[rule.name].startswith(", ".join(rule.metrics))
            assert f"{rule.name} (" not in rest.split(", ")
        else:
            assert f"{rule.name} ({', '.join(rule.metrics)}" in rest


def test_a_rule_names_its_metrics_and_the_sources_that_bring_them(tmp_path: Path) -> None:
    tree = {"sources": [PKCS11, COMMAND, {**PKCS11, "name": "soft", "luna": "off"}]}
    found = rules(tree, tmp_path)

    assert found["token-sessions"] == "token_sessions_used_percent; from luna-a, soft"
    assert found["temperature"] == "sensor_celsius, cloudhsm_temperature_celsius; from shell"
    assert found["source-down"] == "source_age_seconds; from luna-a, shell, soft"
    assert found["spool-failed"] == "spool_failed of agent/*; from agent"


def test_default_rules_that_judge_nothing_are_told_together(tmp_path: Path) -> None:
    tree = {"sources": [PKCS11]}
    found = together(tree, tmp_path)

    assert "tamper (hsm_tampered)" in found["from luna-a (if the module is a Luna's)"]
    assert "certificate (certificate_seconds_left)" in found["from no source of this configuration"]
    assert not {"tamper", "certificate"} & rules(tree, tmp_path).keys()
    wrapped = [line for line in lines(tree, tmp_path) if line.startswith(("    ", "  from "))]
    assert max(map(len, wrapped)) <= 118


def test_a_rule_that_the_configuration_names_always_has_its_line(tmp_path: Path) -> None:
    found = rules({"sources": [PKCS11], "rules": [{"name": "tamper", "for": "1m"}, {"name": "canary"}]}, tmp_path)

    assert found["tamper"] == "hsm_tampered; from luna-a (if the module is a Luna's)"
    assert found["canary"] == "canary_ok; from no source of this configuration"


def test_a_rule_says_what_it_gives_way_to_while_nobody_has_touched_either(tmp_path: Path) -> None:
    untouched = rules({"sources": [PKCS11]}, tmp_path)
    touched = rules({"sources": [PKCS11], "rules": [{"name": "token-storage", "enabled": False}]}, tmp_path)

    assert untouched["token-memory"].endswith(
        "; gives way to token-storage on token_storage_used_percent where that reads as much or up to 5 points less"
    )
    assert "; on token_memory_private_used_percent gives way to storage-forecast" in untouched["storage-forecast"]
    assert touched["token-memory"] == "token_memory_private_used_percent; from luna-a"
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

    assert "certificate (" in together({"deliver": [sink]}, tmp_path)["from no source of this configuration"]


def test_hsms_are_shown_and_a_glob_on_no_source_is_told(tmp_path: Path) -> None:
    tree = {"sources": [PKCS11], "hsms": {"vault": ["luna-?/*", "lunar/pay"]}}

    assert "HSM vault: luna-?/*, lunar/pay (no source matches lunar/pay)" in lines(tree, tmp_path)
