"""The settings of `kind: snmp_trap_listener`; the collector itself is in tests/loopback and tests/integration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hsm_agent.collect.traps.source import SnmpTrapListenerSettings
from hsm_agent.config.tree import load
from hsm_agent.settings.errors import ConfigError
from tests.peers.trusted import trusting

if TYPE_CHECKING:
    from pathlib import Path

COMMUNITIES = [{"name": {"env": "TEST_COMMUNITY"}}]
USERS = [{"name": "luna", "auth": {"protocol": "SHA-256", "secret": {"env": "TEST_AUTH"}}}]
LUNA_FAN = "1.3.6.1.4.1.23629.1.5.2.2.2"


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_COMMUNITY", "traps-only")
    monkeypatch.setenv("TEST_AUTH", "authentic-1")


def loaded(tmp_path: Path, **keys: Any) -> SnmpTrapListenerSettings:
    source = {"name": "traps", "kind": "snmp_trap_listener", "communities": COMMUNITIES, **keys}
    path = tmp_path / "agent.yaml"
    path.write_text(yaml.safe_dump({"sources": [source]}), encoding="utf-8")
    (found,) = load(path, trusting()).config.sources
    assert isinstance(found, SnmpTrapListenerSettings)
    return found


def test_what_is_not_said_is_safe(tmp_path: Path) -> None:
    found = loaded(tmp_path)

    assert found.listen == ("udp:127.0.0.1:1162",)
    assert [str(network) for network in found.networks] == ["127.0.0.0/8", "::1/128"]
    assert (found.every, found.clear_after, found.vendors) == (60.0, 86400.0, ("luna", "utimaco"))


def test_it_says_what_it_would_watch_and_no_secret(tmp_path: Path) -> None:
    maps = [{"trap": LUNA_FAN, "alarm": "fan"}]
    found = loaded(tmp_path, users=USERS, maps=maps, vendors=["luna"], **{"from": ["192.0.2.0/24", "2001:db8::/32"]})

    assert list(found.about()) == [
        "udp:127.0.0.1:1162",
        "from 192.0.2.0/24, 2001:db8::/32",
        "communities: 1; users: luna",
        "maps: luna built in, 1 own",
    ]
    assert "traps-only" not in repr(found)
    assert "authentic-1" not in repr(found)


def test_it_asks_nobody_and_runs_nothing(tmp_path: Path) -> None:
    from hsm_agent.collect.base import CollectorContext

    collector = loaded(tmp_path, every="5s").build(CollectorContext(state_directory=tmp_path))

    assert (collector.name, collector.kind, collector.every_seconds) == ("traps", "snmp_trap_listener", 5.0)
    assert collector.calls_a_day() == {}
    assert collector.pids() == ()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"communities": []}, "sources.0.users: without users and communities nobody can be heard"),
        ({"listen": []}, "sources.0.listen: "),
        ({"listen": ["127.0.0.1:162"]}, "sources.0.listen.0: not a place to listen: '127.0.0.1:162'"),
        ({"listen": ["udp:127.0.0.1:162"] * 2}, "sources.0.listen.1: the same as listen.0"),
        ({"every": "10m"}, "sources.0.every: "),
        ({"from": ["192.0.2.1/24"]}, "sources.0.from.0: 192.0.2.1/24 has host bits set"),
        ({"communities": COMMUNITIES * 2}, "sources.0.communities.1: the same as communities.0"),
        ({"users": USERS * 2}, "sources.0.users.1: the same as users.0"),
        ({"users": [{**USERS[0], "engine_ids": ["8"]}]}, "sources.0.users.0.engine_ids.0: not an engine ID"),
        ({"users": [{**USERS[0], "engine_id": "8000000001"}]}, "sources.0.users.0.engine_id: unknown key, did you mean 'engine_ids'?"),
        ({"communities": ["public"]}, "sources.0.communities.0: "),
        ({"devices": {"luna-a": "luna-a"}}, "sources.0.devices.luna-a: not an IP address: 'luna-a'"),
        ({"devices": {"192.0.2.1": "a\nb"}}, "sources.0.devices.192.0.2.1: not a name"),
        ({"vendors": ["thales"]}, "sources.0.vendors.0: input should be 'luna' or 'utimaco'"),
        ({"maps": [{"trap": LUNA_FAN, "alarm": "fam", "does": "clear"}]}, "sources.0.maps.0.alarm: nothing raises 'fam'"),
        ({"maps": [{"trap": LUNA_FAN}]}, "sources.0.maps.0.alarm: required key is missing"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_with_its_key(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, **keys)

    assert any(said in line for line in caught.value.lines), caught.value.lines


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (
            [{"pattern": "high"}, {"pattern": "(?<!not )high"}],
            "sources.0.maps.1.pattern: not a pattern: invalid perl operator: (?<! (there is no looking behind)",
        ),
        ([{}] * 257, "sources.0.maps: 256 at most; these are 257"),
        ([{"pattern": r"(?:\d?){900}"}] * 6, "sources.0.maps: the patterns together repeat too much"),
    ],
)
def test_patterns_that_could_hold_up_the_listener_are_refused(
    tmp_path: Path, maps: list[dict[str, str]], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, maps=[{"trap": LUNA_FAN, "alarm": "fan", "text": LUNA_FAN, **one} for one in maps])

    (line,) = caught.value.lines
    assert said in line


def test_many_usual_patterns_are_not_too_many(tmp_path: Path) -> None:
    maps = [
        {"trap": LUNA_FAN, "alarm": "fan", "text": LUNA_FAN, "pattern": rf"^fan {n} \S+ (low|high)$"}
        for n in range(200)
    ]

    assert len(loaded(tmp_path, maps=maps).maps) == 200
