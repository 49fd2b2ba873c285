"""Which keys a running agent can't take over."""

from __future__ import annotations

from typing import Any

import pytest

from hsm_agent.agent.reload import NEEDS_RESTART, frozen_changes
from hsm_agent.config.tree import Config

BASE: dict[str, Any] = {"agent": {"name": "a", "state_directory": "/var/lib/a"}}


def _config(**more: Any) -> Config:
    return Config.model_validate({**BASE, **more})


def test_what_is_polled_judged_and_told_may_change() -> None:
    new = _config(
        sources=[{"name": "s", "kind": "pkcs11", "module": "/m"}],
        rules=[{"name": "pin", "enabled": False}],
        serve={"http": None, "snmp": {"listen": ["udp:127.0.0.1:2161"]}},
        deliver=[{"name": "x", "kind": "syslog", "to": "udp:h:514"}],
    )

    assert frozen_changes(_config(), new) == []


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"agent": {**BASE["agent"], "name": "b"}}, "agent.name"),
        ({"agent": {**BASE["agent"], "enterprise_id": 1}}, "agent.enterprise_id"),
        ({"agent": {**BASE["agent"], "control_socket": "/run/x"}}, "agent.control_socket"),
        ({"serve": {"snmp": {"base_oid": "1.3.6.1.4.1.99999"}}}, "serve.snmp.base_oid"),
        ({"serve": {"snmp": {"engine_id": "80001f8805aabbccdd"}}}, "serve.snmp.engine_id"),
    ],
)
def test_identity_needs_a_restart(more: dict[str, Any], key: str) -> None:
    assert frozen_changes(_config(), _config(**more)) == [f"{key}: {NEEDS_RESTART}"]


def test_the_responder_is_not_switched_on_or_off() -> None:
    (line,) = frozen_changes(_config(), _config(serve={"snmp": None}))

    assert line == f"serve.snmp: switching it on or off {NEEDS_RESTART}"


def test_another_state_directory_means_another_socket_too() -> None:
    changes = frozen_changes(_config(), _config(agent={"name": "a", "state_directory": "/elsewhere"}))

    assert [line.partition(":")[0] for line in changes] == ["agent.state_directory", "agent.control_socket"]
