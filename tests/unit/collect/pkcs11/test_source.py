from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hsm_agent.collect.base import CollectorContext
from hsm_agent.collect.pkcs11.source import Pkcs11Collector, Pkcs11Settings
from tests.unit.collect.pkcs11_raws import raw, swept

if TYPE_CHECKING:
    from hsm_agent.collect.pkcs11.fetch import PollRequest
    from hsm_agent.collect.pkcs11.parse import ParsedPoll
    from hsm_agent.collect.pkcs11.poll_state import PollMemory
    from hsm_agent.collect.pkcs11.recording import RawPoll

MINIMAL = {"name": "luna-a", "kind": "pkcs11", "module": "/opt/lib.so"}


def test_defaults_are_those_promised() -> None:
    settings = Pkcs11Settings.model_validate(MINIMAL)

    assert settings.model_dump(exclude={"name", "kind", "module"}) == {
        "environment": {},
        "reserved": None,
        "tokens": ("*",),
        "every": 60.0,
        "timeout": 10.0,
        "rediscover_every": 600.0,
        "worker_memory": 512 * 1024 * 1024,
        "memory_total": {},
        "sessions_max": {},
        "sessions_scope": "auto",
        "object_store": None,
        "objects_every": None,
        "liveness_every": None,
        "luna": "auto",
        "storage_every": 300.0,
        "inventory_at": dt.time(0, 0),
        "audit_every": 15.0,
        "audit_capacity": 198120,
        "capabilities": (1, 7, 12, 37),
        "policies": (),
        "labels": {},
    }


def test_what_an_operator_may_write() -> None:
    settings = Pkcs11Settings.model_validate(
        {
            **MINIMAL,
            "module": "lib.so",
            "tokens": ["prod", "0123*"],
            "memory_total": {"prod": "2MiB"},
            "object_store": {"directory": "tokens", "capacity": "1MB"},
            "inventory_at": "06:30",
            "capabilities": "all",
            "objects_every": "5m",
        },
        context={"base": "/etc/hsm"},
    )
    options = settings.parse_options()

    assert settings.module == Path("/etc/hsm/lib.so")
    assert settings.inventory_at == dt.time(6, 30)
    assert options.memory_total == {"prod": 2 * 1024**2}
    assert (options.store_directory, options.store_capacity) == ("/etc/hsm/tokens", 1_000_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"modul": "x"},
        {"every": "0s"},
        {"every": 60},
        {"timeout": "0s"},
        {"sessions_scope": "both"},
        {"sessions_max": {"a": 0}},
        {"memory_total": {"a": 0}},
        {"object_store": {"directory": "x"}},
        {"object_store": {"directory": "x", "capacity": 0}},
        {"inventory_at": "25:00"},
        {"inventory_at": "midnight"},
        {"audit_capacity": 0},
        {"luna": "on"},
        {"name": ""},
    ],
)
def test_what_an_operator_may_not_write(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Pkcs11Settings.model_validate({**MINIMAL, **wrong})


def test_a_value_of_the_environment_that_begins_with_a_dot_and_a_slash_is_a_path() -> None:
    environment = {"SOFTHSM2_CONF": "./var/softhsm2.conf", "PLAIN": "var/x", "DOTS": "../x"}
    tree = {"name": "a", "kind": "pkcs11", "module": "/m", "environment": environment}
    settings = Pkcs11Settings.model_validate(tree, context={"base": "/opt/hsm"})

    assert settings.environment == {"SOFTHSM2_CONF": "/opt/hsm/var/softhsm2.conf", "PLAIN": "var/x", "DOTS": "../x"}
    assert Pkcs11Settings.model_validate(tree).environment == environment


def test_check_config_warns_where_only_an_ha_group_is_watched(tmp_path: Path) -> None:
    text = "VirtualToken = {\n  VirtualToken00Label = ha;\n  VirtualToken00SN = 12;\n  VirtualToken00Members = 2;\n}\n"
    (tmp_path / "Chrystoki.conf").write_text(text, encoding="ascii")
    tree = {"name": "a", "kind": "pkcs11", "module": "/m", "tokens": ["ha"]}
    settings = Pkcs11Settings.model_validate(tree | {"environment": {"ChrystokiConfigurationPath": str(tmp_path)}})
    off = settings.model_copy(update={"luna": "off"})

    *_, warning = settings.about()
    assert warning.startswith("warning: ha is an HA group")
    assert not any(line.startswith("warning") for line in off.about())


@pytest.mark.parametrize(
    ("name", "is_told"), [("0", True), ("slot 3", True), ("0x1", True), ("123", False), ("p*", False)]
)
def test_check_config_says_that_tokens_have_no_slot_numbers(name: str, *, is_told: bool) -> None:
    settings = Pkcs11Settings.model_validate({**MINIMAL, "tokens": [name]})

    assert any("if a slot is meant" in line for line in settings.about()) is is_told


class _Forgetful(Pkcs11Collector):
    """Its module shows what `raws` say, one poll after the other; an operator forgets a token while each is parsed."""

    def __init__(self, settings: Pkcs11Settings, context: CollectorContext, *raws: RawPoll) -> None:
        super().__init__(settings, context)
        self.raws = list(raws)

    async def _fetch(self, request: PollRequest, deadline: float) -> RawPoll:
        del request, deadline
        return self.raws.pop(0)

    async def _parse(self, raw: RawPoll, memory: PollMemory) -> ParsedPoll:
        parsed = await super()._parse(raw, memory)
        await self.forget("old")
        return parsed


@pytest.mark.parametrize("is_back", [False, True])
async def test_a_token_that_is_forgotten_while_a_poll_is_parsed_is_missed_no_more(
    tmp_path: Path, *, is_back: bool
) -> None:
    (tmp_path / "pkcs11-luna-a.json").write_text('{"tokens": {"old": {"label": "old", "serial": "S9"}}}')
    slots = [swept(1), *([swept(2, label="old", serial="S9")] if is_back else [])]
    settings, context = Pkcs11Settings.model_validate(MINIMAL), CollectorContext(state_directory=tmp_path)
    source = _Forgetful(settings, context, raw(*slots))

    poll = await source.poll()

    values = {one.resource: one.value for one in poll.readings if one.metric == "token_present"}
    assert values == ({"alpha": 1, "old": 1} if is_back else {"alpha": 1})
    assert ("old" in (tmp_path / "pkcs11-luna-a.json").read_text()) is is_back
