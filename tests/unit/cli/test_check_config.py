"""What `check-config` tells of a valid configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsm_agent.cli.check_config import describe
from hsm_agent.config.tree import Config, Loaded
from hsm_agent.state.snmp_engine import start_engine


def _lines(tree: dict[str, Any], state: Path) -> list[str]:
    config = Config.model_validate({"agent": {"name": "hsm", "state_directory": str(state)}, **tree})
    return list(describe(Loaded(config=config, path=Path("/etc/agent.yaml"), digest="d1")))


def test_each_sink_is_told_with_its_guarantee_and_each_v3_trap_with_its_line(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("quite-a-long-secret")
    secret.chmod(0o600)
    reference = {"file": str(secret)}
    user = {"name": "trapper", "auth": {"protocol": "SHA-256", "secret": reference}}
    user["privacy"] = {"protocol": "AES-128", "secret": reference}
    trap = {"name": "t", "kind": "snmp", "to": "udp:192.0.2.1:162", "version": "v3", "type": "trap", "user": user}
    tree = {
        "serve": {"snmp": {"engine_id": "80001f8805aabbccdd"}},
        "sources": [{"name": "luna", "kind": "pkcs11", "module": "/nowhere.so", "tokens": ["pay", "x*"]}],
        "deliver": [
            trap,
            {**trap, "name": "i", "type": "inform"},
            {"name": "u", "kind": "syslog", "to": "udp:192.0.2.1:514"},
            {"name": "r", "kind": "syslog", "to": "relp:192.0.2.1:2514"},
            {"name": "c", "kind": "syslog", "to": "udp:192.0.2.1:515", "format": "cef"},
        ],
    }
    lines = _lines(tree, tmp_path)

    assert lines[0] == "/etc/agent.yaml: valid, SHA-256 d1"
    assert "source luna: pkcs11 /nowhere.so (the file does not exist: the source would be down), every 60 s" in lines
    assert "  tokens pay, x*" in lines
    assert "SNMP engine ID: 0x80001f8805aabbccdd" in lines
    assert "sink t: snmp udp:192.0.2.1:162, best effort, from warning on" in lines
    assert "sink i: snmp udp:192.0.2.1:162, at least once, from warning on" in lines
    assert "sink u: syslog udp:192.0.2.1:514, best effort, from warning on" in lines
    assert "sink r: syslog relp:192.0.2.1:2514, at least once, from warning on" in lines
    assert "sink c: syslog udp:192.0.2.1:515, best effort, from warning on, as cef" in lines
    (line,) = [line for line in lines if "createUser -e" in line]
    assert "createUser -e 0x80001f8805aabbccdd trapper SHA-256" in line
    assert "quite-a-long-secret" not in "".join(lines)


def test_an_empty_configuration_says_that_nothing_would_happen(tmp_path: Path) -> None:
    lines = _lines({}, tmp_path)

    assert "no sources: nothing would be watched" in lines
    assert "no sinks: nobody would be told" in lines


def test_the_engine_id_of_the_first_start_is_known_before_it(tmp_path: Path) -> None:
    (told,) = [line for line in _lines({}, tmp_path / "var") if line.startswith("SNMP engine ID: ")]

    assert told == f"SNMP engine ID: 0x{start_engine(tmp_path / 'var', engine_id=None, now=0).engine_id.hex()}"


def test_an_engine_id_that_cannot_be_stored_is_left_to_the_start(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("not a directory")

    assert "SNMP engine ID: made at the first start, and kept (it can't be stored now)" in _lines(
        {}, tmp_path / "a" / "b"
    )
    assert any("SNMP engine ID: " in line and "Not a directory" in line for line in _lines({}, tmp_path / "var"))


def test_who_publishes_is_told_where_and_that_it_should_be_safer(tmp_path: Path) -> None:
    endpoints = ["http://127.0.0.1:2379", "http://127.0.0.1:22379"]
    lines = _lines({"publish": {"site": "fra", "every": "30s", "etcd": {"endpoints": endpoints}}}, tmp_path)

    at = lines.index("publishes as hsm at fra to http://127.0.0.1:2379, http://127.0.0.1:22379, every 30 s")
    assert [line.partition(":")[0] for line in lines[at + 1 :]] == ["  warning", "  warning"]
    assert any(line.startswith("  publishing: publish_age_seconds") for line in lines)
    assert not any(line.startswith("  publishing:") for line in _lines({}, tmp_path))


def test_a_member_of_a_group_is_told_what_it_does_and_a_status_goes_the_same_way(tmp_path: Path) -> None:
    group = {"name": "emea", "etcd": {"endpoints": ["http://127.0.0.1:2379"]}}
    sinks = [
        {"name": name, "kind": "alertmanager", "to": "http://192.0.2.1:9093", "leave_out": left_out}
        for name, left_out in (("a", []), ("b", ["agent"]))
    ]
    lines = _lines({"group": group, "publish": {}, "deliver": sinks}, tmp_path)

    assert [line.partition("leave_out")[0] for line in lines if "leave_out" in line] == ["  warning: sink a: "]
    at = lines.index("group emea: hsm is a member, through http://127.0.0.1:2379")
    assert lines[at + 1].startswith("  digest ")
    assert lines[-1] == "publishes as hsm to http://127.0.0.1:2379, every 60 s"
    assert any(line.startswith("  group-degraded: group_alone, group_isolated") for line in lines)
    assert not any(line.startswith("  group-degraded:") for line in _lines({}, tmp_path))
