"""What members of a group must have alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.config.digest import group_digest
from hsm_agent.config.tree import Config

if TYPE_CHECKING:
    from pathlib import Path

DATES: dict[str, Any] = {
    "name": "dates",
    "kind": "declared",
    "dates": [{"name": "d", "kind": "age", "date": "2026-01-01"}],
}
SINK: dict[str, Any] = {"name": "noc", "kind": "syslog", "to": "udp:192.0.2.1:514"}


def digest(**keys: Any) -> str:
    return group_digest(Config.model_validate({"sources": [DATES], "deliver": [SINK]} | keys))


def test_what_only_one_host_has_makes_no_difference(tmp_path: Path) -> None:
    secret = tmp_path / "community"
    secret.touch(mode=0o600)
    secret.write_text("word")
    appliance = {"name": "luna", "kind": "snmp", "version": "v2c", "profile": "luna"}

    def seen(to: str, **community: str) -> str:
        return digest(sources=[DATES, {**appliance, "to": to, "community": community}])

    assert digest() == digest(agent={"name": "another", "labels": {"site": "fra"}, "state_directory": "elsewhere"})
    assert digest() == digest(deliver=[{**SINK, "to": "udp:192.0.2.2:514"}])
    assert digest() == digest(serve={"http": None})
    assert seen("udp:192.0.2.1:161", file=str(secret)) == seen("udp:192.0.2.2:161", env="PATH")


def test_neither_order_nor_a_written_default_makes_a_difference() -> None:
    other = {"name": "z", "kind": "declared", "dates": DATES["dates"], "every": "1m"}
    sinks = [SINK, {**SINK, "name": "a", "minimum_severity": "warning"}]

    assert digest(sources=[DATES, other], deliver=sinks) == digest(
        sources=[{**other, "every": "60s"}, {**DATES, "labels": {}}], deliver=[{**SINK, "name": "a"}, SINK]
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"sources": []},
        {"sources": [{**DATES, "every": "61s"}]},
        {"sources": [{**DATES, "labels": {"site": "fra"}}]},
        {"sources": [{**DATES, "dates": [{"name": "e", "kind": "age", "date": "2026-01-01"}]}]},
        {"hsms": {"h": ["dates/*"]}},
        {"rules": [{"name": "token-memory", "above": {"warning": 71}}]},
        {"rules": [{"name": "token-memory", "enabled": False}]},
        {"default_rules": False},
        {"deliver": []},
        {"deliver": [{**SINK, "name": "other"}]},
        {"deliver": [{**SINK, "minimum_severity": "critical"}]},
        {"serve": {"snmp": {"base_oid": "1.3.6.1.4.1.32473.1"}}},
    ],
)
def test_what_is_judged_and_told_otherwise_makes_one(keys: dict[str, Any]) -> None:
    assert digest(**keys) != digest()


def test_the_devices_of_traps_count_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMUNITY", "word")
    listener: dict[str, Any] = {
        "name": "traps",
        "kind": "snmp_trap_listener",
        "listen": ["udp:127.0.0.1:10162"],
        "vendors": ["luna"],
    }
    listener |= {"from": ["192.0.2.0/24"], "communities": [{"name": {"env": "COMMUNITY"}}]}

    def seen(**devices: str) -> str:
        return digest(sources=[{**listener, "devices": devices}])

    assert seen(**{"192.0.2.1": "luna-a"}) == seen(**{"192.0.2.2": "luna-a"})
    assert seen(**{"192.0.2.1": "luna-a"}) != seen(**{"192.0.2.1": "luna-b"})


def test_it_is_bound_to_no_process() -> None:
    found = digest(sources=[], deliver=[], default_rules=False)

    assert found == "53325fb011dfa79714bab6db552aa7f572e5095095f9843065f58c95fef3e95e"
