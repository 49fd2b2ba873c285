"""The JSON Schema of the configuration: it takes what the agent takes, and refuses what the agent refuses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from hsm_agent.config.schema import DIALECT, schema
from hsm_agent.config.tree import Config, load
from hsm_agent.settings.errors import ConfigError
from hsm_agent.settings.yaml_file import mapping_of
from tests.fakes import sample_configuration as sample
from tests.peers.require import ROOT
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = json.loads((ROOT / "share" / "schema" / "agent.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
SHIPPED = sample.SAMPLE.read_text(encoding="utf-8")
_YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PKCS11 = "sources: [{{name: a, kind: pkcs11, module: /m.so{}}}]"
_TRAP = "deliver: [{{name: a, kind: snmp, to: 'udp:192.0.2.1:162'{}}}]"
_SYSLOG = "deliver: [{{name: a, kind: syslog, to: {}}}]"
_RULE = "rules: [{{name: mine, metric: token_sessions{}}}]"
_DATE = "sources: [{{name: a, kind: declared, dates: [{{name: b, kind: age, warning: 1d{}}}]}}]"

MISTAKES = [
    pytest.param("agnt: {}", id="an unknown section"),
    pytest.param("agent: {nam: x}", id="an unknown key"),
    pytest.param("agent: [x]", id="a list for a group"),
    pytest.param("agent: {log: {level: loud}}", id="an unknown word"),
    pytest.param("agent: {labels: {a: [1]}}", id="a list for a text"),
    pytest.param("agent: {enterprise_id: -1}", id="a number out of bounds"),
    pytest.param("agent: {spool: {size: 16 MB}}", id="a size with a blank"),
    pytest.param("agent: {spool: {size: 1.5MiB}}", id="a broken size"),
    pytest.param("sources: {}", id="a group for a list"),
    pytest.param("sources: [{name: a}]", id="no kind"),
    pytest.param("sources: [{name: a, kind: pkcs12}]", id="an unknown kind"),
    pytest.param("sources: [{kind: pkcs11, module: /m.so}]", id="no name"),
    pytest.param("sources: [{name: a, kind: pkcs11}]", id="no module"),
    pytest.param(_PKCS11.format(", every: 60"), id="a number without a unit"),
    pytest.param(_PKCS11.format(", every: 5 minutes"), id="a duration in words"),
    pytest.param(_PKCS11.format(", every: 0s"), id="no time between two polls"),
    pytest.param(_PKCS11.format(", luna: on"), id="a word that is none of two"),
    pytest.param(_PKCS11.format(", inventory_at: noon"), id="a time of day in words"),
    pytest.param(_PKCS11.format(", sessions_max: {a: many}"), id="a text for a number"),
    pytest.param(_PKCS11.format(", object_store: {directory: /x}"), id="a group without a required key"),
    pytest.param(_PKCS11.format(", community: {env: X}"), id="a key of another kind"),
    pytest.param("hsms: {vault: [luna-a]}", id="a glob without a token"),
    pytest.param("hsms: {vault: []}", id="an HSM without tokens"),
    pytest.param(_DATE.format(""), id="neither date nor file"),
    pytest.param(_DATE.format(", date: 2026-10-01, file: /x"), id="both date and file"),
    pytest.param("serve: {snmp: {listen: ['tcp:127.0.0.1:161']}}", id="a place to listen of no such kind"),
    pytest.param("serve: {snmp: {listen: []}}", id="nowhere to listen"),
    pytest.param("serve: {snmp: {base_oid: enterprises.1}}", id="an OID in words"),
    pytest.param("serve: {snmp: {engine_id: '80zz'}}", id="an engine ID that is not hexadecimal"),
    pytest.param("serve: {snmp: {users: [{name: a, auth: {protocol: MD5, secret: {env: X}}}]}}", id="an unknown protocol"),
    pytest.param("serve: {snmp: {communities: [{name: public}]}}", id="a secret in clear"),
    pytest.param("serve: {snmp: {communities: [{name: {env: X, file: /x}}]}}", id="a secret from two places"),
    pytest.param("serve: {snmp: {communities: [{name: {}}]}}", id="a secret from nowhere"),
    pytest.param("serve: {http: {listen: 9717}}", id="a number for an address"),
    pytest.param(_TRAP.format(", type: trap, version: v2c"), id="v2c without a community"),
    pytest.param(_TRAP.format(", type: trap, version: v3"), id="v3 without a user"),
    pytest.param(_TRAP.format(", type: trap, version: v1, community: {env: X}"), id="an unknown version"),
    pytest.param(_TRAP.format(", version: v2c, community: {env: X}, type: message"), id="an unknown type"),
    pytest.param(_SYSLOG.format("'http://192.0.2.1'"), id="a receiver of another kind's"),
    pytest.param(_SYSLOG.format("'udp:192.0.2.1:514', minimum_severity: loud"), id="an unknown severity"),
    pytest.param(_RULE.format(", above: {}"), id="a condition without levels"),
    pytest.param(_RULE.format(", above: {warning: 1}, below: {warning: 0}"), id="two conditions"),
    pytest.param(_RULE.format(", above: {warning: high}"), id="a level in words"),
    pytest.param("rules: [{name: mine, metric: token_sesions, above: {warning: 1}}]", id="an unknown metric"),
    pytest.param("rules: [{metric: token_sessions, above: {warning: 1}}]", id="a rule without a name"),
    pytest.param(_RULE.format(", above: {warning: 1}, for: 5"), id="a hold without a unit"),
]  # fmt: skip
RIGHT = [
    pytest.param("", id="nothing"),
    pytest.param("agent:\nserve:\nhsms:", id="groups without keys"),
    pytest.param("serve: {snmp: null, http: null}", id="no servers"),
    pytest.param(_PKCS11.format(", every: 1.5h, timeout: 500ms, objects_every: null"), id="durations"),
    pytest.param(_PKCS11.format(", memory_total: {'*': 16kB, a: 100, b: 2MiB}"), id="sizes"),
    pytest.param(_PKCS11.format(", capabilities: all, policies: [1]"), id="a list or a word"),
    pytest.param("hsms: {vault: ['luna-a/*']}", id="globs"),
    pytest.param("rules: [{name: token-memory, enabled: false}]", id="an override"),
    pytest.param("rules: [{name: token-memory, metric: [token_sessions, token_objects]}]", id="several metrics"),
    pytest.param(_RULE.format(", above: {warning: 0.5, critical: 1}, for: 0"), id="a hold of no time"),
    pytest.param("rules: [{name: mine, metric: declared_age_seconds, above: {warning: 26h}}]", id="a level as a duration"),
    pytest.param("rules: [{name: mine, metric: sensor_celsius, above: {warning: own}}]", id="a level of the sensor's own"),
    pytest.param(_DATE.format(", date: 2026-10-01"), id="a date"),
    pytest.param(_TRAP.format(", version: v2c, type: trap, community: {env: HSM_TEST}"), id="a trap"),
    pytest.param(_SYSLOG.format("'relp:192.0.2.1:2514', heartbeat: 5m"), id="a record"),
    pytest.param("serve: {snmp: {engine_id: '80001f8804', base_oid: 1.3.6.1.4.1.32473.1}}", id="an engine ID"),
]  # fmt: skip


def refusal(text: str) -> str | None:
    """What the schema says of a configuration; None if it takes it."""
    error = next(VALIDATOR.iter_errors(mapping_of(text.encode())), None)
    return None if error is None else f"{error.json_path}: {error.message}"


def is_taken(text: str, folder: Path) -> bool:
    """Whether check-config takes it."""
    path = folder / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    try:
        load(path, trusting(HSM_TEST="x"))
    except ConfigError:
        return False
    return True


def samples() -> Iterator[Any]:
    for page in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "init" / "README.md"]:
        for index, text in enumerate(_YAML.findall(page.read_text(encoding="utf-8"))):
            if set(mapping_of(text.encode())) <= set(Config.model_fields):
                yield pytest.param(text, id=f"{page.relative_to(ROOT)} {index}")


def test_the_schema_is_one_of_its_dialect() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    assert SCHEMA["$schema"] == DIALECT


@pytest.mark.parametrize("text", [pytest.param(SHIPPED, id="as it is"), pytest.param(sample.switched_on(SHIPPED), id="all of it")])  # fmt: skip
def test_the_schema_takes_the_shipped_file(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize("text", [*samples()])
def test_the_schema_takes_a_sample_of_the_documentation(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize("text", MISTAKES)
def test_the_schema_and_the_agent_refuse_a_mistake(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "a secret of some length")

    assert not is_taken(text, tmp_path)
    assert refusal(text) is not None


@pytest.mark.parametrize("text", RIGHT)
def test_the_schema_and_the_agent_take_what_is_right(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSM_TEST", "public")

    assert is_taken(text, tmp_path)
    assert refusal(text) is None


def test_a_mistake_is_told_of_the_kind_that_was_meant() -> None:
    errors = VALIDATOR.iter_errors(mapping_of(_PKCS11.format(", every: 60, luan: off").encode()))

    assert {(error.json_path, error.validator) for error in errors} == {
        ("$.sources[0]", "additionalProperties"), ("$.sources[0].every", "type"),
    }  # fmt: skip


def _places(here: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(here, dict):
        for key, each in here.get("properties", {}).items():
            yield f"{place}.{key}", each
        for key, each in here.items():
            yield from _places(each, f"{place}.{key}")


def test_every_default_in_the_schema_is_one_that_it_takes() -> None:
    found = 0
    for place, each in _places(SCHEMA, ""):
        if "default" in each:
            found += 1
            errors = VALIDATOR.evolve(schema={**each, "$defs": SCHEMA["$defs"]}).iter_errors(each["default"])
            assert [error.message for error in errors] == [], place
    assert found > 100


def test_editors_are_told_what_a_key_means() -> None:
    pkcs11 = SCHEMA["$defs"]["Pkcs11Settings"]["properties"]

    assert {key for key, each in pkcs11.items() if "description" not in each} == {"kind"}
    assert pkcs11["module"]["description"] == "the vendor's library"
    assert pkcs11["worker_memory"]["default"] == "512MiB"


def test_the_documentation_only_adds_descriptions() -> None:
    def bare(here: Any) -> Any:
        if isinstance(here, dict):
            return {key: bare(each) for key, each in here.items() if key != "description" or not isinstance(each, str)}
        return [bare(each) for each in here] if isinstance(here, list) else here

    assert bare(schema("")) == bare(SCHEMA)
